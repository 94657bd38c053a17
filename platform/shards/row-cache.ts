import type { RowImage } from './types.js';

const ROW_OVERHEAD_BYTES = 200;

/**
 * Rows lately read of a shard, the least lately used given up first. Its user tells it of every change, and has what was
 * changed lately itself.
 */
export class RowCache {
  private readonly rows = new Map<string, RowImage | null>();
  private bytes = 0;
  private givenUp = 0;
  /** What is neither here nor with the user is not in the store. */
  whole = false;

  constructor(private readonly maxBytes: number) {}

  private static key(key: Buffer): string {
    return key.toString('latin1');
  }

  private static size(key: string, row: RowImage | null): number {
    return key.length + (row?.entity?.length ?? 0) + ROW_OVERHEAD_BYTES;
  }

  /**
   * For a scan of all rows of the store: what it shows to `seen` stays here, unless its user has it, and from `done` on
   * this is whole, if there was room for all.
   */
  keepScan(elsewhere: (key: Buffer) => boolean): { readonly seen: (row: RowImage) => void; readonly done: () => void } {
    const before = this.givenUp;
    return {
      seen: (row) => {
        if (!elsewhere(row.key)) this.put(row.key, row);
      },
      done: () => {
        this.whole = this.givenUp === before;
      },
    };
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
    this.rows.set(k, row && copyOf(row));
    this.bytes += RowCache.size(k, row);
    for (const old of this.rows.keys()) {
      if (this.bytes <= this.maxBytes) return;
      this.drop(old);
      this.givenUp++;
      this.whole = false;
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

/** Without the page or the log entry whose bytes it is a part of. */
function copyOf({ key, version, createdUs, updatedUs, entity }: RowImage): RowImage {
  return { key: Buffer.from(key), version, createdUs, updatedUs, entity: entity && Buffer.from(entity) };
}
