import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { nodeKind } from '@nxnw/platform/locks/client';
import type { Acl, Stat, ZooKeeper } from '@nxnw/platform/locks/client';

/** Everything about a node that is copied, read at one moment. */
export interface NodeImage {
  readonly data: Buffer | null;
  readonly acl: readonly Acl[];
  readonly stat: Stat;
  readonly kind: 'persistent' | 'ephemeral';
}

/** The node, or null if there is none. Data and ACL belong together: a change between the two reads repeats them. */
export async function readNode(zk: ZooKeeper, path: string): Promise<NodeImage | null> {
  for (;;) {
    const reads = await Promise.allSettled([zk.get(path), zk.getAcl(path)]);
    const [node, acl] = reads;
    if (node.status === 'rejected' || acl.status === 'rejected') {
      const e: unknown = node.status === 'rejected' ? node.reason : acl.status === 'rejected' ? acl.reason : undefined;
      if (hasCode(e, 'NO_NODE')) return null;
      throw e;
    }
    for (const { scheme, id } of acl.value.acl) if (scheme === 'digest' && id.endsWith(':x')) throw masked(path);
    const a = node.value.stat;
    const b = acl.value.stat;
    if (a.czxid === b.czxid && a.mzxid === b.mzxid && a.aversion === b.aversion)
      return { data: node.value.data, acl: acl.value.acl, stat: b, kind: nodeKind(b) };
  }
}

/** ZooKeeper shows `x` instead of the digest to whoever may read a node but not administer it. */
function masked(path: string): NxnwError {
  return new NxnwError(
    'NO_AUTH',
    `ZooKeeper hides a digest in the ACL of ${path}; the lock sync needs the super user's credentials on both sides`,
    { path },
  );
}

export function sameData(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

/** Order counts: it is what `getAcl` answers. */
export function sameAcl(a: readonly Acl[], b: readonly Acl[]): boolean {
  return (
    a.length === b.length &&
    a.every((x, i) => {
      const y = b[i];
      return y !== undefined && x.perms === y.perms && x.scheme === y.scheme && x.id === y.id;
    })
  );
}

export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? '/' : path.slice(0, slash);
}

export function childOf(dir: string, name: string): string {
  return dir === '/' ? `/${name}` : `${dir}/${name}`;
}

export function depthOf(path: string): number {
  let depth = 0;
  for (let i = 0; i < path.length; i++) if (path.charCodeAt(i) === 47) depth++;
  return depth;
}
