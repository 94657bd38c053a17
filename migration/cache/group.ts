import { NxnwError } from '@nxnw/platform/errors';
import type { CacheAddress } from './connection.js';
import type { Warmth } from './warmth.js';
import { CacheWarmup } from './warmup.js';
import type { CacheWarmupOptions, CacheWarmupStatus } from './warmup.js';

export interface CacheGroupOptions extends Omit<CacheWarmupOptions, 'source' | 'target'> {
  /** The application's memcached processes on N1, in the order of its MEMCACHE_SERVERS. */
  readonly sources: readonly CacheAddress[];
  /** Those on N2, as many and in the same order: clients choose a server by the key's hash and the number of servers. */
  readonly targets: readonly CacheAddress[];
}

/** The warm-ups of all cache machines of one application, as one. See CacheWarmup for each call. */
export class CacheWarmupGroup {
  readonly members: readonly CacheWarmup[];

  /** CACHE_MACHINES_DIFFER when the two sides have not as many memcached processes. */
  constructor(options: CacheGroupOptions) {
    const { sources, targets, ...rest } = options;
    if (sources.length !== targets.length || sources.length === 0)
      throw new NxnwError(
        'CACHE_MACHINES_DIFFER',
        `N1 has ${sources.length} cache machines and N2 ${targets.length}; clients spread keys by the number of ` +
          `machines, so N2 needs as many as N1 (and at least one). Set nxnw:cache accordingly.`,
        { sources: sources.length, targets: targets.length },
      );
    this.members = sources.flatMap((source, i) => {
      const target = targets[i];
      return target ? [new CacheWarmup({ ...rest, source, target })] : [];
    });
  }

  /** All or none: when one cannot start, all are closed. */
  async start(deadlineMs: number): Promise<void> {
    const results = await Promise.allSettled(this.members.map((m) => m.start(deadlineMs)));
    const failed = results.find((r) => r.status === 'rejected');
    if (!failed) return;
    await this.close();
    throw failed.reason;
  }

  async awaitWhole(deadlineMs: number): Promise<void> {
    await Promise.all(this.members.map((m) => m.awaitWhole(deadlineMs)));
  }

  async fence(deadlineMs: number): Promise<void> {
    await Promise.all(this.members.map((m) => m.fence(deadlineMs)));
  }

  /** All or none: when one cannot be switched, those that this call switched go back to copying. */
  async invalidate(deadlineMs: number): Promise<{ readonly flushed: boolean }> {
    const first = this.members.filter((m) => m.status().mode === 'copy');
    const results = await Promise.allSettled(this.members.map((m) => m.invalidate(deadlineMs)));
    const failed = results.find((r) => r.status === 'rejected');
    if (!failed) return { flushed: results.some((r) => r.status === 'fulfilled' && r.value.flushed) };
    for (const m of first) if (m.status().mode !== 'copy') m.follow();
    throw failed.reason;
  }

  follow(): void {
    for (const m of this.members) m.follow();
  }

  async turn(deadlineMs: number): Promise<void> {
    await Promise.all(this.members.map((m) => m.turn(deadlineMs)));
  }

  pause(what: 'passes' | 'all'): void {
    for (const m of this.members) m.pause(what);
  }

  resume(): void {
    for (const m of this.members) m.resume();
  }

  throttle(keysPerS: number | null): void {
    for (const m of this.members) m.throttle(keysPerS === null ? null : keysPerS / this.members.length);
  }

  async warmth(most = 200): Promise<Warmth> {
    const each = Math.ceil(most / this.members.length);
    const all = await Promise.all(this.members.map((m) => m.warmth(each)));
    return all.reduce((a, b) => ({
      sampled: a.sampled + b.sampled,
      present: a.present + b.present,
      equal: a.equal + b.equal,
    }));
  }

  status(): readonly CacheWarmupStatus[] {
    return this.members.map((m) => m.status());
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((m) => m.close()));
  }
}

export function createCacheWarmupGroup(options: CacheGroupOptions): CacheWarmupGroup {
  return new CacheWarmupGroup(options);
}
