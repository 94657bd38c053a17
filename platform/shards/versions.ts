import type { LogRow } from './entry.js';
import type { Position, RowImage } from './types.js';
import { comparePositions } from './types.js';

/** A version of a key that the log holds, with the position of its entry. */
interface Held {
  readonly row: LogRow;
  readonly at: Position;
}

interface Chain {
  /** Row before the first held version: null = absent, undefined = not known (replayed, not applied yet). */
  base: RowImage | null | undefined;
  readonly held: Held[];
}

const mapKey = (key: Buffer): string => key.toString('latin1');

/**
 * Recent versions of a shard's keys, in memory: the entries that are not applied yet, and those of the history window,
 * so that reads at a position T see one snapshot (C11) and transactions can be validated (reads against later writes).
 */
export class RecentVersions {
  private readonly chains = new Map<string, Chain>();
  private readonly order: Held[] = [];
  private readonly lastByRange = new Map<string, Position>();
  private head = 0;
  bytes = 0;
  /** Writes at or below this position may have been forgotten. */
  floor: Position;
  /** Reads at a T below this cannot be answered. */
  floorUs = 0;

  constructor(floor: Position) {
    this.floor = floor;
  }

  private static ranges(row: LogRow): string[] {
    const g = mapKey(row.key.subarray(0, row.groupBytes));
    return ['', `k${row.kind}`, `g${g}`, `g${g}\u0000k${row.kind}`];
  }

  /** Adds a version. `base` is the row that it replaces when the caller knows it (see Chain.base). */
  add(row: LogRow, at: Position, base: RowImage | null | undefined): void {
    const k = mapKey(row.key);
    let chain = this.chains.get(k);
    if (!chain) this.chains.set(k, (chain = { base, held: [] }));
    const held = { row, at };
    chain.held.push(held);
    this.order.push(held);
    this.bytes += row.key.length * 2 + (row.entity?.length ?? 0) + 200;
    for (const r of RecentVersions.ranges(row)) this.lastByRange.set(r, at);
  }

  /** The base of a replayed key becomes known when its first version is applied. */
  setBase(key: Buffer, base: RowImage | null): void {
    const chain = this.chains.get(mapKey(key));
    if (chain && chain.base === undefined) chain.base = base;
  }

  /** Newest version of a key, or undefined if none is held here (then the store's row is the newest). */
  newest(key: Buffer): LogRow | undefined {
    return this.chains.get(mapKey(key))?.held.at(-1)?.row;
  }

  /** Row of a key at T: undefined = not held here, ask the store; null = absent at T. */
  at(key: Buffer, atUs: number): RowImage | null | undefined {
    const chain = this.chains.get(mapKey(key));
    if (!chain) return undefined;
    for (let i = chain.held.length - 1; i >= 0; i--) {
      const row = chain.held[i]?.row;
      if (row && row.version <= atUs) return row.entity ? row : null;
    }
    if (chain.base === undefined) return undefined;
    return chain.base?.entity ? chain.base : null;
  }

  /** Rows of entries behind a position, newest first: what the store does not have yet. */
  *behind(applied: Position): Iterable<LogRow> {
    for (let i = this.order.length - 1; i >= this.head; i--) {
      const h = this.order[i];
      if (!h || comparePositions(h.at, applied) <= 0) return;
      yield h.row;
    }
  }

  /** The row that the store has of a key, if that is known here: nothing behind `applied` is written yet. */
  applied(key: Buffer, applied: Position): RowImage | null | undefined {
    const chain = this.chains.get(mapKey(key));
    const last = chain?.held.findLast((h) => comparePositions(h.at, applied) <= 0);
    return last ? last.row : chain?.base;
  }

  /** True if the key was written after `at`; also when that cannot be known any more. */
  writtenAfter(key: Buffer, at: Position): boolean {
    if (comparePositions(at, this.floor) < 0) return true;
    const last = this.chains.get(mapKey(key))?.held.at(-1);
    return last !== undefined && comparePositions(last.at, at) > 0;
  }

  /** The same for all keys of a group (null = any) and a kind (null = any). */
  rangeWrittenAfter(group: Buffer | null, kind: string | null, at: Position): boolean {
    if (comparePositions(at, this.floor) < 0) return true;
    const g = group ? `g${mapKey(group)}` : '';
    const k = kind === null ? '' : `k${kind}`;
    const last = this.lastByRange.get(g && k ? `${g}\u0000${k}` : g || k);
    return last !== undefined && comparePositions(last, at) > 0;
  }

  /**
   * Forgets versions that are applied (up to `applied`) and older than `beforeUs`, and more while over `maxBytes`.
   * The newest forgotten version of a key that is still held becomes its base; those of which nothing is held any more
   * are answered, as the store has them.
   */
  prune(applied: Position, beforeUs: number, maxBytes: number): LogRow[] {
    const gone: LogRow[] = [];
    while (this.head < this.order.length) {
      const h = this.order[this.head];
      if (!h || comparePositions(h.at, applied) > 0) break;
      if (h.row.version >= beforeUs && this.bytes <= maxBytes) break;
      this.head++;
      this.bytes -= h.row.key.length * 2 + (h.row.entity?.length ?? 0) + 200;
      this.floor = h.at;
      this.floorUs = Math.max(this.floorUs, h.row.version);
      const k = mapKey(h.row.key);
      const chain = this.chains.get(k);
      if (!chain) continue;
      chain.held.shift();
      chain.base = h.row;
      if (chain.held.length === 0) {
        this.chains.delete(k);
        gone.push(h.row);
      }
      for (const r of RecentVersions.ranges(h.row)) {
        const last = this.lastByRange.get(r);
        if (last && comparePositions(last, this.floor) <= 0) this.lastByRange.delete(r);
      }
    }
    if (this.head > 4096 && this.head * 2 > this.order.length) {
      this.order.splice(0, this.head);
      this.head = 0;
    }
    return gone;
  }
}
