import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type { ZooKeeper } from '@nxnw/platform/locks/client';
import { BatchWriter, isUnknown } from './batch-writer.js';
import type { Refused } from './batch-writer.js';
import type { Fence } from './fence.js';
import type { Marks } from './marks.js';
import { depthOf, readNode } from './nodes.js';
import type { NodeImage } from './nodes.js';
import { ownerOf, planDrain, planNode } from './plan.js';
import type { Change } from './plan.js';
import { planRemovals } from './removals.js';

/** The two sides of one direction. */
export interface Sides {
  readonly from: ZooKeeper;
  readonly to: ZooKeeper;
  /** Of the receiver. */
  readonly fence: Fence;
  /** At the receiver: its copies of the source's ephemerals. */
  readonly marks: Marks;
  /** At the source: its copies of the receiver's ephemerals, which are not copied back. */
  readonly foreign: Marks;
}

/** A path to look at. */
export interface Look {
  readonly path: string;
  /** False = the receiver is known not to have it. */
  readonly onTo: boolean;
  /** Failed before: to be written in a multi of its own. */
  readonly alone: boolean;
}

export interface Looked {
  readonly path: string;
  /** On both sides together. */
  readonly children: number;
  /** True if children were ever created on either side: sequence numbers count. */
  readonly drewNumbers: boolean;
  readonly dataBytes: number;
  readonly changed: boolean;
}

/** What was found, and what is to be written. */
export interface Seen {
  readonly looked: readonly Looked[];
  readonly changes: readonly Change[];
  /** Could not be read. */
  readonly refused: readonly Refused[];
  readonly alone: ReadonlySet<string>;
}

/** Reads nodes on both sides, plans what differs and writes it. Can be repeated at any time with the same result. */
export class Applier {
  private readonly writer: BatchWriter;

  constructor(private readonly s: Sides) {
    this.writer = new BatchWriter(s.to, s.fence, s.marks);
  }

  /** Reads nodes on both sides and plans what makes the receiver's like the source's. Throws if `isUnknown`. */
  look(looks: readonly Look[]): Promise<Seen> {
    return this.all(looks, (look) => this.lookToFollow(look));
  }

  /** Plans only removals of copies of ephemerals that are gone at the source. */
  lookToDrain(looks: readonly Look[]): Promise<Seen> {
    return this.all(looks, async ({ path }) => {
      if (!this.s.marks.has(path)) return { from: null, to: null, change: null };
      const [from, to] = await Promise.all([readNode(this.s.from, path), readNode(this.s.to, path)]);
      return { from, to, change: planDrain(path, from, to, this.s.marks) };
    });
  }

  /** Writes what was planned; answers what was refused. Throws FENCED, or an error for which `isUnknown` holds. */
  async write(seen: Seen): Promise<Refused[]> {
    const refused = await this.writer.write(await this.inOrder(seen.changes), (c) => seen.alone.has(c.path));
    return [...seen.refused, ...refused];
  }

  /** Removes a node of the receiver with everything below it; false = its own sessions have ephemerals there. */
  async removeWhole(path: string): Promise<boolean> {
    const { changes, kept } = await planRemovals(this.s.to, this.s.marks, [path], new Set());
    if (kept.size > 0) return false;
    const refused = await this.writer.write(changes, () => false);
    if (refused[0]) throw refused[0].error;
    return true;
  }

  private async all(
    looks: readonly Look[],
    look: (l: Look) => Promise<{ from: NodeImage | null; to: NodeImage | null; change: Change | null }>,
  ): Promise<Seen> {
    const looked: Looked[] = [];
    const refused: Refused[] = [];
    const changes: Change[] = [];
    const results = await Promise.allSettled(
      looks.map(async (l) => {
        const { from, to, change } = await look(l);
        if (change) changes.push(change);
        looked.push({
          path: l.path,
          children: (from?.stat.numChildren ?? 0) + (to?.stat.numChildren ?? 0),
          drewNumbers: (from?.stat.cversion ?? 0) !== 0 || (to?.stat.cversion ?? 0) !== 0,
          dataBytes: (from?.data?.length ?? 0) + (to?.data?.length ?? 0),
          changed: change !== null,
        });
      }),
    );
    for (const [i, r] of results.entries()) {
      if (r.status === 'fulfilled') continue;
      const e: unknown = r.reason;
      if (isUnknown(e) || !(e instanceof NxnwError)) throw e;
      refused.push({ change: { path: looks[i]?.path ?? '', ops: [], creates: false }, error: e });
    }
    return { looked, changes, refused, alone: new Set(looks.filter((l) => l.alone).map((l) => l.path)) };
  }

  /** Removals first, children before parents; then everything else, parents before children. */
  private async inOrder(changes: readonly Change[]): Promise<Change[]> {
    const subtrees = changes.filter((c) => c.remove === 'subtree').map((c) => c.path);
    const rest = changes.filter((c) => c.remove === undefined);
    rest.sort((a, b) => depthOf(a.path) - depthOf(b.path));
    if (subtrees.length === 0) return rest;
    const removals = await planRemovals(this.s.to, this.s.marks, subtrees, new Set());
    removals.changes.sort((a, b) => depthOf(b.path) - depthOf(a.path));
    return [...removals.changes, ...rest];
  }

  private async lookToFollow({ path, onTo }: Look): Promise<{ from: NodeImage | null; to: NodeImage | null; change: Change | null }> {
    const { foreign, marks } = this.s;
    const [from, to] = await Promise.all([readNode(this.s.from, path), onTo ? readNode(this.s.to, path) : null]);
    if (foreign.has(path)) {
      if (from !== null && from.kind !== 'ephemeral') return { from: null, to: null, change: null };
      if (from === null) await this.breakLock(path, to);
      await foreign.unmark(path);
      if (from === null) return { from: null, to: null, change: null };
    }
    return { from, to, change: planNode(path, from, to, marks) };
  } // prettier-ignore

  /** A copy of the receiver's ephemeral was removed by hand at the source: its owner is told by losing it. */
  private async breakLock(path: string, to: NodeImage | null): Promise<void> {
    if (to === null || ownerOf(to) !== this.s.foreign.owner(path)) return;
    try {
      await this.s.to.remove(path, to.stat.version);
    } catch (e) {
      if (!hasCode(e, 'NO_NODE', 'BAD_VERSION')) throw e;
    }
  }
}
