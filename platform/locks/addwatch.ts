import { NxnwError } from '../errors.js';
import type { Connection, WatchEvent } from './connection.js';
import { JuteWriter } from './jute.js';
import { Op } from './records.js';

/** AddWatch modes: `node` tells of the node's data and children, `subtree` of every node at and below the path. */
export type WatchMode = 'node' | 'subtree';

const MODE_NUMBER: Readonly<Record<WatchMode, number>> = { node: 0, subtree: 1 };
const WATCHER_TYPE_ANY = 3;

const NAMES = ['created', 'deleted', 'dataChanged', 'childrenChanged'] as const;

/** A change as told by ZooKeeper. What the node is now must be read: events carry no data. */
export interface NodeEvent {
  readonly type: (typeof NAMES)[number];
  readonly path: string;
  /** The transaction that made the change, or -1 from servers before 3.9. */
  readonly zxid: bigint;
}

export interface WatchListener {
  /** Called in the order of the changes, before any answer of this session that shows them. */
  event(e: NodeEvent): void;
  /** The watch is set, for the first time or again: everything may have changed since the last event. */
  armed?(): void;
  /** The connection is lost: events are missing until `armed` is called. */
  lost?(): void;
}

interface Watch {
  readonly path: string;
  readonly mode: WatchMode;
  readonly listeners: Set<WatchListener>;
}

/**
 * Persistent watches (ZooKeeper >= 3.6, operation 106): they stay set after an event, and are set again here after
 * every reconnect. Watches of one path and mode share one watch on the server.
 */
export class PersistentWatches {
  private readonly watches = new Map<string, Watch>();

  constructor(
    private readonly connection: Connection,
    private readonly deadlineMs: number,
  ) {}

  /** Sets a watch; resolves once it is set. The answered function takes it away again. */
  async add(path: string, mode: WatchMode, listener: WatchListener): Promise<() => void> {
    if (this.watches.get(key(path, mode === 'node' ? 'subtree' : 'node')) !== undefined)
      throw new NxnwError('INVALID_ARGUMENT', `${path} is watched in the other mode already: ZooKeeper keeps one`);
    const id = key(path, mode);
    const watch = this.watches.get(id) ?? { path, mode, listeners: new Set() };
    this.watches.set(id, watch);
    watch.listeners.add(listener);
    const stop = () => this.remove(id, watch, listener);
    try {
      await this.arm(watch);
    } catch (e) {
      stop();
      throw e;
    }
    listener.armed?.();
    return stop;
  }

  private arm(watch: Watch): Promise<void> {
    const body = new JuteWriter().text(watch.path).int(MODE_NUMBER[watch.mode]).done();
    return this.connection.call(Op.addWatch, 'addWatch', watch.path, body, () => undefined, this.deadlineMs);
  }

  private remove(id: string, watch: Watch, listener: WatchListener): void {
    watch.listeners.delete(listener);
    if (watch.listeners.size > 0 || this.watches.get(id) !== watch) return;
    this.watches.delete(id);
    if (!this.connection.isConnected) return;
    const body = new JuteWriter().text(watch.path).int(WATCHER_TYPE_ANY).done();
    // Failing is harmless: events of a watch that nobody has are dropped, and it ends with the connection.
    this.connection
      .call(Op.removeWatches, 'removeWatches', watch.path, body, () => undefined, this.deadlineMs)
      .catch(() => undefined);
  }

  deliver(e: WatchEvent): void {
    const type = NAMES[e.type - 1];
    if (type === undefined) return;
    for (const w of this.watches.values()) {
      if (!covers(w, e.path, type)) continue;
      for (const l of w.listeners) l.event({ type, path: e.path, zxid: e.zxid });
    }
  }

  lost(): void {
    for (const w of this.watches.values()) for (const l of w.listeners) l.lost?.();
  }

  /** After a reconnect. Failures end with the connection, whose successor arms again. */
  rearm(): void {
    for (const w of this.watches.values())
      this.arm(w).then(
        () => {
          for (const l of w.listeners) l.armed?.();
        },
        () => {
          for (const l of w.listeners) l.lost?.();
        },
      );
  }
}

function key(path: string, mode: WatchMode): string {
  return `${mode}:${path}`;
}

function covers(w: Watch, path: string, type: NodeEvent['type']): boolean {
  if (w.mode === 'node') return w.path === path;
  if (type === 'childrenChanged') return false;
  return w.path === path || w.path === '/' || path.startsWith(`${w.path}/`);
}
