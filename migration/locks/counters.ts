import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import { nextSequence } from '@nxnw/platform/locks/client';
import type { MultiOp, Stat } from '@nxnw/platform/locks/client';
import type { Applier, Sides } from './applier.js';
import { childOf, depthOf, parentOf } from './nodes.js';

/** A create and a remove of this child raise the number of the next sequential child by one. */
const PROBE = '.nxnw-sequence';
/** Pairs in one multi: some 10 ms of the server's time, so that other writes go on in between. */
const PAIRS_PER_MULTI = 1000;
/** Multis for one node in one call; a bigger gap is closed by later calls. */
const MULTIS_PER_CALL = 8;
const MAX_AHEAD = 1000;
/** A sequential child's name ends so. */
const DRAWN = /-?\d{10}$/;
/** While both sides draw, the receiver's numbers begin this far above the source's: at most so far, at least so far. */
const MOST_LEAD = 1000;
const LEAST_LEAD = 10;
/** Pairs for the lead of all nodes together: about ten seconds of a small server. */
const LEAD_PAIRS = 1_000_000;

export interface CountersOptions extends Sides {
  readonly roots: readonly string[];
  readonly applier: Pick<Applier, 'removeWhole'>;
  /**
   * How many children, changed at the source by now, the sync may still create: they raise the number too. It is asked
   * after the answers have come, and a session's events come before the answers that show their changes, so no number
   * is raised too far.
   */
  readonly pending: (path: string) => number;
  /** False while the receiver's own clients write: then no node is made anew. */
  readonly mayMakeAnew: () => boolean;
  /**
   * True while clients of both sides draw: then the receiver's numbers lead, because what the source draws arrives a
   * moment later than a client of the receiver may draw.
   */
  readonly bothDraw: () => boolean;
  /** How far the source's clock is before the receiver's, in milliseconds, at least. */
  readonly clockAheadMs: () => number;
}

interface Gap {
  readonly path: string;
  readonly pairs: number;
}

/**
 * Brings the next sequential number of nodes at the receiver up to that at the source, without touching the source:
 * the number is computed from the node's state there, and raised here.
 */
export class Counters {
  /** With the number of the event that asked for it; 0 = no event. */
  private readonly dueSince = new Map<string, number>();
  /** How many of a node's children are due: making one of them anew raises the node's number. */
  private readonly dueChildren = new Map<string, number>();
  private readonly ahead = new Set<string>();
  /** Nodes that seem to give numbers to their children: those with such names, or with children that have gone. */
  private readonly drawing = new Set<string>();

  constructor(private readonly o: CountersOptions) {}

  get size(): number {
    return this.dueSince.size;
  }

  /** Nodes whose numbers are further at the receiver and stay so. */
  get aheadCount(): number {
    return this.ahead.size;
  }

  due(path: string, seq: number): void {
    const since = this.dueSince.get(path);
    if (since === undefined) this.countChild(path, 1);
    this.dueSince.set(path, Math.min(seq, since ?? seq));
  }

  /** A node was seen at the source; its name may show that its parent gives numbers. */
  seen(path: string): void {
    if (DRAWN.test(path)) this.drawing.add(parentOf(path));
  }

  /** Both sides draw from now on: every node's lead is due. */
  leadDue(): void {
    for (const path of this.drawing) this.due(path, 0);
  }

  private leadOf(path: string): number {
    if (!this.o.bothDraw() || !this.drawing.has(path)) return 0;
    return Math.max(LEAST_LEAD, Math.min(MOST_LEAD, Math.floor(LEAD_PAIRS / this.drawing.size)));
  }

  private done(path: string): void {
    if (this.dueSince.delete(path)) this.countChild(path, -1);
  }

  private countChild(path: string, by: number): void {
    const parent = parentOf(path);
    const n = (this.dueChildren.get(parent) ?? 0) + by;
    if (n === 0) this.dueChildren.delete(parent);
    else this.dueChildren.set(parent, n);
  }

