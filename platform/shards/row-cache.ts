import type { RowImage } from './types.js';

const ROW_OVERHEAD_BYTES = 200;

/** Rows lately read of a shard, the least lately used given up first. Its user tells it of every change. */
export class RowCache {
  private readonly rows = new Map<string, RowImage | null>();
  private bytes = 0;

  constructor(private readonly maxBytes: number) {}

  private static key(key: Buffer): string {
    return key.toString('latin1');
  }

  private static size(key: string, row: RowImage | null): number {
    return key.length + (row?.entity?.length ?? 0) + ROW_OVERHEAD_BYTES;
  }

  /** undefined = not here; null = the store has no row. */
  get(key: Buffer): RowImage | null | undefined {
    const k = RowCache.key(key);
    const row = this.rows.get(k);
    if (row === undefined) return undefined;
    this.rows.delete(k);
    this.rows.set(k, row);
    return row;
  }

  put(key: Buffer, row: RowImage | null): void {
    const k = RowCache.key(key);
    this.drop(k);
    this.rows.set(k, row);
    this.bytes += RowCache.size(k, row);
    for (const old of this.rows.keys()) {
      if (this.bytes <= this.maxBytes) return;
      this.drop(old);
    }
  }

  /** The key was written: what was read of it is old. */
  forget(key: Buffer): void {
    this.drop(RowCache.key(key));
  }

  private drop(k: string): void {
    const row = this.rows.get(k);
    if (row === undefined) return;
    this.rows.delete(k);
    this.bytes -= RowCache.size(k, row);
  }
}
