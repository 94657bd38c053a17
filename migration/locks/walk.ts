import { hasCode } from '@nxnw/platform/errors';
import type { ZooKeeper } from '@nxnw/platform/locks/client';
import { childOf } from './nodes.js';

const LISTS_IN_FLIGHT = 64;
/** Names listed at one time, unless a single node has more children. */
const NAMES_IN_FLIGHT = 8192;

/** A node met by a walk, or a node below which everything was met. */
export type WalkItem =
  { readonly path: string; readonly onTo: boolean; readonly end?: never } | { readonly end: string };

/**
 * Walks two trees at once, depth first: every path that one of them has, parents before children, and then the ends,
 * children before parents. Memory is that of the lists of children on the way down, not of the tree. The caller says
 * with `enter` which nodes have children.
 */
export class Walk {
  /** Nodes whose children are to be listed, and ends to be told afterwards; the last comes first. */
  private readonly stack: { path: string; listed: boolean; children: number }[] = [];
  private items: WalkItem[] = [];
  private at = 0;
  /** Nodes handed out, and known to exist: the basis of progress. */
  done = 0;
  discovered = 0;

  constructor(
    private readonly from: ZooKeeper,
    private readonly to: ZooKeeper,
    roots: readonly string[],
  ) {
    for (const path of roots) this.items.push({ path, onTo: true });
    this.discovered = roots.length;
  }

  /** `children` = about how many the node has. */
  enter(path: string, children: number): void {
    this.stack.push({ path, listed: false, children });
  }

  /** Has a node looked at again, with everything below it. */
  revisit(path: string): void {
    this.items = [{ path, onTo: true }, ...this.items.slice(this.at)];
    this.at = 0;
    this.discovered++;
  }

  /** The next items, at most `max`; none = the walk is over (if nothing was entered since). */
  async next(max: number): Promise<WalkItem[]> {
    while (this.items.length - this.at === 0 && this.stack.length > 0) await this.list();
    const chunk = this.items.slice(this.at, this.at + max);
    this.at += chunk.length;
    if (this.at === this.items.length) {
      this.items = [];
      this.at = 0;
    }
    for (const item of chunk) if (item.end === undefined) this.done++;
    return chunk;
  }

  /** Lists the nodes on top of the stack, or tells the ends that are there. */
  private async list(): Promise<void> {
    const listed = this.stack.at(-1)?.listed === true;
    const top: string[] = [];
    for (let names = 0; top.length < LISTS_IN_FLIGHT && names < NAMES_IN_FLIGHT;) {
      const next = this.stack.at(-1);
      if (next?.listed !== listed) break;
      this.stack.pop();
      top.push(next.path);
      if (!listed) names += next.children;
    }
    this.at = 0;
    if (listed) {
      this.items = top.map((end) => ({ end }));
      return;
    }
    for (const path of top) this.stack.push({ path, listed: true, children: 0 });
    const lists = await Promise.all(
      top.map((dir) => Promise.all([childNames(this.from, dir), childNames(this.to, dir)])),
    );
    const items: WalkItem[] = [];
    for (const [i, dir] of top.entries()) {
      const [from, to] = lists[i] ?? [[], []];
      const onTo = new Set(to);
      for (const name of from) items.push({ path: childOf(dir, name), onTo: onTo.delete(name) });
      for (const name of onTo) items.push({ path: childOf(dir, name), onTo: true });
      this.discovered += from.length + onTo.size;
    }
    this.items = items;
  }
}

async function childNames(zk: ZooKeeper, path: string): Promise<string[]> {
  try {
    return (await zk.children(path)).names;
  } catch (e) {
    if (hasCode(e, 'NO_NODE')) return [];
    throw e;
  }
}
