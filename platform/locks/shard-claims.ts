import { asError, hasCode } from '../errors.js';
import type { ShardId } from '../shards/types.js';
import { shardName } from '../shards/types.js';
import { ranked } from './ownership.js';
import type { AppRegistry, ProcessSession, ShardLocks } from './ownership.js';

export interface ShardClaimsOptions {
  readonly session: ProcessSession;
  readonly locks: ShardLocks;
  readonly apps: AppRegistry;
  /** The shard's lock was got: open it. */
  readonly acquired: (shard: ShardId) => void;
  /** The shard is to go to another process: finish with it; its lock is given up afterwards. */
  readonly releasing: (shard: ShardId) => Promise<void>;
  /** The session is lost: all shards must be given up at once; their locks are gone already. */
  readonly lost: () => void;
  readonly failed: (e: Error) => void;
  /** An orphan that its designated process does not take goes to the next in rank after this. @default 1500 */
  readonly patienceMs?: number;
  /** One shard at a time is given up, this often, while this process has more than its part. @default 15000 */
  readonly rebalanceMs?: number;
}

/** How often orphans are looked for when no change was seen. */
const TICK_MS = 500;

/**
 * Takes the locks of shards for this process. Ownership is sticky: only orphans are taken, by their designated process
 * first; a process with more than its even part gives up one shard every `rebalanceMs`, if it is another's.
 */
export class ShardClaims {
  private readonly orphanSinceMs = new Map<string, number>();
  private readonly offs: (() => void)[];
  private readonly timer: NodeJS.Timeout;
  private nextRebalanceMs: number;
  private working = false;
  private again = false;
  private closed = false;

  constructor(private readonly o: ShardClaimsOptions) {
    this.nextRebalanceMs = performance.now() + (o.rebalanceMs ?? 15_000);
    this.offs = [
      o.session.on('expired', () => o.lost()),
      o.session.on('registered', () => this.wake()),
      o.locks.onChange(() => this.wake()),
      o.apps.onChange(() => this.wake()),
    ];
    this.timer = setInterval(() => this.wake(), TICK_MS);
    this.wake();
  }

  private wake(): void {
    this.again = true;
    if (this.working || this.closed) return;
    this.working = true;
    this.work()
      .catch((e: unknown) => this.o.failed(asError(e)))
      .finally(() => {
        this.working = false;
        if (this.again) this.wake();
      });
  }

  private async work(): Promise<void> {
    while (this.again && !this.closed) {
      this.again = false;
      if (!this.o.session.registered || !this.o.session.zk.isConnected) return;
      for (const [app, record] of this.o.apps.all()) await this.takeOrphans(app, record.shards);
      if (performance.now() >= this.nextRebalanceMs) {
        this.nextRebalanceMs = performance.now() + (this.o.rebalanceMs ?? 15_000);
        await this.giveOneUp();
      }
    }
  }

  private async takeOrphans(app: string, shards: number): Promise<void> {
    const { locks, session } = this.o;
    const designated = locks.designated(app, shards);
    const me = session.member.process;
    const members = [...locks.members().keys()];
    const takes: Promise<void>[] = [];
    for (let index = 0; index < shards; index++) {
      const shard = { app, index };
      const name = shardName(shard);
      const owner = locks.owner(shard);
      if (locks.holds(shard) || owner !== undefined) {
        this.orphanSinceMs.delete(name);
        // Made by us, but the answer was lost.
        if (!locks.holds(shard) && owner?.boot === session.member.boot && owner.process === me)
          takes.push(this.take(shard));
        continue;
      }
      const since = this.orphanSinceMs.get(name) ?? performance.now();
      this.orphanSinceMs.set(name, since);
      const others = ranked(shard, members).filter((m) => m !== designated.get(index));
      const rank = designated.get(index) === me ? 0 : 1 + others.indexOf(me);
      if (performance.now() - since < rank * (this.o.patienceMs ?? 1500)) continue;
      takes.push(this.take(shard));
    }
    await Promise.all(takes);
  }

  private async take(shard: ShardId): Promise<void> {
    try {
      if ((await this.o.locks.tryAcquire(shard)) && !this.closed) this.o.acquired(shard);
    } catch (e) {
      // The next look at the orphans tries again.
      if (!hasCode(e, 'CONNECTION_LOSS', 'SESSION_EXPIRED', 'DEADLINE_EXCEEDED')) throw e;
    }
  }

  private async giveOneUp(): Promise<void> {
    const { locks, apps, session } = this.o;
    const members = locks.members().size;
    for (const [app, { shards }] of apps.all()) {
      const mine = locks.heldShards().filter((s) => s.app === app);
      if (members < 2 || mine.length <= Math.ceil(shards / members)) continue;
      const designated = locks.designated(app, shards);
      const shard = mine.find((s) => designated.get(s.index) !== session.member.process);
      if (shard === undefined) continue;
      await this.o.releasing(shard);
      // Only after the patience is it an orphan for us again.
      this.orphanSinceMs.set(shardName(shard), performance.now());
      await locks.release(shard);
      return;
    }
  }

  /** Takes no more locks; those held stay with the session. */
  close(): void {
    this.closed = true;
    clearInterval(this.timer);
    for (const off of this.offs) off();
  }
}
