import { NxnwError, hasCode } from '../errors.js';
import type { ZooKeeper } from './client.js';

/** How many nodes are read at one time. */
const READS_IN_FLIGHT = 64;

export interface LiveTreeOptions<T> {
  readonly zk: ZooKeeper;
  readonly root: string;
  /** The value of a node, or null for one that is of no interest. `path` is absolute. */
  readonly parse: (path: string, data: Buffer) => T | null;
  /** Called after each change that was read, also after a full read; changes may be merged. */
  readonly changed: () => void;
  /** A node that could not be read or parsed; the tree goes on without it. */
  readonly failed: (e: unknown) => void;
}

/**
 * The values of all nodes below a path, kept up to date by one persistent recursive watch. Small trees only: everything
 * is held in memory. While the connection is lost the last known values stay, and `stale` is true.
 */
export class LiveTree<T> {
  private values = new Map<string, T>();
  private dirty = new Set<string>();
  private reread = true;
  private working = false;
  private closed = false;
  private stopWatch: (() => void) | undefined;
  private ready: (() => void) | undefined;
  stale = true;

  private constructor(private readonly o: LiveTreeOptions<T>) {}

  /** Creates the root if need be; resolves after the first full read, or fails within `deadlineMs` (UNAVAILABLE). */
  static async open<T>(o: LiveTreeOptions<T>, deadlineMs = 10_000): Promise<LiveTree<T>> {
    const tree = new LiveTree(o);
    await o.zk.createRecursive(o.root);
    const first = new Promise<void>((ok, fail) => {
      const timer = setTimeout(
        () => fail(new NxnwError('UNAVAILABLE', `could not read ${o.root} in ZooKeeper within ${deadlineMs} ms`)),
        deadlineMs,
      );
      tree.ready = () => {
        clearTimeout(timer);
        ok();
      };
    });
    first.catch(() => undefined);
    try {
      tree.stopWatch = await o.zk.watch(o.root, 'subtree', {
        event: (e) => {
          tree.dirty.add(e.path);
          tree.wake();
        },
        armed: () => {
          tree.reread = true;
          tree.wake();
        },
        lost: () => {
          tree.stale = true;
        },
      });
      await first;
    } catch (e) {
      tree.close();
      throw e;
    }
    return tree;
  }

  get(path: string): T | undefined {
    return this.values.get(path);
  }

  entries(): IterableIterator<[string, T]> {
    return this.values.entries();
  }

  private wake(): void {
    if (this.working || this.closed) return;
    this.working = true;
    this.work().then(
      () => {
        this.working = false;
        if (!this.closed && (this.reread || this.dirty.size > 0)) this.wake();
      },
      (e: unknown) => {
        this.working = false;
        if (this.closed) return;
        this.o.failed(e);
        this.reread = true;
        // A lost connection is followed by `armed`; anything else is tried again after a pause.
        if (this.o.zk.isConnected) setTimeout(() => this.wake(), 200).unref();
      },
    );
  }

  private async work(): Promise<void> {
    while (!this.closed && (this.reread || this.dirty.size > 0)) {
      if (this.reread) await this.readAll();
      else {
        const paths = [...this.dirty];
        this.dirty = new Set();
        await this.readInto(this.values, paths);
      }
      if (this.closed) return;
      this.stale = !this.o.zk.isConnected;
      this.o.changed();
      this.ready?.();
    }
  }

  private async readAll(): Promise<void> {
    this.reread = false;
    this.dirty = new Set();
    const fresh = new Map<string, T>();
    let level = [this.o.root];
    while (level.length > 0) {
      await this.readInto(fresh, level);
      const next: string[] = [];
      for (let i = 0; i < level.length; i += READS_IN_FLIGHT)
        await Promise.all(
          level.slice(i, i + READS_IN_FLIGHT).map(async (path) => {
            for (const name of await this.childNames(path)) next.push(`${path}/${name}`);
          }),
        );
      level = next;
    }
    this.values = fresh;
  }

  private async childNames(path: string): Promise<string[]> {
    try {
      return (await this.o.zk.children(path)).names;
    } catch (e) {
      if (hasCode(e, 'NO_NODE')) return [];
      throw e;
    }
  }

  private async readInto(values: Map<string, T>, paths: readonly string[]): Promise<void> {
    for (let i = 0; i < paths.length; i += READS_IN_FLIGHT)
      await Promise.all(
        paths.slice(i, i + READS_IN_FLIGHT).map(async (path) => {
          const found = await this.o.zk.tryGet(path);
          const value = found === null ? null : this.parse(path, found.data);
          if (value === null) values.delete(path);
          else values.set(path, value);
        }),
      );
  }

  private parse(path: string, data: Buffer | null): T | null {
    try {
      return this.o.parse(path, data ?? Buffer.alloc(0));
    } catch (e) {
      this.o.failed(e);
      return null;
    }
  }

  close(): void {
    this.closed = true;
    this.stopWatch?.();
  }
}
