/** A result with its place in the order. */
export interface Placed {
  readonly position: Buffer;
  readonly bytes: number;
}

/**
 * Keeps the first results of a set that comes in any order: at most `maxCount`, and after the first at most `maxBytes`
 * of them. What is kept is always a prefix of the set's order.
 */
export class Smallest<T extends Placed> {
  private readonly kept: T[] = [];
  private bytes = 0;
  /** True once something was dropped: results may follow the kept ones. */
  dropped = false;

  constructor(
    private readonly maxCount: number,
    private readonly maxBytes: number,
  ) {}

  add(item: T): void {
    const last = this.kept.at(-1);
    if (this.dropped && last && item.position.compare(last.position) > 0) return;
    let lo = 0;
    for (let hi = this.kept.length; lo < hi;) {
      const mid = (lo + hi) >>> 1;
      if ((this.kept[mid]?.position.compare(item.position) ?? 0) < 0) lo = mid + 1;
      else hi = mid;
    }
    this.kept.splice(lo, 0, item);
    this.bytes += item.bytes;
    while (this.kept.length > this.maxCount || (this.bytes > this.maxBytes && this.kept.length > 1)) {
      this.bytes -= this.kept.pop()?.bytes ?? 0;
      this.dropped = true;
    }
  }

  /** In order. */
  items(): readonly T[] {
    return this.kept;
  }
}
