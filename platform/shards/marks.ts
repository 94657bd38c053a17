import { Digest } from './entry.js';
import type { Position } from './types.js';
import { comparePositions } from './types.js';

/** What the shard was after one entry. */
export interface Mark {
  readonly at: Position;
  readonly hash: Buffer;
  readonly tsUs: number;
  digest: string;
  entities: number;
  bytes: number;
  readonly idFloor: number;
  readonly authority: string;
}

/** The marks of recent positions, in log order: what digests are compared by and checkpoints are written from. */
export class Marks {
  private list: Mark[] = [];

  push(m: Mark): void {
    this.list.push(m);
  }

  /** Index of the last mark at or before `p`, or -1. */
  private search(p: Position): number {
    let lo = 0;
    let hi = this.list.length - 1;
    while (lo <= hi) {
      const mid = (lo + hi) >> 1;
      const m = this.list[mid];
      if (m && comparePositions(m.at, p) <= 0) lo = mid + 1;
      else hi = mid - 1;
    }
    return hi;
  }

  /** The mark of exactly this position; undefined when it is not remembered (any more). */
  at(p: Position): Mark | undefined {
    const m = this.list[this.search(p)];
    return m && comparePositions(m.at, p) === 0 ? m : undefined;
  }

  /** The remembered position right before `p`. */
  before(p: Position): Position | null {
    for (let i = this.search(p); i >= 0; i--) {
      const m = this.list[i];
      if (m && comparePositions(m.at, p) < 0) return m.at;
    }
    return null;
  }

  /** Sets right what was summed up relative to an unknown beginning. */
  shift(digest: bigint, entities: number, bytes: number): void {
    for (const x of this.list) {
      const d = Digest.fromHex(x.digest);
      d.shift(digest);
      x.digest = d.hex;
      x.entities += entities;
      x.bytes += bytes;
    }
  }

  /** Forgets marks before `p`, but the last one of them. */
  cut(p: Position): void {
    const i = this.list.findIndex((x) => comparePositions(x.at, p) >= 0);
    if (i > 1) this.list.splice(0, i - 1);
  }
}
