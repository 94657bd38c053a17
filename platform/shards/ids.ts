/**
 * Ids: each shard counts for itself; counter n of shard i of `count` is the number n*count+i, and one fixed bijection of
 * 52-bit numbers scatters them, so that ids neither collide nor cluster. 0 is never an id.
 */
const BITS = 52n;
const MASK = (1n << BITS) - 1n;
/** Odd, so that multiplication modulo 2^52 is a bijection; the golden ratio's fraction spreads neighbours well. */
const FACTOR = 0x9e3779b97f4a7n;

function inverse(a: bigint): bigint {
  let x = a;
  for (let i = 0; i < 6; i++) x = (x * (2n - a * x)) & MASK;
  return x;
}

const INVERSE = inverse(FACTOR);

/** Id of a counter (>= 1). */
export function idOf(counter: number, shard: number, shards: number): number {
  return Number(((BigInt(counter) * BigInt(shards) + BigInt(shard)) * FACTOR) & MASK);
}

/** The counter and shard that would give this id, or null if no shard ever does (ids of 2^52 and more). */
export function counterOf(id: number, shards: number): { counter: number; shard: number } | null {
  if (id <= 0 || BigInt(id) > MASK) return null;
  const n = (BigInt(id) * INVERSE) & MASK;
  return { counter: Number(n / BigInt(shards)), shard: Number(n % BigInt(shards)) };
}
