import { NxnwError, hasCode } from '../errors.js';
import { PersistentWatches } from './addwatch.js';
import type { NodeEvent, WatchListener, WatchMode } from './addwatch.js';
import { Connection } from './connection.js';
import type { SessionEvent } from './connection.js';
import { JuteWriter } from './jute.js';
import type { JuteReader } from './jute.js';
import { OPEN_ACL, Op, readAcl, readMulti, readStat, writeAcl, writeCreate, writeMulti } from './records.js';
import type { Acl, CreateMode, MultiOp, MultiResult, Stat } from './records.js';

export { OPEN_ACL, multiOpBytes, nextSequence, nodeKind } from './records.js';
export type { Acl, CreateMode, MultiOp, MultiResult, NodeEvent, SessionEvent, Stat, WatchListener, WatchMode };

export interface ZooKeeperOptions {
  /** `host:port,host:port`, with a chroot if wanted: `10.0.0.1:2181,10.0.0.2:2181/apps/shop`. */
  readonly servers: string;
  /** Asked of the server, which may answer another one. @default 6000 */
  readonly sessionTimeoutMs?: number;
  /** For the first session. @default 10000 */
  readonly connectTimeoutMs?: number;
  /** For each call. @default 10000 */
  readonly callTimeoutMs?: number;
  /** For instance `{scheme: 'digest', auth: Buffer.from('super:secret')}`. @default none */
  readonly auth?: readonly { readonly scheme: string; readonly auth: Buffer }[];
  /** Calls without an answer at one time; more fail with RESOURCE_EXHAUSTED. @default 10000 */
  readonly maxOutstanding?: number;
}

export interface CreateOptions {
  /** @default 'persistent' */
  readonly mode?: CreateMode;
  /** @default everybody may do everything */
  readonly acl?: readonly Acl[];
}

/** A node's data (null if it was created without any) and state. */
export interface NodeData {
  readonly data: Buffer | null;
  readonly stat: Stat;
}

/**
 * A ZooKeeper client with promises. One object lives through reconnects and expired sessions: after `expired` it opens
 * a new session by itself (ephemerals of the old one are gone), and watches are set again.
 *
 * Errors are NxnwErrors: NO_NODE, NODE_EXISTS, BAD_VERSION, NOT_EMPTY, NO_AUTH, INVALID_ACL, NO_CHILDREN_FOR_EPHEMERALS,
 * SESSION_EXPIRED (not done), CONNECTION_LOSS (outcome unknown), DEADLINE_EXCEEDED (unknown if its field `sent` is
 * true, else not done), RESOURCE_EXHAUSTED (not done), CLIENT_CLOSED, UNAVAILABLE (the first connection did not come about).
 */
export class ZooKeeper {
  private readonly connection: Connection;
  private readonly chroot: string;
  private readonly callTimeoutMs: number;
  private readonly watches: PersistentWatches;
  private readonly listeners: Readonly<Record<SessionEvent, Set<() => void>>> = {
    connected: new Set(),
    disconnected: new Set(),
    expired: new Set(),
    authFailed: new Set(),
  };

  private constructor(options: ZooKeeperOptions) {
    const slash = options.servers.indexOf('/');
    this.chroot = slash < 0 ? '' : options.servers.slice(slash).replace(/\/+$/, '');
    this.callTimeoutMs = options.callTimeoutMs ?? 10_000;
    this.connection = new Connection(
      {
        servers: slash < 0 ? options.servers : options.servers.slice(0, slash),
        sessionTimeoutMs: options.sessionTimeoutMs ?? 6000,
        auth: options.auth ?? [],
        maxOutstanding: options.maxOutstanding ?? 10_000,
      },
      (event) => this.session(event),
      (event) => this.watches.deliver(event),
    );
    this.watches = new PersistentWatches(this.connection, this.callTimeoutMs);
  }

  /** Opens a session, or fails with UNAVAILABLE after `connectTimeoutMs` (AUTH_FAILED for bad credentials). */
  static async connect(options: ZooKeeperOptions): Promise<ZooKeeper> {
    const zk = new ZooKeeper(options);
    const waitMs = options.connectTimeoutMs ?? 10_000;
    try {
      await new Promise<void>((ok, fail) => {
        const timer = setTimeout(() => fail(unreachable(options.servers, waitMs)), waitMs);
        const over = [
          zk.on('connected', () => settle(ok)),
          zk.on('authFailed', () =>
            settle(() => fail(new NxnwError('AUTH_FAILED', `ZooKeeper ${options.servers} refuses the credentials`))),
          ),
        ];
        const settle = (how: () => void) => {
          clearTimeout(timer);
          for (const off of over) off();
          how();
        };
      });
    } catch (e) {
      await zk.close();
      throw e;
    }
    return zk;
  }

