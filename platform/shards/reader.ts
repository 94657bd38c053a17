import { NxnwError } from '../errors.js';
import type { LogRow } from './entry.js';
import type { ShardState } from './state.js';
import type { IndexHit, IndexKey, RowImage, ShardReader } from './types.js';
import { shardName } from './types.js';

/** Lets other work run on the event loop between chunks of a long scan. */
const YIELD_EVERY = 200;

type Order = 'asc' | 'desc';

interface Keyed {
  readonly key: Buffer;
}

/** Those of `memory` that lie in [from, to), one for each key, in the order of a scan. */
function ranged<T extends Keyed>(memory: Iterable<T>, from: Buffer | null, to: Buffer | null, order: Order): T[] {
  const byKey = new Map<string, T>();
  for (const m of memory)
    if ((!from || m.key.compare(from) >= 0) && (!to || m.key.compare(to) < 0)) byKey.set(m.key.toString('latin1'), m);
  const sign = order === 'asc' ? 1 : -1;
  return [...byKey.values()].sort((a, b) => sign * a.key.compare(b.key));
}

/** A scan of the store with what only memory has, each key once: the store's where both have it. */
async function* merged<S extends Keyed, M extends Keyed>(
  stored: AsyncIterable<S>,
  memory: readonly M[],
  order: Order,
): AsyncIterable<{ readonly stored: S } | { readonly memory: M }> {
  const sign = order === 'asc' ? 1 : -1;
  let i = 0;
  let n = 0;
  for await (const row of stored) {
    if (++n % YIELD_EVERY === 0) await new Promise<void>((ok) => setImmediate(ok));
    for (let m = memory[i]; m; m = memory[i]) {
      const by = sign * m.key.compare(row.key);
      if (by > 0) break;
      i++;
      if (by < 0) yield { memory: m };
    }
    yield { stored: row };
  }
  for (const m of memory.slice(i)) yield { memory: m };
}

/**
 * A shard's rows at T: the store's, with the entries that are not applied yet, corrected by the recent versions in memory
 * (C11). Everything at or below T must be in the log's memory when it is made; entries are applied while it is read.
 */
export class StateReader implements ShardReader {
  /** What was not in the store when the first scan began; rows of entries that come later lie above T. */
  private unapplied: readonly LogRow[] | null = null;
  private unappliedIndex: readonly IndexKey[] | null = null;

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

  private newRows(): readonly LogRow[] {
    return (this.unapplied ??= [...this.state.recent.behind(this.state.applied)]);
  }

  /** Index rows that are not in the store yet; whether an entity had the value at T its reader finds out. */
  private newIndexRows(part: Buffer): IndexKey[] {
    this.unappliedIndex ??= this.newRows().flatMap((row) => (row.entity ? this.state.indexKeys.of(row.entity) : []));
    return this.unappliedIndex.filter((i) => i.part.equals(part));
  }

  async *scanIndex(part: Buffer, from: Buffer | null, to: Buffer | null, order: Order): AsyncIterable<IndexHit> {
    const { o, generation } = this.state;
    const memory = ranged(this.newIndexRows(part), from, to, order);
    const unapplied = new Set(memory.map((i) => i.key.toString('latin1')));
    const stored = o.store.scanIndex(o.shard, generation, part, { from, to, order });
    for await (const hit of merged(stored, memory, order)) {
      if ('memory' in hit) yield { part, key: hit.memory.key };
      else {
        const { key, present, version } = hit.stored;
        if (present || version > this.atUs || unapplied.has(key.toString('latin1'))) yield { part, key };
      }
    }
  }

  async *scanEntities(from: Buffer | null, to: Buffer | null, order: Order): AsyncIterable<RowImage> {
    const { o, generation } = this.state;
    const memory = ranged(this.newRows(), from, to, order);
    for await (const hit of merged(o.store.scanRows(o.shard, generation, { from, to, order }), memory, order)) {
      const key = 'memory' in hit ? hit.memory.key : hit.stored.key;
      const held = this.state.recent.at(key, this.atUs);
      const now = held !== undefined || 'memory' in hit ? held : this.visible(key, hit.stored);
      if (now) yield now;
    }
    this.check();
  }
}
