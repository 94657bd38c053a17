import { NxnwError } from '../errors.js';
import type { ShardState } from './state.js';
import type { IndexHit, RowImage, ShardReader } from './types.js';
import { shardName } from './types.js';

/** Lets other work run on the event loop between chunks of a long scan. */
const YIELD_EVERY = 200;

/**
 * A shard's rows at T: the store's, corrected by the recent versions in memory (C11). Everything at or below T must be
 * applied when it is made; entries above T may be applied while it is read.
 */
export class StateReader implements ShardReader {
  constructor(
    private readonly state: ShardState,
    readonly atUs: number,
  ) {}

  private check(): void {
    if (this.state.failure) throw this.state.failure;
    if (this.atUs < this.state.recent.floorUs)
      throw new NxnwError(
        'ABORTED',
        `the position of this read of ${shardName(this.state.o.shard)} lies ${Math.round((this.state.recent.floorUs - this.atUs) / 1000)} ms before the history that is kept: begin it again`,
      );
  }

  async get(keys: readonly Buffer[]): Promise<(RowImage | null)[]> {
    this.check();
    const { recent } = this.state;
    const out: (RowImage | null | undefined)[] = keys.map((k) => recent.at(k, this.atUs));
    const ask: number[] = [];
    out.forEach((r, i) => r === undefined && ask.push(i));
    if (ask.length > 0) {
      const rows = await this.state.storedRows(ask.map((i) => keys[i] ?? Buffer.alloc(0)));
      ask.forEach((i, j) => (out[i] = this.visible(keys[i] ?? Buffer.alloc(0), rows[j] ?? null)));
      this.check();
    }
    return out.map((r) => r ?? null);
  }

  /** A stored row as it was at T: newer ones were written while the store was asked, and memory knows what was before. */
  private visible(key: Buffer, row: RowImage | null): RowImage | null {
    if (!row || row.version > this.atUs) {
      const held = this.state.recent.at(key, this.atUs);
      if (held !== undefined) return held;
      if (row) this.check();
      return null;
    }
    return row.entity ? row : null;
  }

  async *scanIndex(
    part: Buffer,
    from: Buffer | null,
    to: Buffer | null,
    order: 'asc' | 'desc',
  ): AsyncIterable<IndexHit> {
    const { o, generation } = this.state;
    let n = 0;
    for await (const row of o.store.scanIndex(o.shard, generation, part, { from, to, order })) {
      if (++n % YIELD_EVERY === 0) await new Promise<void>((ok) => setImmediate(ok));
      if (row.present || row.version > this.atUs) yield { part: row.part, key: row.key };
    }
  }

  async *scanEntities(from: Buffer | null, to: Buffer | null, order: 'asc' | 'desc'): AsyncIterable<RowImage> {
    const { o, generation } = this.state;
    let n = 0;
    for await (const row of o.store.scanRows(o.shard, generation, { from, to, order })) {
      if (++n % YIELD_EVERY === 0) await new Promise<void>((ok) => setImmediate(ok));
      const held = this.state.recent.at(row.key, this.atUs);
      const now = held === undefined ? this.visible(row.key, row) : held;
      if (now) yield now;
    }
    this.check();
  }
}
