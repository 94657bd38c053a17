/**
 * Order-preserving building blocks: the encodings of two values compare, byte by byte, as the values do, and no encoding
 * is a prefix of another, so that they can be strung together.
 */
const ESCAPE = 0xff;
const END = 0x01;

/** Any bytes, self-delimiting: 00 becomes 00 FF, the end is 00 01. */
export function encodeBytes(raw: Buffer): Buffer {
  let zeros = 0;
  for (const b of raw) if (b === 0) zeros++;
  const out = Buffer.allocUnsafe(raw.length + zeros + 2);
  let at = 0;
  if (zeros === 0) at = raw.copy(out);
  else
    for (const b of raw) {
      out[at++] = b;
      if (b === 0) out[at++] = ESCAPE;
    }
  out[at++] = 0;
  out[at] = END;
  return out;
}

export function encodeString(s: string): Buffer {
  return encodeBytes(Buffer.from(s, 'utf8'));
}

/** What encodeBytes made, beginning at `at`; `next` is the first byte behind it. Throws RangeError on anything else. */
export function decodeBytes(b: Buffer, at: number): { readonly raw: Buffer; readonly next: number } {
  const parts: Buffer[] = [];
  for (let from = at; ;) {
    const zero = b.indexOf(0, from);
    if (zero < 0 || zero + 1 >= b.length) throw new RangeError(`unterminated bytes at ${at}`);
    const mark = b[zero + 1];
    if (mark === END) {
      parts.push(b.subarray(from, zero));
      return { raw: parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts), next: zero + 2 };
    }
    if (mark !== ESCAPE) throw new RangeError(`bad escape at ${zero}`);
    parts.push(b.subarray(from, zero + 1));
    from = zero + 2;
  }
}

/** First byte behind an encodeBytes value at `at`, without copying it. */
export function skipBytes(b: Buffer, at: number): number {
  for (let from = at; ;) {
    const zero = b.indexOf(0, from);
    if (zero < 0 || zero + 1 >= b.length) throw new RangeError(`unterminated bytes at ${at}`);
    if (b[zero + 1] === END) return zero + 2;
    from = zero + 2;
  }
}

/** Signed 64-bit integer, 8 bytes, ordered. */
export function encodeInt64(n: bigint): Buffer {
  const out = Buffer.allocUnsafe(8);
  out.writeBigUInt64BE(BigInt.asUintN(64, n) ^ 0x8000000000000000n);
  return out;
}

export function decodeInt64(b: Buffer, at: number): bigint {
  return BigInt.asIntN(64, b.readBigUInt64BE(at) ^ 0x8000000000000000n);
}

/** IEEE double, 8 bytes, ordered; NaN (any) below -Infinity, -0 as 0. */
export function encodeDouble(n: number): Buffer {
  const out = Buffer.alloc(8);
  if (Number.isNaN(n)) return out;
  out.writeDoubleBE(n === 0 ? 0 : n);
  if (out.readUInt8(0) & 0x80) invert(out);
  else out[0] = out.readUInt8(0) | 0x80;
  return out;
}

function invert(b: Buffer): void {
  for (let i = 0; i < b.length; i++) b[i] = ~b.readUInt8(i);
}

/** The bitwise complement, whose order is the reverse (for self-delimiting encodings). */
export function inverted(b: Buffer): Buffer {
  const out = Buffer.from(b);
  invert(out);
  return out;
}

/** The smallest byte string above every string that begins with `prefix`; null if there is none. */
export function prefixSuccessor(prefix: Buffer): Buffer | null {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const b = prefix.readUInt8(i);
    if (b === 0xff) continue;
    const out = Buffer.from(prefix.subarray(0, i + 1));
    out[i] = b + 1;
    return out;
  }
  return null;
}

/** The smallest byte string above `b` itself. */
export function justAfter(b: Buffer): Buffer {
  return Buffer.concat([b, Buffer.of(0)]);
}

export function startsWith(b: Buffer, prefix: Buffer): boolean {
  return b.length >= prefix.length && b.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
}

/** The later of two inclusive lower bounds; null = none. */
export function laterStart(a: Buffer | null, b: Buffer | null): Buffer | null {
  if (a === null) return b;
  return b === null || a.compare(b) >= 0 ? a : b;
}

/** The earlier of two exclusive upper bounds; null = none. */
export function earlierEnd(a: Buffer | null, b: Buffer | null): Buffer | null {
  if (a === null) return b;
  return b === null || a.compare(b) <= 0 ? a : b;
}
