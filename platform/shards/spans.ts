import type { Marks } from './marks.js';
import type { Position, TxId } from './types.js';
import { comparePositions } from './types.js';

/**
 * From each PREPARE to its decision: no checkpoint may lie between them, or a replay from it would meet the decision
 * without its after-images (C5).
 */
export class Spans {
  private readonly spans = new Map<TxId, { readonly from: Position; to: Position | null }>();

  begin(tx: TxId, from: Position): void {
    this.spans.set(tx, { from, to: null });
  }

  /** A PREPARE that START lists: known before unless this is a replay. */
  listed(tx: TxId, from: Position): void {
    if (!this.spans.has(tx)) this.begin(tx, from);
  }

  end(tx: TxId, to: Position): void {
    const span = this.spans.get(tx);
    if (span) span.to = to;
  }

  /** The newest remembered position at or before `p` that lies in none. */
  outside(p: Position, marks: Marks): Position {
    let to = p;
    for (let moved = true; moved;) {
      moved = false;
      for (const { from, to: end } of this.spans.values()) {
        if (comparePositions(from, to) > 0 || (end && comparePositions(end, to) <= 0)) continue;
        const below = marks.before(from);
        if (!below || comparePositions(below, to) >= 0) continue;
        to = below;
        moved = true;
      }
    }
    return to;
  }

  /** Those that end at or before a checkpoint matter no more. */
  forget(checkpoint: Position): void {
    for (const [tx, span] of this.spans)
      if (span.to && comparePositions(span.to, checkpoint) <= 0) this.spans.delete(tx);
  }
}
