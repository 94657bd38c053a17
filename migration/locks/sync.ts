import { z } from 'zod';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import type { ZooKeeperOptions } from '@nxnw/platform/locks/client';
import { Fence } from './fence.js';
import { Marks, syncRoot } from './marks.js';
import { Mirror } from './mirror.js';
import type { CaughtUp, MirrorStatus, Progress } from './mirror-types.js';
import { readNode } from './nodes.js';
import { compareNode, differences } from './verify.js';
import type { Difference } from './verify.js';

export type { CaughtUp, MirrorStatus, Progress } from './mirror-types.js';
export type { Difference } from './verify.js';

const stateSchema = z.object({
  direction: z.enum(['forward', 'reverse']),
  /** A turn was prepared: the receiving side may be written already. */
  prepared: z.boolean().default(false),
});
type State = z.infer<typeof stateSchema>;

/** `forward`: N2 follows N1; `reverse`: N1 follows N2 (after the switch). */
export type Direction = State['direction'];

export interface LockSyncOptions {
  /** N1's ZooKeeper. The credentials must be those of its super user where nodes have ACLs. */
  readonly source: ZooKeeperOptions;
  /** N2's. */
  readonly target: ZooKeeperOptions;
  /** Names the sync's own nodes (`/nxnw/lock-sync/<name>`): one for each set of paths, for instance the application. */
  readonly name: string;
  /** What is mirrored. @default ['/apps'] */
  readonly paths?: readonly string[];
  /** Who runs the sync, for the fence: `coordinator-0`. */
  readonly holder: string;
  /** Nodes compared each second in the background; 0 = none. @default 500 */
  readonly scrubNodesPerS?: number;
  /** Changed paths held in memory; more lead to a full compare. @default 200000 */
  readonly maxDirty?: number;
  /** Hears of the progress of full compares, after each chunk of nodes. */
  readonly progress?: (p: Progress) => void;
  /** Hears of every error; `fatal` = the sync has stopped (FENCED: another one has taken over). */
  readonly failed: (e: NxnwError, fatal: 'fatal' | 'goesOn') => void;
}

export interface LockSyncStatus extends MirrorStatus {
  readonly direction: Direction;
  /** Copies of ephemerals of the side that was left, still there. */
  readonly draining: number;
}

export interface VerifyReport {
  readonly equal: boolean;
  readonly nodes: number;
  readonly durationMs: number;
  /** At most `limit` of them. */
  readonly differences: readonly Difference[];
}

/**
 * Copies N1's tree to N2's ZooKeeper and keeps it so: data, ACLs, ephemerals (as marked persistent nodes) and sequence
 * numbers. Container and TTL nodes become persistent ones: servers do not tell them apart. The direction is kept at N2, so a sync that is started again goes on where it was. Several at once
 * are harmless: the one started last works, the others stop with FENCED.
 */
export async function createLockSync(o: LockSyncOptions): Promise<LockSync> {
  const opened: ZooKeeper[] = [];
  try {
    for (const side of [o.source, o.target]) opened.push(await ZooKeeper.connect(side));
    const [source, target] = opened;
    if (!source || !target) throw new NxnwError('INTERNAL', 'unreachable');
    return await LockSync.open(o, source, target);
  } catch (e) {
    for (const zk of opened) await zk.close();
    throw e;
  }
}

interface End {
  readonly zk: ZooKeeper;
  readonly marks: Marks;
  readonly fence: Fence;
}

async function openEnd(zk: ZooKeeper, o: LockSyncOptions, roots: readonly string[]): Promise<End> {
  for (const root of roots) await zk.createRecursive(root);
  const end = { zk, marks: new Marks(zk, o.name), fence: await Fence.take(zk, o.name, o.holder) };
  await end.marks.load();
  return end;
}

/** Both directions of a sync; one follows, the other at most removes what it had copied of ephemerals. */
export class LockSync {
  private readonly roots: readonly string[];
  private readonly mirrors: Readonly<Record<Direction, Mirror>>;
  private readonly started = new Set<Direction>();
  private state: State = { direction: 'forward', prepared: false };
  private turning: Promise<void> = Promise.resolve();

  private constructor(
    private readonly o: LockSyncOptions,
    private readonly source: End,
    private readonly target: End,
  ) {
    this.roots = o.paths ?? ['/apps'];
    this.mirrors = { forward: this.mirror('forward'), reverse: this.mirror('reverse') };
  }

