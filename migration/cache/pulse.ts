import type { CacheServer } from './server.js';

/** Seconds by which the `oldest` of `stats settings` is ahead of `uptime` (ITEM_UPDATE_INTERVAL). */
const CLOCK_LEAD_S = 60;
const WINDOW_MS = 10_000;

/** What one look at a server's `stats` tells. */
export interface Look {
  readonly atMs: number;
  readonly pid: string;
  readonly uptimeS: number;
  readonly flushes: number;
  /** Log lines lost in worker threads' buffers, which the log itself does not announce. */
  readonly dropped: number;
  readonly hits: number;
  readonly misses: number;
  readonly items: number;
  readonly ownHits: number;
  readonly ownMisses: number;
  readonly ownFlushes: number;
}

export async function look(server: CacheServer): Promise<Look> {
  // Our own counters first: a command of ours between the two would else be taken for an application's.
  const { hits: ownHits, misses: ownMisses, flushes: ownFlushes } = server.own;
  const s = await server.stats();
  const n = (name: string) => Number(s.get(name) ?? '0');
  return {
    atMs: Date.now(),
    pid: s.get('pid') ?? '',
    uptimeS: n('uptime'),
    flushes: n('cmd_flush'),
    dropped: n('log_worker_dropped'),
    hits: n('get_hits'),
    misses: n('get_misses'),
    items: n('curr_items'),
    ownHits,
    ownMisses,
    ownFlushes,
  };
}

/** What happened on a server between two looks. */
export interface Since {
  readonly restarted: boolean;
  readonly flushed: boolean;
  readonly dropped: number;
}

export function since(before: Look, now: Look): Since {
  const restarted = before.pid !== now.pid;
  const flushes = restarted ? now.flushes : now.flushes - before.flushes;
  return {
    restarted,
    flushed: flushes - (now.ownFlushes - before.ownFlushes) > 0,
    dropped: restarted ? 0 : now.dropped - before.dropped,
  };
}

/** Seconds until a flush that was ordered ahead (`flush_all 30`) takes effect, or null when none is ordered. */
export async function pendingFlushS(server: CacheServer, uptimeS: number): Promise<number | null> {
  const oldest = Number((await server.stats('settings')).get('oldest') ?? '0');
  const ahead = oldest - CLOCK_LEAD_S - uptimeS;
  return ahead > 0 ? ahead + 2 : null;
}

/** Hit rate of the applications' reads over the last 10 s: own reads taken off, null when there were none. */
export class HitRate {
  private looks: Look[] = [];

  add(l: Look): void {
    if (this.looks.at(-1)?.pid !== l.pid) this.looks = [];
    this.looks.push(l);
    while (this.looks[1] && l.atMs - this.looks[1].atMs >= WINDOW_MS) this.looks.shift();
  }

  get value(): number | null {
    const a = this.looks[0];
    const b = this.looks.at(-1);
    if (!a || !b) return null;
    const hits = Math.max(0, b.hits - a.hits - (b.ownHits - a.ownHits));
    const misses = Math.max(0, b.misses - a.misses - (b.ownMisses - a.ownMisses));
    return hits + misses === 0 ? null : hits / (hits + misses);
  }
}
