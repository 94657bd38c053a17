import { NxnwError } from '../errors.js';

/** Writes ZooKeeper's serialisation (jute): big endian, lengths as int32, -1 for null. */
export class JuteWriter {
  private buffer: Buffer;
  private at = 0;

  constructor(sizeHintBytes = 256) {
    this.buffer = Buffer.allocUnsafe(sizeHintBytes);
  }

  private room(bytes: number): number {
    const at = this.at;
    if (at + bytes > this.buffer.length) {
      const bigger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, at + bytes));
      this.buffer.copy(bigger, 0, 0, at);
      this.buffer = bigger;
    }
    this.at += bytes;
    return at;
  }

  int(v: number): this {
    const at = this.room(4);
    this.buffer.writeInt32BE(v, at);
    return this;
  }

  long(v: bigint): this {
    const at = this.room(8);
    this.buffer.writeBigInt64BE(v, at);
    return this;
  }

  bool(v: boolean): this {
    const at = this.room(1);
    this.buffer[at] = v ? 1 : 0;
    return this;
  }

  text(v: string): this {
    const bytes = Buffer.byteLength(v);
    this.int(bytes);
    const at = this.room(bytes);
    this.buffer.write(v, at, bytes, 'utf8');
    return this;
  }

  bytes(v: Buffer | null): this {
    if (v === null) return this.int(-1);
    this.int(v.length);
    const at = this.room(v.length);
    v.copy(this.buffer, at);
    return this;
  }

  list<T>(items: readonly T[], each: (w: this, item: T) => void): this {
    this.int(items.length);
    for (const item of items) each(this, item);
    return this;
  }

  done(): Buffer {
    return this.buffer.subarray(0, this.at);
  }
}

/** Reads jute. A record that ends too early throws PROTOCOL_ERROR. */
export class JuteReader {
  constructor(
    private readonly buffer: Buffer,
    private at = 0,
  ) {}

  private take(bytes: number): number {
    const at = this.at;
    if (bytes < 0 || at + bytes > this.buffer.length)
      throw new NxnwError('PROTOCOL_ERROR', `ZooKeeper's answer ends early: ${bytes} bytes wanted at ${at}`);
    this.at += bytes;
    return at;
  }

  int(): number {
    return this.buffer.readInt32BE(this.take(4));
  }

  long(): bigint {
    return this.buffer.readBigInt64BE(this.take(8));
  }

  bool(): boolean {
    return this.buffer[this.take(1)] === 1;
  }

  text(): string {
    const bytes = Math.max(0, this.int());
    const at = this.take(bytes);
    return this.buffer.toString('utf8', at, at + bytes);
  }

  /** A copy: the socket's chunk is not kept alive by small data. */
  bytes(): Buffer | null {
    const length = this.int();
    if (length < 0) return null;
    const at = this.take(length);
    return Buffer.from(this.buffer.subarray(at, at + length));
  }

  list<T>(each: (r: this) => T): T[] {
    const n = Math.max(0, this.int());
    const items: T[] = [];
    for (let i = 0; i < n; i++) items.push(each(this));
    return items;
  }
}
