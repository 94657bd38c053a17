import { nextSequence } from '@nxnw/platform/locks/client';
import type { MultiOp, ZooKeeper } from '@nxnw/platform/locks/client';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type { Applier, Sides } from './applier.js';
import type { Fence } from './fence.js';
import { childOf } from './nodes.js';

/** A create and a remove of this child raise the number of the next sequential child by one. */
const PROBE = '.nxnw-sequence';
/** Pairs in one multi: some 10 ms of the server's time, so that other writes go on in between. */
const PAIRS_PER_MULTI = 1000;
/** Multis for one node in one call; a bigger gap is closed by later calls. */
const MULTIS_PER_CALL = 8;

export type CounterState =
  /** The next sequential child gets the source's number, once the `pending` children are created. */
  | 'settled'
  /** The gap is too big for one call: call again. */
  | 'behind'
  /** The receiver's numbers are further: its node is older than the source's, or its own sessions drew numbers. */
  | 'ahead'
  /** One of the two has no such node, or it went in between: its event leads here again. */
  | 'absent';

/**
 * Brings a node's next sequential number at the receiver up to that at the source, without touching the source.
 * `pending` = how many children, changed at the source by now, the sync may still create: they raise the number too.
 * It is asked after the answers have come, and a session's events come before the answers that show their changes, so
 * the number is never raised too far. Throws FENCED.
 */
export async function settleCounter(
  from: ZooKeeper,
  to: ZooKeeper,
  fence: Fence,
  path: string,
  pending: () => number,
): Promise<CounterState> {
  const [source, mine] = await Promise.all([from.exists(path), to.exists(path)]);
  if (source === null || mine === null) return 'absent';
  const wanted = nextSequence(source);
  const has = nextSequence(mine);
  if (has > wanted) return 'ahead';
  const gap = wanted - pending() - has;
  if (gap <= 0) return 'settled';
  const raise = Math.min(gap, PAIRS_PER_MULTI * MULTIS_PER_CALL);
  for (let done = 0; done < raise; done += PAIRS_PER_MULTI)
    if (!(await raiseBy(to, fence, path, Math.min(PAIRS_PER_MULTI, raise - done)))) return 'absent';
  return raise === gap ? 'settled' : 'behind';
}

async function raiseBy(to: ZooKeeper, fence: Fence, path: string, pairs: number): Promise<boolean> {
  const probe = childOf(path, PROBE);
  const ops: MultiOp[] = [fence.check()];
  for (let i = 0; i < pairs; i++) ops.push({ op: 'create', path: probe, data: null }, { op: 'remove', path: probe });
  try {
    await to.multi(ops);
    return true;
  } catch (e) {
    if (fence.failed(e)) throw fence.error(e);
    if (hasCode(e, 'NO_NODE', 'NO_CHILDREN_FOR_EPHEMERALS')) return false;
    if (hasCode(e, 'NODE_EXISTS'))
      throw new NxnwError('RESERVED_NAME', `${probe} exists; the lock sync needs this name: remove the node`, {}, e);
    throw e;
  }
}

const MAX_AHEAD = 1000;

/** Which nodes' sequence numbers are to be brought up to the source's. */
export class Counters {
  /** With the number of the event that asked for it; 0 = no event. */
  private readonly dueSince = new Map<string, number>();
  private readonly ahead = new Set<string>();

  constructor(
    private readonly s: Sides,
    private readonly applier: Pick<Applier, 'removeWhole'>,
    private readonly roots: readonly string[],
    private readonly pending: (path: string) => number,
  ) {}

  get size(): number {
    return this.dueSince.size;
  }

  /** Nodes whose numbers are further at the receiver and stay so. */
  get aheadCount(): number {
    return this.ahead.size;
  }

  due(path: string, seq: number): void {
    this.dueSince.set(path, Math.min(seq, this.dueSince.get(path) ?? seq));
  }

  next(max: number): string[] {
    return [...this.dueSince.keys()].slice(0, max);
  }

  hasUpTo(seq: number): boolean {
    for (const due of this.dueSince.values()) if (due <= seq) return true;
    return false;
  }

  clear(): void {
    this.dueSince.clear();
  }

  /**
   * Settles the nodes' numbers; those not settled stay due. Where the source's node is younger than the receiver's
   * copy of an earlier one (its numbers began again), the copy is removed: the answer names the nodes to be made anew.
   * Where the receiver's own sessions have ephemerals it stays ahead; numbers then only never repeat.
   */
  async settle(paths: readonly string[]): Promise<string[]> {
    const { from, to, fence } = this.s;
    const anew: string[] = [];
    const states = await Promise.all(
      paths.map((path) => settleCounter(from, to, fence, path, () => this.pending(path))),
    );
    for (const [i, path] of paths.entries()) {
      const state = states[i];
      if (state === 'behind') {
        this.due(path, 0);
        continue;
      }
      this.dueSince.delete(path);
      this.ahead.delete(path);
      if (state !== 'ahead') continue;
      if (!this.roots.includes(path) && (await this.applier.removeWhole(path))) anew.push(path);
      else if (this.ahead.size < MAX_AHEAD) this.ahead.add(path);
    }
    return anew;
  }
}
