import type { PlacedEntry } from './entry.js';
import type { Position } from './types.js';
import { comparePositions } from './types.js';

const MAX_ENTRIES = 512;
const MAX_BYTES = 2 << 20;

/** A log's newest entries in memory: what a follower that keeps up is given, without a read in the store. */
export class Tail {
  private readonly list: PlacedEntry[] = [];
  private head = 0;
  private bytes = 0;

  push(p: PlacedEntry): void {
    this.list.push(p);
    this.bytes += p.bytes.length;
    while (this.head < this.list.length - 1 && (this.list.length - this.head > MAX_ENTRIES || this.bytes > MAX_BYTES))
      this.bytes -= this.list[this.head++]?.bytes.length ?? 0;
    if (this.head < MAX_ENTRIES) return;
    this.list.splice(0, this.head);
    this.head = 0;
  }

  last(): PlacedEntry | null {
    return this.list.at(-1) ?? null;
  }

  /** Entries right behind `p`, without a gap, at most `limit`; null = not all of them are here. */
  behind(p: Position, limit: number): readonly PlacedEntry[] | null {
    let i = this.list.length;
    while (i > this.head && comparePositions(this.list[i - 1]?.at ?? p, p) > 0) i--;
    const first = this.list[i]?.at;
    if (!first) return null;
    const before = i > this.head ? this.list[i - 1]?.at : undefined;
    const next = first.epoch === p.epoch && first.slot === p.slot + 1;
    if (!next && !(before && comparePositions(before, p) === 0)) return null;
    return this.list.slice(i, i + limit);
  }
}
