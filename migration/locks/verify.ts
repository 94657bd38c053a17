import { nextSequence } from '@nxnw/platform/locks/client';
import type { ZooKeeper } from '@nxnw/platform/locks/client';
import type { Marks } from './marks.js';
import { readNode, sameAcl, sameData } from './nodes.js';
import type { NodeImage } from './nodes.js';
import { ownerOf } from './plan.js';
import { Walk } from './walk.js';

const CHUNK = 128;

/** How a node of the receiver differs from the source's. */
export interface Difference {
  readonly path: string;
  readonly what: 'missing' | 'extra' | 'data' | 'acl' | 'kind' | 'owner' | 'sequence';
  readonly source: string;
  readonly target: string;
}

export interface VerifySides {
  readonly from: ZooKeeper;
  readonly to: ZooKeeper;
  readonly marks: Pick<Marks, 'owner' | 'has'>;
  readonly foreign: Pick<Marks, 'has'>;
}

/** The first difference of a node, or null. The receiver's own ephemerals, and nodes kept for them, are none. */
export function compareNode(
  path: string,
  from: NodeImage | null,
  to: NodeImage | null,
  s: Pick<VerifySides, 'marks' | 'foreign'>,
): Difference | null {
  if (s.foreign.has(path)) return null;
  const differs = (what: Difference['what'], source: string, target: string) => ({ path, what, source, target });
  if (from === null) return to === null || to.kind === 'ephemeral' ? null : differs('extra', 'absent', to.kind);
  if (to === null) return differs('missing', from.kind, 'absent');
  const owned = from.kind === 'ephemeral';
  if (to.kind !== 'persistent') return differs('kind', from.kind, to.kind);
  const owner = s.marks.owner(path) ?? 'no mark';
  if (owned ? owner !== ownerOf(from) : s.marks.has(path))
    return differs('owner', owned ? ownerOf(from) : 'not ephemeral', owner);
  if (!sameData(from.data, to.data)) return differs('data', size(from.data), size(to.data));
  if (!sameAcl(from.acl, to.acl)) return differs('acl', JSON.stringify(from.acl), JSON.stringify(to.acl));
  const [source, target] = [nextSequence(from.stat), nextSequence(to.stat)];
  return target < source ? differs('sequence', String(source), String(target)) : null;
}

function size(data: Buffer | null): string {
  return data === null ? 'null' : `${data.length} bytes`;
}

/** Compares both trees and yields what differs at this moment; `counted` hears of every node compared. */
export async function* differences(
  s: VerifySides,
  roots: readonly string[],
  counted: (nodes: number) => void,
): AsyncGenerator<Difference> {
  const walk = new Walk(s.from, s.to, roots);
  for (;;) {
    const items = await walk.next(CHUNK);
    if (items.length === 0) return;
    const paths = items.flatMap((i) => (i.end === undefined ? [i.path] : []));
    counted(paths.length);
    const compared = await Promise.all(
      paths.map(async (path) => {
        const [from, to] = await Promise.all([readNode(s.from, path), readNode(s.to, path)]);
        const children = (from?.stat.numChildren ?? 0) + (to?.stat.numChildren ?? 0);
        if (children > 0) walk.enter(path, children);
        return compareNode(path, from, to, s);
      }),
    );
    for (const d of compared) if (d) yield d;
  }
}
