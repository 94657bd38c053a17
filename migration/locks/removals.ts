import { hasCode } from '@nxnw/platform/errors';
import { nodeKind } from '@nxnw/platform/locks/client';
import type { ZooKeeper } from '@nxnw/platform/locks/client';
import type { Marks } from './marks.js';
import { childOf, parentOf } from './nodes.js';
import type { Change } from './plan.js';

const LISTS_IN_FLIGHT = 64;

/**
 * The changes that remove whole subtrees of the receiver, children before parents. Ephemerals of the receiver's own
 * sessions stay, and the nodes above them (`kept`). `planned` are paths that are removed already.
 */
export async function planRemovals(
  to: ZooKeeper,
  marks: Pick<Marks, 'has' | 'unmarkOps'>,
  roots: readonly string[],
  planned: ReadonlySet<string>,
): Promise<{ changes: Change[]; kept: ReadonlySet<string> }> {
  const found: string[] = [];
  const kept = new Set<string>();
  let level = [...new Set(roots)];
  while (level.length > 0) {
    const next: string[] = [];
    for (let i = 0; i < level.length; i += LISTS_IN_FLIGHT)
      await Promise.all(
        level.slice(i, i + LISTS_IN_FLIGHT).map(async (path) => {
          const node = await list(to, path);
          if (node === null) return;
          if (node.own) for (let p = path; !kept.has(p); p = parentOf(p)) kept.add(p);
          else found.push(path);
          for (const name of node.names) next.push(childOf(path, name));
        }),
      );
    level = next;
  }
  const changes = [...new Set(found)]
    .reverse()
    .filter((path) => !kept.has(path) && !planned.has(path))
    .map((path) => {
      const change: Change = { path, ops: [{ op: 'remove', path }, ...marks.unmarkOps(path)], creates: false };
      if (marks.has(path)) change.mark = 'gone';
      return change;
    });
  return { changes, kept };
}

async function list(to: ZooKeeper, path: string): Promise<{ names: string[]; own: boolean } | null> {
  try {
    const { names, stat } = await to.children(path);
    return { names, own: nodeKind(stat) === 'ephemeral' };
  } catch (e) {
    if (hasCode(e, 'NO_NODE')) return null;
    throw e;
  }
}