  /** Those due, the deepest first: making a node anew raises its parent's number. */
  next(max: number): string[] {
    return [...this.dueSince.keys()].sort((a, b) => depthOf(b) - depthOf(a)).slice(0, max);
  }

  hasUpTo(seq: number): boolean {
    for (const due of this.dueSince.values()) if (due <= seq) return true;
    return false;
  }

  clear(): void {
    this.dueSince.clear();
    this.dueChildren.clear();
  }

  /**
   * Settles the nodes' numbers; those not settled yet stay due. A node that was made anew at the source, so that its
   * numbers began again, is removed at the receiver: the answer names those, to be copied anew. Other nodes whose
   * numbers are further, because sessions of the receiver drew some, stay so; numbers then only never repeat.
   * Throws FENCED.
   */
  async settle(due: readonly string[]): Promise<string[]> {
    const { from, to, pending } = this.o;
    // A node is raised once, even if the walk met it twice.
    const paths = [...new Set(due)];
    const anew: string[] = [];
    const behind: Gap[] = [];
    const states = await Promise.all(paths.map((path) => Promise.all([from.exists(path), to.exists(path)])));
    for (const [i, path] of paths.entries()) {
      const [source, mine] = states[i] ?? [null, null];
      this.done(path);
      this.ahead.delete(path);
      if (source === null) this.drawing.delete(path);
      if (source === null || mine === null) continue;
      if (nextSequence(source) > source.numChildren) this.drawing.add(path);
      const gap = nextSequence(source) + this.leadOf(path) - nextSequence(mine);
      if (gap > 0) behind.push({ path, pairs: gap });
      else if (gap < 0 && this.o.mayMakeAnew() && this.isYounger(source, mine)) anew.push(path);
      else if (gap < 0 && this.ahead.size < MAX_AHEAD) this.ahead.add(path);
      if (gap >= 0 && this.mayBeAnew(path, source, mine, gap)) this.due(path, 0);
    }
    if (anew.length > 0) {
      for (const { path } of behind) this.due(path, 0);
      return this.remove(anew);
    }
    const gaps: Gap[] = [];
    for (const { path, pairs } of behind) {
      const children = this.dueChildren.get(path) ?? 0;
      if (children > 0) this.due(path, 0);
      const now = pairs - pending(path) - children;
      if (now > 0) gaps.push({ path, pairs: now });
    }
    // All are awaited, also when one fails: none may come later, when more children exist.
    const raised = await Promise.allSettled(gaps.map((g) => this.raise(g)));
    for (const r of raised) if (r.status === 'rejected') throw asError(r.reason);
    return [];
  }

  /**
   * True if the node was made anew at the source, and its copy will be ahead once the children exist that wait. It
   * stays due until they do, which holds back its parent: a parent raised now would count the node's create twice.
   */
  private mayBeAnew(path: string, source: Stat, mine: Stat, gap: number): boolean {
    const waiting = this.o.pending(path) + (this.dueChildren.get(path) ?? 0);
    return gap < waiting && this.o.mayMakeAnew() && this.isYounger(source, mine);
  }

  /** True if the source's node was made after the receiver's copy. */
  private isYounger(source: Stat, mine: Stat): boolean {
    return source.ctimeMs - this.o.clockAheadMs() >= mine.ctimeMs - 1;
  }

  private async remove(paths: readonly string[]): Promise<string[]> {
    const removed: string[] = [];
    for (const path of paths)
      if (!this.o.roots.includes(path) && (await this.o.applier.removeWhole(path))) removed.push(path);
      else this.ahead.add(path);
    return removed;
  }

  private async raise({ path, pairs }: Gap): Promise<void> {
    const now = Math.min(pairs, PAIRS_PER_MULTI * MULTIS_PER_CALL);
    for (let done = 0; done < now; done += PAIRS_PER_MULTI)
      if (!(await this.raiseBy(path, Math.min(PAIRS_PER_MULTI, now - done)))) return;
    if (now < pairs) this.due(path, 0);
  }

  /** False = the node went in between; its own event leads here again. */
  private async raiseBy(path: string, pairs: number): Promise<boolean> {
    const { to, fence } = this.o;
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
}
