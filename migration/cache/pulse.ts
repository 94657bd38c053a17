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

async function look(server: CacheServer): Promise<Look> {
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
async function pendingFlushS(server: CacheServer, uptimeS: number): Promise<number | null> {
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

export interface PulseOptions {
  readonly source: CacheServer;
  readonly target: CacheServer;
  /** Keys may have changed unheard. */
  onLost(reason: string): void;
  /** All of the source's items are void. */
  onSourceFlushed(reason: string): void;
  /** The target came up empty or was flushed, not by us. */
  onTargetEmptied(): void;
}

/** Looks at both servers' counters for what the log does not tell. */
export class Pulse {
  readonly hitRates = { source: new HitRate(), target: new HitRate() };
  readonly counts = { sourceRestarts: 0, targetRestarts: 0, droppedLines: 0 };
  private looks: { source?: Look; target?: Look } = {};
  private looking: Promise<void> = Promise.resolve();
  private scheduledFlushAtMs: number | null = null;

  constructor(private readonly options: PulseOptions) {}

  get items(): { readonly source: number | null; readonly target: number | null } {
    return { source: this.looks.source?.items ?? null, target: this.looks.target?.items ?? null };
  }

  /** A look that begins after the call; one at a time, so that they are compared in order. */
  now(): Promise<void> {
    const next = this.looking.then(() => this.look());
    this.looking = next.catch(() => undefined);
    return next;
  }

  private async look(): Promise<void> {
    const { onLost, onSourceFlushed, onTargetEmptied } = this.options;
    const [source, target] = await Promise.all([look(this.options.source), look(this.options.target)]);
    const before = this.looks;
    this.looks = { source, target };
    this.hitRates.source.add(source);
    this.hitRates.target.add(target);
    const there = before.source ? since(before.source, source) : null;
    if (there?.restarted) {
      this.counts.sourceRestarts += 1;
      this.scheduledFlushAtMs = null;
      onLost('the source was restarted');
    }
    if (there && there.dropped > 0) {
      this.counts.droppedLines += there.dropped;
      onLost(`${there.dropped} lines dropped by the source's workers`);
    }
    if (there?.flushed) onSourceFlushed('flush_all');
    if (!there || there.flushed) {
      const aheadS = await pendingFlushS(this.options.source, source.uptimeS);
      this.scheduledFlushAtMs = aheadS === null ? null : Date.now() + aheadS * 1000;
    }
    if (this.scheduledFlushAtMs !== null && Date.now() >= this.scheduledFlushAtMs) {
      this.scheduledFlushAtMs = null;
      onSourceFlushed('flush_all ordered earlier');
    }
    const here = before.target ? since(before.target, target) : null;
    if (here?.restarted) this.counts.targetRestarts += 1;
    if (here && (here.restarted || here.flushed)) onTargetEmptied();
  }
}