  private session(event: SessionEvent): void {
    if (event === 'connected') this.watches.rearm();
    if (event === 'disconnected') this.watches.lost();
    for (const fn of [...this.listeners[event]]) fn();
  }

  /** Hears of the session: `connected` (also again), `disconnected`, `expired`. The answer stops it. */
  on(event: SessionEvent, fn: () => void): () => void {
    this.listeners[event].add(fn);
    return () => void this.listeners[event].delete(fn);
  }

  get isConnected(): boolean {
    return this.connection.isConnected;
  }

  /** Negotiated with the server. */
  get sessionTimeoutMs(): number {
    return this.connection.sessionTimeoutMs;
  }

  /** Owner of the ephemerals made by this session; changes after `expired`. */
  get sessionId(): bigint {
    return this.connection.sessionId;
  }

  private abs(path: string): string {
    if (this.chroot === '') return path;
    return path === '/' ? this.chroot : this.chroot + path;
  }

  private inside(path: string): string {
    return path === this.chroot ? '/' : path.slice(this.chroot.length);
  }

  private call<T>(type: number, what: string, path: string, body: Buffer, parse: (r: JuteReader) => T): Promise<T> {
    return this.connection.call(type, what, path, body, parse, this.callTimeoutMs);
  }

  get(path: string): Promise<NodeData> {
    const body = new JuteWriter().text(this.abs(path)).bool(false).done();
    return this.call(Op.getData, 'get', path, body, (r) => ({ data: r.bytes(), stat: readStat(r) }));
  }

  /** null if there is no such node. */
  async tryGet(path: string): Promise<NodeData | null> {
    return absentAsNull(this.get(path));
  }

  /** null if there is no such node. */
  exists(path: string): Promise<Stat | null> {
    const body = new JuteWriter().text(this.abs(path)).bool(false).done();
    return absentAsNull(this.call(Op.exists, 'exists', path, body, readStat));
  }

  /** Names, not paths, in no order. */
  children(path: string): Promise<{ names: string[]; stat: Stat }> {
    const body = new JuteWriter().text(this.abs(path)).bool(false).done();
    return this.call(Op.getChildren2, 'children', path, body, (r) => ({
      names: r.list((x) => x.text()),
      stat: readStat(r),
    }));
  }

  getAcl(path: string): Promise<{ acl: Acl[]; stat: Stat }> {
    const body = new JuteWriter().text(this.abs(path)).done();
    return this.call(Op.getAcl, 'getAcl', path, body, (r) => ({ acl: r.list(readAcl), stat: readStat(r) }));
  }

  /** `version` is that of the ACL (stat.aversion); -1 means any. */
  setAcl(path: string, acl: readonly Acl[], version = -1): Promise<Stat> {
    const w = new JuteWriter().text(this.abs(path));
    writeAcl(w, acl);
    return this.call(Op.setAcl, 'setAcl', path, w.int(version).done(), readStat);
  }

  /** Answers the node's path, which differs from `path` for sequential modes, and its state. */
  create(path: string, data: Buffer | null, o: CreateOptions = {}): Promise<{ path: string; stat: Stat }> {
    const mode = o.mode ?? 'persistent';
    const w = new JuteWriter(256 + (data?.length ?? 0));
    writeCreate(w, this.abs(path), data, o.acl ?? OPEN_ACL, mode);
    return this.call(Op.create2, 'create', path, w.done(), (r) => ({
      path: this.inside(r.text()),
      stat: readStat(r),
    }));
  }

  /** Makes the node and its missing parents, all persistent. A node that exists keeps its data. */
  async createRecursive(path: string, data: Buffer | null = null): Promise<void> {
    try {
      await this.create(path, data);
    } catch (e) {
      if (hasCode(e, 'NODE_EXISTS')) return;
      if (!hasCode(e, 'NO_NODE')) throw e;
      await this.createRecursive(path.slice(0, path.lastIndexOf('/')));
      await this.createRecursive(path, data);
    }
  }

  /** `version` is the expected stat.version; -1 means any. */
  set(path: string, data: Buffer | null, version = -1): Promise<Stat> {
    const w = new JuteWriter(64 + path.length + (data?.length ?? 0));
    return this.call(Op.setData, 'set', path, w.text(this.abs(path)).bytes(data).int(version).done(), readStat);
  }

