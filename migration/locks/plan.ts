import { multiOpBytes } from '@nxnw/platform/locks/client';
import type { Acl, MultiOp } from '@nxnw/platform/locks/client';
import { sameAcl, sameData } from './nodes.js';
import type { NodeImage } from './nodes.js';
import type { Marks } from './marks.js';

/**
 * Largest operation that goes into a multi. A bigger node (up to the server's jute.maxbuffer, 1 MB by default) is
 * written by a request of its own, which is no longer than the one that wrote it at the source.
 */
export const MAX_BATCHED_BYTES = 512 << 10;

/** What makes one node of the receiver like that of the source. All operations of a change go in one multi. */
export interface Change {
  readonly path: string;
  readonly ops: MultiOp[];
  /** Afterwards, by itself: data too big for a multi, if the node still has this version. */
  data?: { readonly data: Buffer | null; readonly version: number };
  /** Afterwards, by itself (a multi cannot set ACLs), if the ACL still has this version. */
  acl?: { readonly acl: readonly Acl[]; readonly version: number };
  /** True if the receiver has no such node. */
  readonly creates: boolean;
  /** The node and everything below it is to go. */
  remove?: 'subtree';
  /** What the change does to the table of marks. */
  mark?: { readonly owner: string } | 'gone';
}

/** Session that owns an ephemeral, as the marks name it. */
export function ownerOf(node: NodeImage): string {
  return BigInt.asUintN(64, node.stat.ephemeralOwner).toString(16);
}

/**
 * Pure: the change that makes `to` like `from`, or null if nothing is to do. The receiver's own ephemerals are kept,
 * unless the source has a node there: then that wins.
 */
export function planNode(
  path: string,
  from: NodeImage | null,
  to: NodeImage | null,
  marks: Pick<Marks, 'owner' | 'markOps' | 'unmarkOps'>,
): Change | null {
  const marked = marks.owner(path);
  if (from === null) {
    if (to === null) return marked === undefined ? null : { path, ops: marks.unmarkOps(path), creates: false, mark: 'gone' };
    if (to.kind === 'ephemeral') return null;
    return { path, ops: [], creates: false, remove: 'subtree', ...(marked === undefined ? {} : { mark: 'gone' as const }) };
  }
  const change: Change = { path, ops: [], creates: to === null };
  const owned = from.kind === 'ephemeral';
  // An ephemeral of the receiver's own sessions gives way.
  const replace = to?.kind === 'ephemeral';
  if (replace) change.ops.push({ op: 'remove', path });
  if (to === null || replace) addCreate(change, from);
  else addDifferences(change, from, to);
  if (owned && marked !== ownerOf(from)) {
    change.ops.push(...marks.markOps(path, ownerOf(from)));
    change.mark = { owner: ownerOf(from) };
  } else if (!owned && marked !== undefined) {
    change.ops.push(...marks.unmarkOps(path));
    change.mark = 'gone';
  }
  return change.ops.length > 0 || change.data || change.acl ? change : null;
} // prettier-ignore

function addCreate(change: Change, from: NodeImage): void {
  const { path } = change;
  const whole: MultiOp = { op: 'create', path, data: from.data, acl: from.acl };
  if (multiOpBytes(whole) <= MAX_BATCHED_BYTES) {
    change.ops.push(whole);
    return;
  }
  change.ops.push({ ...whole, data: null });
  change.data = { data: from.data, version: 0 };
}

function addDifferences(change: Change, from: NodeImage, to: NodeImage): void {
  const { path } = change;
  if (!sameData(from.data, to.data)) {
    const version = to.stat.version;
    const set: MultiOp = { op: 'set', path, data: from.data, version };
    if (multiOpBytes(set) <= MAX_BATCHED_BYTES) change.ops.push(set);
    else change.data = { data: from.data, version };
  }
  if (!sameAcl(from.acl, to.acl)) change.acl = { acl: from.acl, version: to.stat.aversion };
}

/**
 * Pure: what goes on for the copies of ephemerals after the other platform has become the source: a copy goes when its
 * owner's node goes. A copy that has become something else here (children, an ephemeral) only loses its mark.
 */
export function planDrain(
  path: string,
  from: NodeImage | null,
  to: NodeImage | null,
  marks: Pick<Marks, 'owner' | 'unmarkOps'>,
): Change | null {
  const owner = marks.owner(path);
  if (owner === undefined || (from !== null && ownerOf(from) === owner)) return null;
  const removable = to?.kind === 'persistent' && to.stat.numChildren === 0;
  const remove: MultiOp[] = removable ? [{ op: 'remove', path }] : [];
  return { path, ops: [...remove, ...marks.unmarkOps(path)], creates: false, mark: 'gone' };
}
