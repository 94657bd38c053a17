/**
 * Cassandra's Murmur3Partitioner in JavaScript: the first half of MurmurHash3 x64 128 with seed 0, with Cassandra's
 * sign-extended tail bytes, and Long.MIN_VALUE (which Cassandra keeps for "no token") replaced by Long.MAX_VALUE.
 * 64-bit numbers are pairs of 32-bit halves: BigInt is ten times slower, and each commit and look-up needs a token.
 */
interface U64 {
  hi: number;
  lo: number;
}

const C1: Readonly<U64> = { hi: 0x87c37b91 | 0, lo: 0x114253d5 };
const C2: Readonly<U64> = { hi: 0x4cf5ad43, lo: 0x2745937f };
const MIX1: Readonly<U64> = { hi: 0xff51afd7 | 0, lo: 0xed558ccd | 0 };
const MIX2: Readonly<U64> = { hi: 0xc4ceb9fe | 0, lo: 0x1a85ec53 };
const FIVE: Readonly<U64> = { hi: 0, lo: 5 };

function multiply(a: U64, b: Readonly<U64>): void {
  const a0 = a.lo & 0xffff;
  const a1 = a.lo >>> 16;
  const b0 = b.lo & 0xffff;
  const b1 = b.lo >>> 16;
  const mid1 = a1 * b0 + ((a0 * b0) >>> 16);
  const mid2 = a0 * b1 + (mid1 & 0xffff);
  const high = a1 * b1 + Math.floor(mid1 / 0x10000) + Math.floor(mid2 / 0x10000);
  a.hi = (high + Math.imul(a.hi, b.lo) + Math.imul(a.lo, b.hi)) | 0;
  a.lo = Math.imul(a.lo, b.lo);
}

function add(a: U64, hi: number, lo: number): void {
  const sum = (a.lo >>> 0) + (lo >>> 0);
  a.lo = sum | 0;
  a.hi = (a.hi + hi + (sum > 0xffffffff ? 1 : 0)) | 0;
}

function rotateLeft(a: U64, n: number): void {
  const { hi, lo } = a;
  if (n < 32) {
    a.hi = (hi << n) | (lo >>> (32 - n));
    a.lo = (lo << n) | (hi >>> (32 - n));
  } else if (n === 32) {
    a.hi = lo;
    a.lo = hi;
  } else {
    a.hi = (lo << (n - 32)) | (hi >>> (64 - n));
    a.lo = (hi << (n - 32)) | (lo >>> (64 - n));
  }
}

function xor(a: U64, b: Readonly<U64>): void {
  a.hi ^= b.hi;
  a.lo ^= b.lo;
}

/** a ^= a >>> 33 */
function xorShift33(a: U64): void {
  a.lo ^= a.hi >>> 1;
}

function finalMix(a: U64): void {
  xorShift33(a);
  multiply(a, MIX1);
  xorShift33(a);
  multiply(a, MIX2);
  xorShift33(a);
}

function mixK1(k: U64): void {
  multiply(k, C1);
  rotateLeft(k, 31);
  multiply(k, C2);
}

function mixK2(k: U64): void {
  multiply(k, C2);
  rotateLeft(k, 33);
  multiply(k, C1);
}

/** Little-endian bytes from..to-1 of `data` (at most 8), each sign-extended before it is shifted and xored in. */
function tailWord(data: Buffer, from: number, to: number): U64 {
  const k = { hi: 0, lo: 0 };
  for (let i = from; i < to; i++) {
    const byte = data.readInt8(i);
    const shift = (i - from) * 8;
    if (shift < 32) {
      k.lo ^= byte << shift;
      k.hi ^= shift === 0 ? byte >> 31 : byte >> (32 - shift);
    } else k.hi ^= byte << (shift - 32);
  }
  return k;
}

/** 64-bit token as two signed 32-bit halves. */
function hash(data: Buffer): U64 {
  const h1 = { hi: 0, lo: 0 };
  const h2 = { hi: 0, lo: 0 };
  const blocks = data.length >>> 4;
  for (let at = 0; at < blocks * 16; at += 16) {
    const k1 = { lo: data.readInt32LE(at), hi: data.readInt32LE(at + 4) };
    mixK1(k1);
    xor(h1, k1);
    rotateLeft(h1, 27);
    add(h1, h2.hi, h2.lo);
    multiply(h1, FIVE);
    add(h1, 0, 0x52dce729);
    const k2 = { lo: data.readInt32LE(at + 8), hi: data.readInt32LE(at + 12) };
    mixK2(k2);
    xor(h2, k2);
    rotateLeft(h2, 31);
    add(h2, h1.hi, h1.lo);
    multiply(h2, FIVE);
    add(h2, 0, 0x38495ab5);
  }
  const rest = blocks * 16;
  if (data.length > rest + 8) {
    const k2 = tailWord(data, rest + 8, data.length);
    mixK2(k2);
    xor(h2, k2);
  }
  if (data.length > rest) {
    const k1 = tailWord(data, rest, Math.min(rest + 8, data.length));
    mixK1(k1);
    xor(h1, k1);
  }
  h1.lo ^= data.length;
  h2.lo ^= data.length;
  add(h1, h2.hi, h2.lo);
  add(h2, h1.hi, h1.lo);
  finalMix(h1);
  finalMix(h2);
  add(h1, h2.hi, h2.lo);
  return h1;
}

/** Token of a group key, as Cassandra's `SELECT token(blob)` answers it. */
export function tokenOf(groupKey: Buffer): bigint {
  const h = hash(groupKey);
  return normalise(BigInt.asIntN(64, (BigInt(h.hi) << 32n) | BigInt(h.lo >>> 0)));
}

/** Cassandra keeps Long.MIN_VALUE for itself. */
export function normalise(token: bigint): bigint {
  return token === -(1n << 63n) ? (1n << 63n) - 1n : token;
}

/**
 * Index of the shard among `count` (a power of two, at most 65,536) whose equal slice of the token range has the group
 * key's token; slice 0 begins at the lowest token.
 */
export function shardOf(groupKey: Buffer, count: number): number {
  if (count === 1) return 0;
  const h = hash(groupKey);
  if (h.hi === -0x80000000 && h.lo === 0) return count - 1;
  return ((h.hi ^ 0x80000000) >>> 0) >>> (32 - Math.log2(count));
}
