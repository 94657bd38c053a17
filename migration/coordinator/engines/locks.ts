import { asError } from '@nxnw/platform/errors';
import { createLockSync } from '../../locks/sync.js';
import type { LockSync } from '../../locks/sync.js';
import type { Direction, LocksMode } from '../plan.js';
import type { FollowStatus, LocksPort } from '../ports.js';
import type { Log } from './index.js';

export interface LockServers {
  /** ZooKeeper servers, host:port each. */
  readonly source: readonly string[];
  readonly target: readonly string[];
}

const OFF: FollowStatus = { running: false, inSync: false, lagMs: null, copied: 0, retries: 0, detail: 'not started' };
/** A follower further behind than this is not in sync. */
const IN_SYNC_MS = 5000;

interface Tree {
  sync: LockSync | null;
  errors: number;
  lastError: string;
  /** One change at a time. */
  turn: Promise<void>;
}

/** The lock syncs of all applications, one for each tree `/apps/<app>`, inside the coordinator's process. */
export class LockTrees implements LocksPort {
  private readonly trees = new Map<string, Tree>();

  constructor(
    private readonly servers: LockServers,
    private readonly holder: string,
    private readonly log: Log,
  ) {}

  private tree(app: string): Tree {
    const known = this.trees.get(app) ?? { sync: null, errors: 0, lastError: '', turn: Promise.resolve() };
    this.trees.set(app, known);
    return known;
  }

  private inTurn<T>(app: string, f: (t: Tree) => Promise<T>): Promise<T> {
    const t = this.tree(app);
    const mine = t.turn.then(() => f(t));
    t.turn = mine.then(
      () => undefined,
      () => undefined,
    );
    return mine;
  }

  set(app: string, mode: LocksMode): Promise<void> {
    return this.inTurn(app, async (t) => {
      if (mode === 'off') return this.close(t);
      // A sync that is not running is not started while requests may be on their way to the other side: beginning
      // compares whole trees. `turn` starts it.
      if (mode === 'turning') return;
      const sync = await this.open(app, t);
      // a switch that was undone before its turn
      await sync.abandonTurn();
    });
  }

  /** The direction is the sync's own, kept at N2; only `turn` changes it. */
  private async open(app: string, t: Tree): Promise<LockSync> {
    t.sync ??= await createLockSync({
      source: { servers: this.servers.source.join(',') },
      target: { servers: this.servers.target.join(',') },
      name: app,
      paths: [`/apps/${app}`],
      holder: this.holder,
      failed: (e, how) => {
        t.errors += 1;
        t.lastError = e.message;
        this.log('locks.failed', { app, code: e.code, message: e.message, how });
        if (how === 'fatal') void this.inTurn(app, (x) => this.close(x)).catch((x: unknown) => this.lost(app, x));
      },
    });
    return t.sync;
  }

  private lost(app: string, e: unknown): void {
    this.log('locks.closeFailed', { app, message: asError(e).message });
  }

  private async close(t: Tree): Promise<void> {
    const { sync } = t;
    t.sync = null;
    await sync?.stop();
  }

  status(app: string): FollowStatus {
    const t = this.trees.get(app);
    if (t?.sync === null || t === undefined)
      return { ...OFF, detail: t?.lastError === '' ? OFF.detail : (t?.lastError ?? OFF.detail) };
    const s = t.sync.status();
    const way = s.direction === 'forward' ? 'N1 → N2' : 'N2 → N1';
    const stuck = s.stuck[0];
    const parts = [`${s.state} ${way}, ${s.progress.done} nodes compared, lag ${Math.round(s.lagMs)} ms`];
    if (s.dirty > 0) parts.push(`${s.dirty} changes wait`);
    if (stuck !== undefined) parts.push(`${s.stuck.length} refused, first ${stuck.path}: ${stuck.message}`);
    return {
      running: true,
      inSync: s.state === 'following' && s.fullCompares > 0 && s.lagMs < IN_SYNC_MS && s.stuck.length === 0,
      lagMs: Math.round(s.lagMs),
      copied: s.progress.done,
      retries: t.errors,
      detail: parts.join(', '),
    };
  }

  /** Also right after a restart: the sync is opened first, and its first full compare is part of what is waited for. */
  prepareTurn(app: string, deadlineMs: number): Promise<void> {
    return this.inTurn(app, async (t) => {
      const sync = await this.open(app, t);
      await sync.prepareTurn(Math.max(1, deadlineMs - Date.now()));
    });
  }

  caughtUp(app: string, deadlineMs: number): Promise<void> {
    return this.inTurn(app, async (t) => {
      const sync = await this.open(app, t);
      await sync.caughtUp('events', Math.max(1, deadlineMs - Date.now()));
    });
  }

  turn(app: string, to: Direction, deadlineMs: number): Promise<void> {
    return this.inTurn(app, async (t) => {
      const sync = await this.open(app, t);
      await sync.turn(to, Math.max(1, deadlineMs - Date.now()));
    });
  }

  releaseCopies(app: string): Promise<void> {
    return this.inTurn(app, async (t) => {
      const sync = await this.open(app, t);
      await sync.releaseCopies();
    });
  }

  async stop(): Promise<void> {
    for (const app of [...this.trees.keys()]) await this.inTurn(app, (t) => this.close(t));
  }
}