  /** Used by createLockSync. */
  static async open(o: LockSyncOptions, source: ZooKeeper, target: ZooKeeper): Promise<LockSync> {
    const roots = o.paths ?? ['/apps'];
    const sync = new LockSync(o, await openEnd(source, o, roots), await openEnd(target, o, roots));
    try {
      sync.state = await sync.readState();
      if (sync.state.prepared) {
        sync.mirrors[sync.direction].setGentle('on');
        sync.mirrors[sync.direction].lead();
      }
      await sync.run(sync.direction, 'follow');
      // After a turn, copies of ephemerals of the side that was left go when their owners go.
      const other = opposite(sync.direction);
      if (sync.ends(other).to.marks.size > 0 || other === 'forward') await sync.run(other, 'drain');
    } catch (e) {
      await sync.stop();
      throw e;
    }
    return sync;
  }

  private ends(d: Direction): { from: End; to: End } {
    return d === 'forward' ? { from: this.source, to: this.target } : { from: this.target, to: this.source };
  }

  private mirror(d: Direction): Mirror {
    const { from, to } = this.ends(d);
    return new Mirror({
      from: from.zk,
      to: to.zk,
      fence: to.fence,
      marks: to.marks,
      foreign: from.marks,
      roots: this.roots,
      marker: `${syncRoot(this.o.name)}/marker`,
      scrubNodesPerS: this.o.scrubNodesPerS ?? 500,
      maxDirty: this.o.maxDirty ?? 200_000,
      progress: this.o.progress,
      failed: this.o.failed,
    });
  }

  private async run(d: Direction, mode: 'follow' | 'drain', deadlineMs = 10_000): Promise<void> {
    if (this.started.has(d)) return this.mirrors[d].setMode(mode, deadlineMs);
    this.started.add(d);
    await this.mirrors[d].start(mode);
  }

  /** Of N2, where the direction is kept. */
  private get statePath(): string {
    return `${syncRoot(this.o.name)}/state`;
  }

  private get direction(): Direction {
    return this.state.direction;
  }

  private async readState(): Promise<State> {
    const found = await this.target.zk.tryGet(this.statePath);
    if (found?.data === undefined || found.data === null) return this.state;
    try {
      return stateSchema.parse(JSON.parse(found.data.toString('utf8')));
    } catch (e) {
      throw new NxnwError('CORRUPT_NODE', `${this.statePath} in N2's ZooKeeper is not a state of the lock sync`, {}, e);
    }
  }

  private async writeState(state: State): Promise<void> {
    const { zk, fence } = this.target;
    await zk.createRecursive(this.statePath);
    try {
      await zk.multi([fence.check(), { op: 'set', path: this.statePath, data: Buffer.from(JSON.stringify(state)) }]);
    } catch (e) {
      throw fence.failed(e) ? fence.error(e) : e;
    }
    this.state = state;
  }

  /**
   * Resolves when the receiving side has everything that the other side had at the call. With `acls` also changed
   * ACLs, of which ZooKeeper sends no events: that takes a full compare. DEADLINE_EXCEEDED, FENCED.
   */
  caughtUp(what: 'events' | 'acls', deadlineMs: number): Promise<CaughtUp> {
    return this.mirrors[this.direction].caughtUp(what, deadlineMs);
  }

  /**
   * To be called before the receiving side's applications begin to write: what they write from now on stays, unless
   * the other side changes the same node. Before it, changed ACLs are waited for. `turn` ends it, or `abandonTurn`.
   */
  prepareTurn(deadlineMs: number): Promise<void> {
    return this.inTurn(() => this.prepare(deadlineMs));
  }

  /** The receiver is made exactly like the source again; nothing to do where no turn was prepared. */
  abandonTurn(): Promise<void> {
    return this.inTurn(async () => {
      if (this.state.prepared) await this.writeState({ direction: this.direction, prepared: false });
      this.mirrors[this.direction].setGentle('off');
    });
  }

  /**
   * Waits until the receiver has everything, then the other side follows: what is written at the side that was left
   * from then on is undone there, but for ephemerals of its own sessions. Their copies go as they go. Can be repeated.
   * Without `prepareTurn`, an ACL that was changed since the scrub last saw it gets its old value back.
   */
  turn(to: Direction, deadlineMs: number): Promise<void> {
    return this.inTurn(() => this.turnOnce(to, deadlineMs));
  }

