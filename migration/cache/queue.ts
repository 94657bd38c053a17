import type { CacheKey } from './protocol.js';

/** What is known of a key that waits for its copier. */
export interface Heard {
  /** A write was among what was heard. */
  readonly stored: boolean;
  readonly heardAtMs: number;
}

/**
 * Keys that wait for a copier, each once, oldest first, and the rule of one copier per key: a key heard of while its
 * copier runs is taken again afterwards. Bounded: `add` answers false when the key found no place.
 */
export class KeyQueue {
  private readonly waiting = new Map<CacheKey, Heard>();
  private readonly running = new Map<CacheKey, Heard>();

  constructor(private readonly most: number) {}

  get size(): number {
    return this.waiting.size;
  }

  add(key: CacheKey, heard: Heard): boolean {
    const before = this.waiting.get(key);
    if (!before && this.waiting.size >= this.most) return false;
    this.waiting.set(key, before ? { stored: before.stored || heard.stored, heardAtMs: before.heardAtMs } : heard);
    return true;
  }

  has(key: CacheKey): boolean {
    return this.waiting.has(key) || this.running.has(key);
  }

  /** The oldest key whose copier does not run; undefined if there is none. */
  take(): { key: CacheKey; heard: Heard } | undefined {
    for (const [key, heard] of this.waiting) {
      if (this.running.has(key)) continue;
      this.waiting.delete(key);
      this.running.set(key, heard);
      return { key, heard };
    }
    return undefined;
  }

  done(key: CacheKey): void {
    this.running.delete(key);
  }

  /** When the oldest key that is not yet mirrored was heard of, milliseconds since 1970; null when all are. */
  oldestMs(): number | null {
    let oldest: number | null = null;
    for (const h of this.running.values()) oldest = Math.min(oldest ?? h.heardAtMs, h.heardAtMs);
    const first = this.waiting.values().next();
    return first.done ? oldest : Math.min(oldest ?? first.value.heardAtMs, first.value.heardAtMs);
  }

  clear(): void {
    this.waiting.clear();
  }
}
