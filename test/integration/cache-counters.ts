import { setTimeout as delay } from 'node:timers/promises';
import type { Cache } from './cache-support.js';

/** Keys that are written. */
export const KEYS = 60;
/** How long after an N1 write of the drain N2 may still see the value before it. */
const DRAIN_LAG_MS = 500;

/**
 * One writer per key, which writes 1, 2, 3 … first on N1, then on N2. Whoever reads on N2 after the switch must find
 * nothing or a number that is not below what had been acknowledged.
 */
export class Counters {
  readonly acked = Array.from({ length: KEYS }, () => 0);
  readonly stale: string[] = [];
  lost = 0;
  private readonly next = Array.from({ length: KEYS }, () => 0);
  reads = 0;
  found = 0;
  private log = Array.from({ length: KEYS }, (): { n: number; atMs: number }[] => []);
  private floors = Array.from({ length: KEYS }, () => 0);

  constructor(private readonly random: () => number) {}

  key = (i: number): string => (i % 7 === 0 ? `counter ${i}` : `counter-${i}`);

  /** A write whose answer is lost counts for nothing: its number may be seen, but need not. */
  async write(cache: Cache, i: number): Promise<void> {
    const n = (this.next[i] ?? 0) + 1;
    this.next[i] = n;
    try {
      if (this.random() < 0.15) await cache.app.delete(this.key(i));
      if (!(await cache.app.set(this.key(i), String(n), { expires: this.random() < 0.3 ? 3600 : 0 }))) return;
    } catch {
      this.lost += 1;
      return;
    }
    this.acked[i] = n;
    this.log[i]?.push({ n, atMs: Date.now() });
  }

  /** Everything acknowledged until now must be seen from now on. */
  mark(): void {
    this.floors = [...this.acked];
  }

  async read(cache: Cache, i: number): Promise<void> {
    const settled = this.log[i]?.findLast((w) => w.atMs < Date.now() - DRAIN_LAG_MS)?.n ?? 0;
    const least = Math.max(this.floors[i] ?? 0, settled);
    const { value } = await cache.app.get(this.key(i));
    this.reads += 1;
    if (value === null) return;
    this.found += 1;
    if (Number(value.toString()) < least) this.stale.push(`${this.key(i)}: ${value.toString()}, at least ${least}`);
  }
}

/** Runs writers over all keys until told to stop; resolves when the last write is acknowledged. */
export function writers(c: Counters, cache: Cache, among: readonly number[]): { stop(): Promise<void> } {
  let on = true;
  const all = among.map(async (i) => {
    while (on) {
      await c.write(cache, i);
      await delay(i % 4);
    }
  });
  return {
    async stop() {
      on = false;
      await Promise.all(all);
    },
  };
}

export function readers(c: Counters, cache: Cache): { stop(): Promise<void> } {
  let on = true;
  const all = [0, 1, 2, 3].map(async (r) => {
    for (let i = r; on; i = (i + 7) % KEYS) await c.read(cache, i);
  });
  return {
    async stop() {
      on = false;
      await Promise.all(all);
    },
  };
}
