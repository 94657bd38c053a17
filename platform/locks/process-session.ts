import { NxnwError, asError, hasCode } from '../errors.js';
import type { ZooKeeper } from './client.js';

export const MEMBERS = '/nxnw/members';

/** Who a process is: `boot` is new at each start, so that a restarted process is told from its predecessor. */
export interface Member {
  readonly process: string;
  /** `host:port` of its RPC server. */
  readonly endpoint: string;
  readonly boot: string;
}

export interface ProcessSessionOptions extends Member {
  readonly zk: ZooKeeper;
  /** A heartbeat or registration failed; the next try follows by itself. */
  readonly failed?: (e: Error) => void;
}

export type ProcessSessionEvent = 'expired' | 'registered';

/**
 * A process's membership: an ephemeral node under /nxnw/members, and a lease. The lease is extended by committed
 * writes to the node and counts from the time at which the write was sent: half the session's time-out, so it ends
 * before anybody else can get a lock of this session (C12). After `expired` everything held must be given up; the
 * process registers again by itself, and `registered` follows.
 */
export class ProcessSession {
  private leaseEndMs = -Infinity;
  /** Transaction that made the node; null = not registered. */
  private czxid: bigint | null = null;
  private closed = false;
  private beat: NodeJS.Timeout | undefined;
  private working: Promise<void> = Promise.resolve();
  private readonly offs: (() => void)[];
  private readonly listeners: Readonly<Record<ProcessSessionEvent, Set<() => void>>> = {
    expired: new Set(),
    registered: new Set(),
  };

  private constructor(private readonly o: ProcessSessionOptions) {
    this.offs = [o.zk.on('expired', () => this.expire()), o.zk.on('connected', () => this.soon(0))];
  }

  /** Registers the process. A node of an earlier start under the same process name is replaced. */
  static async start(o: ProcessSessionOptions): Promise<ProcessSession> {
    const session = new ProcessSession(o);
    try {
      await session.register(true);
    } catch (e) {
      await session.close();
      throw e;
    }
    session.soon(session.intervalMs());
    return session;
  }

  get member(): Member {
    return { process: this.o.process, endpoint: this.o.endpoint, boot: this.o.boot };
  }

  get zk(): ZooKeeper {
    return this.o.zk;
  }

  get registered(): boolean {
    return this.czxid !== null;
  }

  /** End of the lease on the monotonic clock (`performance.now()`); in the past or -Infinity = no lease. */
  leaseUntilMs(): number {
    return this.leaseEndMs;
  }

  hasLease(): boolean {
    return performance.now() < this.leaseEndMs;
  }

  on(event: ProcessSessionEvent, fn: () => void): () => void {
    this.listeners[event].add(fn);
    return () => void this.listeners[event].delete(fn);
  }

  private path(): string {
    return `${MEMBERS}/${this.o.process}`;
  }

  private content(): Buffer {
    return Buffer.from(JSON.stringify(this.member));
  }

  /** Only a process that starts may replace the node of an earlier start; otherwise two of one name would fight. */
  private async register(replace: boolean): Promise<void> {
    const { zk } = this.o;
    await zk.createRecursive(MEMBERS);
    const sentMs = performance.now();
    const held = await zk.tryGet(this.path());
    const mine = held?.stat.ephemeralOwner === zk.sessionId;
    if (held && !mine && !replace && !this.isOurs(held.data)) throw this.fenced();
    if (held && !mine)
      await zk.remove(this.path(), held.stat.version).catch((e: unknown) => {
        if (!hasCode(e, 'NO_NODE')) throw e;
      });
    const stat = mine ? held.stat : (await zk.create(this.path(), this.content(), { mode: 'ephemeral' })).stat;
    this.czxid = stat.czxid;
    // A node found to be ours proves nothing about now: the first heartbeat gives the lease.
    if (!mine) this.leaseEndMs = sentMs + zk.sessionTimeoutMs / 2;
    for (const fn of [...this.listeners.registered]) fn();
  }

  private intervalMs(): number {
    return this.o.zk.sessionTimeoutMs / 8;
  }

  private soon(ms: number): void {
    clearTimeout(this.beat);
    if (this.closed) return;
    this.beat = setTimeout(() => {
      this.working = this.working
        .then(() => this.heartbeat())
        .catch((e: unknown) => this.o.failed?.(asError(e)))
        .then(() => this.soon(this.intervalMs()));
    }, ms);
  }

  private async heartbeat(): Promise<void> {
    if (this.closed || !this.o.zk.isConnected) return;
    if (this.czxid === null) return this.register(false);
    const sentMs = performance.now();
    try {
      const stat = await this.o.zk.set(this.path(), this.content());
      if (stat.czxid === this.czxid) {
        this.leaseEndMs = Math.max(this.leaseEndMs, sentMs + this.o.zk.sessionTimeoutMs / 2);
        return;
      }
    } catch (e) {
      if (!hasCode(e, 'NO_NODE')) throw e;
    }
    this.expire();
    throw this.fenced();
  }

  /** True for content of this very start: a node left by our own expired session. */
  private isOurs(data: Buffer | null): boolean {
    return data?.equals(this.content()) ?? false;
  }

  private fenced(): NxnwError {
    return new NxnwError(
      'FENCED',
      `${this.path()} is gone or belongs to another start of process ${this.o.process}; two processes must not share a name`,
    );
  }

  private expire(): void {
    this.leaseEndMs = -Infinity;
    if (this.czxid === null) return;
    this.czxid = null;
    for (const fn of [...this.listeners.expired]) fn();
  }

  /** Unregisters (the node goes) and ends the lease. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.beat);
    for (const off of this.offs) off();
    this.leaseEndMs = -Infinity;
    await this.working;
    const registered = this.czxid !== null;
    this.czxid = null;
    if (!registered || !this.o.zk.isConnected) return;
    await this.o.zk.remove(this.path()).catch((e: unknown) => {
      if (!hasCode(e, 'NO_NODE', 'CONNECTION_LOSS', 'SESSION_EXPIRED', 'CLIENT_CLOSED')) throw e;
    });
  }
}