  private async inTurn(act: () => Promise<void>): Promise<void> {
    const mine = this.turning.then(act);
    this.turning = mine.catch(() => undefined);
    await mine;
  }

  private async prepare(deadlineMs: number): Promise<void> {
    if (this.state.prepared) return;
    const mirror = this.mirrors[this.direction];
    const endMs = performance.now() + deadlineMs;
    await mirror.caughtUp('acls', deadlineMs);
    mirror.setGentle('on');
    mirror.lead();
    // Nothing of before is under way any more.
    await mirror.caughtUp('events', endMs - performance.now());
    await this.writeState({ direction: this.direction, prepared: true });
  }

  private async turnOnce(to: Direction, deadlineMs: number): Promise<void> {
    if (this.direction === to) return;
    const endMs = performance.now() + deadlineMs;
    const from = this.direction;
    this.mirrors[from].setGentle('on');
    await this.mirrors[from].caughtUp('events', deadlineMs);
    await this.writeState({ direction: to, prepared: false });
    await this.run(from, 'drain', endMs - performance.now());
    await this.run(to, 'follow', endMs - performance.now());
  }

  /** Changes wait, in memory, until `resume`; copies of ephemerals that are gone still go after a turn. */
  pause(): void {
    this.mirrors[this.direction].pause();
  }

  resume(): void {
    this.mirrors[this.direction].resume();
  }

  status(): LockSyncStatus {
    const other = this.ends(opposite(this.direction)).to;
    return { ...this.mirrors[this.direction].status(), direction: this.direction, draining: other.marks.size };
  }

  /**
   * Removes all copies of ephemerals of the side that was left, whether or not their owners are gone: for when its
   * applications have been stopped or it does not exist any more. Answers how many were removed.
   */
  async releaseCopies(): Promise<number> {
    const { to } = this.ends(opposite(this.direction));
    const paths = to.marks.paths().sort().reverse();
    for (const path of paths) await removeCopy(to, path);
    return paths.length;
  }

  /**
   * Compares both trees whole and names what differs. That is compared again after the sync caught up with N1's
   * events, so that load does no harm; while the sync is paused nothing is waited for. A changed ACL counts as a
   * difference until the scrub, or `caughtUp('acls')`, has seen it.
   */
  async verify(o: { readonly limit?: number; readonly deadlineMs?: number } = {}): Promise<VerifyReport> {
    const startMs = performance.now();
    const limit = o.limit ?? 1000;
    const { from, to } = this.ends(this.direction);
    const sides = { from: from.zk, to: to.zk, marks: to.marks, foreign: from.marks };
    let nodes = 0;
    let found: Difference[] = [];
    for await (const d of differences(sides, this.roots, (n) => (nodes += n))) {
      found.push(d);
      if (found.length >= limit) break;
    }
    for (let tries = 0; found.length > 0 && tries < 3 && this.status().state !== 'paused'; tries++) {
      await this.caughtUp('events', o.deadlineMs ?? 60_000);
      const again = await Promise.all(
        found.map(async ({ path }) => {
          const [a, b] = await Promise.all([readNode(sides.from, path), readNode(sides.to, path)]);
          return compareNode(path, a, b, sides);
        }),
      );
      found = again.filter((d) => d !== null);
    }
    return { equal: found.length === 0, nodes, durationMs: performance.now() - startMs, differences: found };
  }

  /** Ends the work and both sessions. A sync of the same name goes on where this one was. */
  async stop(): Promise<void> {
    await Promise.all([this.mirrors.forward.stop(), this.mirrors.reverse.stop()]);
    await Promise.all([this.source.zk.close(), this.target.zk.close()]);
  }
}

function opposite(d: Direction): Direction {
  return d === 'forward' ? 'reverse' : 'forward';
}

/** A copy that got children of its own only loses its mark. */
async function removeCopy(to: End, path: string): Promise<void> {
  for (const ops of [[{ op: 'remove' as const, path }], []]) {
    try {
      await to.zk.multi([to.fence.check(), ...ops, ...to.marks.unmarkOps(path)]);
      to.marks.unmarked(path);
      return;
    } catch (e) {
      if (to.fence.failed(e)) throw to.fence.error(e);
      if (!hasCode(e, 'NO_NODE', 'NOT_EMPTY')) throw e;
    }
  }
  to.marks.unmarked(path);
}
