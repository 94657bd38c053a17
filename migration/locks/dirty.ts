import { parentOf } from './nodes.js';

/** A path to look at, because of an event or of a failure. */
export interface Dirty {
  readonly path: string;
  /** Order of the oldest event; a barrier waits for everything up to a number. */
  readonly seq: number;
  /** When the oldest event arrived, `performance.now()`. */
  readonly sinceMs: number;
  /** True if a create is among the events: it counts in the parent's sequence numbers. */
  readonly created: boolean;
  /** Failures so far. */
  readonly attempts: number;
}

/** Paths whose state must be read again, oldest first; several events of one path are one entry. Bounded. */
export class DirtySet {
  private readonly entries = new Map<string, Dirty>();
  private readonly creates = new Map<string, number>();
  private seq = 0;
  /** Set when an event found the set full: it was dropped, so everything must be compared. */
  overflowed = false;

  constructor(private readonly maxPaths: number) {}

  get size(): number {
    return this.entries.size;
  }

  has(path: string): boolean {
    return this.entries.has(path);
  }

  /** Number of the newest event. */
  get lastSeq(): number {
    return this.seq;
  }

  add(path: string, created: boolean, nowMs: number): void {
    this.seq++;
    this.put({ path, seq: this.seq, sinceMs: nowMs, created, attempts: 0 });
  }

  /** Back after a failure, with its age. */
  restore(entry: Dirty): void {
    this.put({ ...entry, attempts: entry.attempts + 1 });
  }

  private put(entry: Dirty): void {
    const old = this.entries.get(entry.path);
    if (old === undefined && this.entries.size >= this.maxPaths) {
      this.overflowed = true;
      return;
    }
    if (entry.created && !old?.created) this.count(entry.path, 1);
    if (old === undefined) {
      this.entries.set(entry.path, entry);
      return;
    }
    this.entries.set(entry.path, {
      path: entry.path,
      seq: Math.min(old.seq, entry.seq),
      sinceMs: Math.min(old.sinceMs, entry.sinceMs),
      created: old.created || entry.created,
      attempts: Math.max(old.attempts, entry.attempts),
    });
  }

  private count(path: string, by: number): void {
    const parent = parentOf(path);
    const n = (this.creates.get(parent) ?? 0) + by;
    if (n === 0) this.creates.delete(parent);
    else this.creates.set(parent, n);
  }

  /** Takes out at most `max` entries, those that came first. */
  take(max: number): Dirty[] {
    const taken: Dirty[] = [];
    for (const entry of this.entries.values()) {
      if (taken.length >= max) break;
      taken.push(entry);
    }
    for (const entry of taken) {
      this.entries.delete(entry.path);
      if (entry.created) this.count(entry.path, -1);
    }
    return taken;
  }

  /** How many children of a node may still have to be created. */
  createsUnder(parent: string): number {
    return this.creates.get(parent) ?? 0;
  }

  /** True if an event up to `seq` still waits. */
  hasUpTo(seq: number): boolean {
    for (const e of this.entries.values()) if (e.seq <= seq) return true;
    return false;
  }

  /** When the oldest waiting event arrived; undefined = none waits. */
  oldestMs(): number | undefined {
    let oldest: number | undefined;
    for (const e of this.entries.values()) oldest = Math.min(oldest ?? e.sinceMs, e.sinceMs);
    return oldest;
  }

  clear(): void {
    this.entries.clear();
    this.creates.clear();
    this.overflowed = false;
  }
}
