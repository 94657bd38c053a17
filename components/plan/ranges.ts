import { NxnwError } from '@nxnw/platform/errors';

/** An IPv4 network: addresses as numbers. */
export interface Range {
  readonly base: number;
  readonly size: number;
  readonly bits: number;
}

const CIDR = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/;

/** The network that `a.b.c.d/n` names; undefined for what is none, or has a bit set beyond its prefix. */
export function rangeOf(cidr: string): Range | undefined {
  const parts = (CIDR.exec(cidr) ?? []).slice(1).map(Number);
  const [a = 256, b = 256, c = 256, d = 256, bits = 33] = parts;
  if (bits > 32 || [a, b, c, d].some((x) => x > 255)) return undefined;
  const base = ((a * 256 + b) * 256 + c) * 256 + d;
  const size = 2 ** (32 - bits);
  return base % size === 0 ? { base, size, bits } : undefined;
}

/** A network that machines can stand in. Throws BAD_CONFIG for what is none, or is larger than /16 or smaller than /27. */
export function parseCidr(cidr: string): Range {
  const range = rangeOf(cidr);
  if (range !== undefined && range.bits >= 16 && range.bits <= 27) return range;
  throw new NxnwError('BAD_CONFIG', `"${cidr}" is not the address of an IPv4 network from /16 to /27`, { cidr });
}

export const overlap = (a: Range, b: Range): boolean => a.base < b.base + b.size && b.base < a.base + a.size;

export const inside = (a: Range, b: Range): boolean => a.base >= b.base && a.base + a.size <= b.base + b.size;

/** A number as an address: `10.0.0.1`. */
export function ipv4(n: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(n / 2 ** shift) % 256).join('.');
}
