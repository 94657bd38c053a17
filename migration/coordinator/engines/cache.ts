import { NxnwError } from '@nxnw/platform/errors';
import { createCacheWarmupGroup } from '../../cache/group.js';
import type { CacheWarmupGroup } from '../../cache/group.js';
import type { CacheEvent } from '../../cache/lane.js';
import type { CacheMode, Direction } from '../plan.js';
import type { CachePort, FollowStatus } from '../ports.js';

export interface CacheServers {
  /** memcached servers by application, host:port, in the order of the applications' MEMCACHE_SERVERS. */
  readonly source: Readonly<Record<string, readonly string[]>>;
  readonly target: Readonly<Record<string, readonly string[]>>;
}

interface Running {
  readonly group: CacheWarmupGroup;
  direction: Direction;
  mode: 'copy' | 'invalidate';
}

const START_MS = 10_000;
const SWITCH_MS = 20_000;
const OFF: FollowStatus = { running: false, inSync: false, lagMs: null, copied: 0, retries: 0, detail: 'not started' };

/** The warm-ups of all applications, inside the coordinator's process. One change of an application at a time. */
export class Caches implements CachePort {
  private readonly running = new Map<string, Running>();
  private readonly turns = new Map<string, Promise<void>>();

  constructor(
    private readonly servers: CacheServers,
    private readonly log: (e: CacheEvent) => void,
  ) {}

  set(app: string, mode: CacheMode): Promise<void> {
    const turn = (this.turns.get(app) ?? Promise.resolve()).then(() => this.make(app, mode));
    this.turns.set(
      app,
      turn.catch(() => undefined),
    );
    return turn;
  }

  private async make(app: string, wanted: CacheMode): Promise<void> {
    if (this.list(app, 'source').length === 0) return;
    const now = this.running.get(app);
    if (wanted === 'off') return this.close(app);
    if (now?.direction === wanted.direction) {
      if (now.mode === wanted.mode) return;
      if (wanted.mode === 'copy') now.group.follow();
      else await now.group.invalidate(Date.now() + SWITCH_MS);
      now.mode = wanted.mode;
      return;
    }
    if (now?.mode === 'invalidate' && wanted.mode === 'copy') {
      await now.group.turn(Date.now() + SWITCH_MS);
      now.direction = wanted.direction;
      now.mode = 'copy';
      return;
    }
    await this.close(app);
    await this.open(app, wanted.direction, wanted.mode);
  }

  private async open(app: string, direction: Direction, mode: 'copy' | 'invalidate'): Promise<void> {
    const [from, to] = direction === 'forward' ? (['source', 'target'] as const) : (['target', 'source'] as const);
    const group = createCacheWarmupGroup({
      sources: this.list(app, from).map(address),
      targets: this.list(app, to).map(address),
      mode,
      onEvent: this.log,
    });
    await group.start(Date.now() + START_MS);
    try {
      // An invalidating that begins now has missed what came before: the fence ends when the other side is emptied.
      if (mode === 'invalidate') await group.fence(Date.now() + SWITCH_MS);
    } catch (e) {
      await group.close();
      throw e;
    }
    this.running.set(app, { group, direction, mode });
  }

  private list(app: string, side: keyof CacheServers): readonly string[] {
    return this.servers[side][app] ?? [];
  }

  private async close(app: string): Promise<void> {
    const now = this.running.get(app);
    this.running.delete(app);
    await now?.group.close();
  }

  status(app: string): FollowStatus {
    if (this.list(app, 'source').length === 0)
      return { running: true, inSync: true, lagMs: 0, copied: 0, retries: 0, detail: 'the application has no cache' };
    const now = this.running.get(app);
    if (now === undefined) return OFF;
    const all = now.group.status();
    const whole = all.every((m) => m.whole);
    const copied = all.reduce((n, m) => n + m.counts.copied, 0);
    const errors = all.reduce((n, m) => n + m.counts.errors, 0);
    const way = now.direction === 'forward' ? 'N1 → N2' : 'N2 → N1';
    const detail = `${now.mode} ${way}, ${copied} copies, ${whole ? 'warm' : 'full pass under way'}`;
    return {
      running: true,
      inSync: whole && now.mode === 'copy',
      lagMs: Math.max(...all.map((m) => m.lagMs)),
      copied,
      retries: errors,
      detail,
    };
  }

  async stop(): Promise<void> {
    for (const app of [...this.running.keys()]) await this.close(app);
  }
}

/** `127.0.0.1:11211` */
export function address(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(':');
  const port = Number(text.slice(colon + 1));
  if (colon < 1 || !Number.isInteger(port))
    throw new NxnwError('BAD_CONFIG', `"${text}" is not host:port`, { given: text });
  return { host: text.slice(0, colon), port };
}