  /** `version` is the expected stat.version; -1 means any. */
  remove(path: string, version = -1): Promise<void> {
    const body = new JuteWriter().text(this.abs(path)).int(version).done();
    return this.call(Op.delete, 'remove', path, body, () => undefined);
  }

  /** Removes the node and everything below it; no error if it is absent. */
  async removeRecursive(path: string): Promise<void> {
    const found = await absentAsNull(this.children(path));
    if (found === null) return;
    for (const name of found.names) await this.removeRecursive(path === '/' ? `/${name}` : `${path}/${name}`);
    try {
      await this.remove(path);
    } catch (e) {
      if (hasCode(e, 'NOT_EMPTY')) return this.removeRecursive(path);
      if (!hasCode(e, 'NO_NODE')) throw e;
    }
  }

  /** All or nothing. The error is that of the operation that failed, with its `index` in the fields. */
  async multi(ops: readonly MultiOp[]): Promise<MultiResult[]> {
    const absolute = this.chroot === '' ? ops : ops.map((o) => ({ ...o, path: this.abs(o.path) }));
    const results = await this.call(Op.multi, 'multi', ops[0]?.path ?? '', writeMulti(absolute), (r) =>
      readMulti(r, ops),
    );
    if (this.chroot === '') return results;
    return results.map((r) => (r.op === 'create' ? { ...r, path: this.inside(r.path) } : r));
  }

  /** Brings this session's server up to the leader: what is read afterwards is not older than this call. */
  sync(path = '/'): Promise<void> {
    const body = new JuteWriter().text(this.abs(path)).done();
    return this.call(Op.sync, 'sync', path, body, () => undefined);
  }

  /**
   * Sets a persistent watch on a node or a subtree, present or not. It lives through reconnects; `listener.armed` says
   * each time that it was set, so read then, and after each event. The answer takes the watch away.
   */
  watch(path: string, mode: WatchMode, listener: WatchListener): Promise<() => void> {
    if (this.chroot === '') return this.watches.add(path, mode, listener);
    return this.watches.add(this.abs(path), mode, {
      event: (e) => listener.event({ ...e, path: this.inside(e.path) }),
      armed: () => listener.armed?.(),
      lost: () => listener.lost?.(),
    });
  }

  /** The node now and after each change (null = absent), the newest only; ends when `signal` aborts. */
  follow(path: string, signal: AbortSignal): AsyncIterable<NodeData | null> {
    return this.latest(path, signal, () => this.tryGet(path));
  }

  /** The children's names now and after each change (null = no such node), the newest only. */
  followChildren(path: string, signal: AbortSignal): AsyncIterable<string[] | null> {
    return this.latest(path, signal, async () => (await absentAsNull(this.children(path)))?.names ?? null);
  }

  private async *latest<T>(path: string, signal: AbortSignal, read: () => Promise<T>): AsyncGenerator<T> {
    let dirty = true;
    let wake: () => void = () => undefined;
    const touch = () => {
      dirty = true;
      wake();
    };
    const stop = await this.watch(path, 'node', { event: touch, armed: touch });
    signal.addEventListener('abort', touch);
    try {
      while (!signal.aborted) {
        if (!dirty) {
          await new Promise<void>((ok) => (wake = ok));
          continue;
        }
        dirty = false;
        try {
          yield await read();
        } catch (e) {
          // Not hot: a call waits for the next connection.
          if (!hasCode(e, 'CONNECTION_LOSS', 'SESSION_EXPIRED', 'DEADLINE_EXCEEDED')) throw e;
          dirty = true;
        }
      }
    } finally {
      signal.removeEventListener('abort', touch);
      stop();
    }
  }

  /** Ends the session: its ephemerals go. Waiting calls fail with CLIENT_CLOSED. */
  close(): Promise<void> {
    return this.connection.close(1000);
  }
}

function unreachable(servers: string, waitMs: number): NxnwError {
  return new NxnwError(
    'UNAVAILABLE',
    `no ZooKeeper session at ${servers} within ${waitMs} ms; check that the locks role runs and answers there ` +
      `(an open port is not enough: see its log)`,
    { servers, waitMs },
  );
}

async function absentAsNull<T>(p: Promise<T>): Promise<T | null> {
  try {
    return await p;
  } catch (e) {
    if (hasCode(e, 'NO_NODE')) return null;
    throw e;
  }
}
