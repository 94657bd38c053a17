import { createClient } from 'node-zookeeper-client';
import type { Client, Packet, Request } from 'node-zookeeper-client';
import { NxnwError } from '../errors.js';
import { JuteReader } from './jute.js';
import { zkError } from './records.js';

/** The package's connection states that matter here. */
const CONNECTING = 1;
const CONNECTED = 2;
const SESSION_EXPIRED_CODE = -112;

const OP_PING = 11;

const XID_NOTIFICATION = -1;
const XID_PING = -2;
const XID_AUTH = -4;

export interface ConnectionOptions {
  /** `host:port,host:port`, without a chroot. */
  readonly servers: string;
  readonly sessionTimeoutMs: number;
  readonly auth: readonly { readonly scheme: string; readonly auth: Buffer }[];
  /** Calls without an answer at one time; more are refused with RESOURCE_EXHAUSTED. */
  readonly maxOutstanding: number;
}

/** A watch event: 1 created, 2 deleted, 3 data changed, 4 children changed. */
export interface WatchEvent {
  readonly type: number;
  readonly path: string;
  /** The transaction that caused it (servers >= 3.9), or -1. */
  readonly zxid: bigint;
}

export type SessionEvent = 'connected' | 'disconnected' | 'expired' | 'authFailed';

/** One call: a request of the package's request path that brings its own records. */
class Call implements Request {
  readonly payload = null;
  readonly header: { xid: number; type: number };
  settled = false;
  written = false;

  constructor(
    type: number,
    readonly what: string,
    readonly path: string,
    private readonly body: Buffer,
    /** `code` 0 = `reader` stands at the answer's record. */
    readonly answer: (code: number, reader: JuteReader | null) => void,
  ) {
    this.header = { xid: 0, type };
  }

  toBuffer(): Buffer {
    this.written = true;
    const frame = Buffer.allocUnsafe(12 + this.body.length);
    frame.writeInt32BE(8 + this.body.length, 0);
    frame.writeInt32BE(this.header.xid, 4);
    frame.writeInt32BE(this.header.type, 8);
    this.body.copy(frame, 12);
    return frame;
  }
}

/**
 * A session over node-zookeeper-client: the package connects, rotates servers, pings and authenticates; the requests
 * and the parsing of answers are ours. That adds what the package lacks: operations unknown to it, deadlines, a
 * time-out for a server that is silent (it would wait for ever), pings while only events arrive (it takes them for a
 * sign that the server hears us, and the session expires), a new session after expiry, and no quadratic copying of
 * large answers.
 */
export class Connection {
  private client: Client;
  private readonly waiting = new Set<Call>();
  private outstanding = 0;
  private parts: Buffer[] = [];
  private have = 0;
  private want = 4;
  private lastHeardMs = 0;
  private lastPingMs = 0;
  private corked = false;
  private closed = false;
  private connected = false;
  private readonly watchdog: NodeJS.Timeout;
  private socketClosed: (() => void) | undefined;

  constructor(
    private readonly options: ConnectionOptions,
    private readonly onSession: (event: SessionEvent) => void,
    private readonly onWatch: (event: WatchEvent) => void,
  ) {
    this.client = this.open();
    this.watchdog = setInterval(() => this.tick(), Math.max(50, Math.min(1000, options.sessionTimeoutMs / 10)));
  }

  get isConnected(): boolean {
    return this.connected;
  }

  get sessionId(): bigint {
    return this.client.getSessionId().readBigInt64BE(0);
  }

  /** Negotiated with the server. */
  get sessionTimeoutMs(): number {
    return this.client.getSessionTimeout();
  }

  private open(): Client {
    const { servers, sessionTimeoutMs } = this.options;
    const client = createClient(servers, { sessionTimeout: sessionTimeoutMs, spinDelay: 100, retries: 0 });
    const manager = client.connectionManager;
    const parseConnectAnswer = manager.onSocketData.bind(manager);
    const sayHello = manager.onSocketConnected.bind(manager);
    const connect = manager.connect.bind(manager);
    manager.onSocketData = (chunk) => this.receive(chunk, parseConnectAnswer);
    manager.onSocketConnected = () => {
      this.parts = [];
      this.have = 0;
      this.want = 4;
      this.lastHeardMs = performance.now();
      sayHello();
      if (this.closed || client !== this.client) manager.socket?.destroy();
      manager.socket?.once('close', () => this.socketClosed?.());
    };
    manager.connect = () => {
      if (!this.closed) connect();
    };
    for (const a of this.options.auth) client.addAuthInfo(a.scheme, a.auth);
    client.on('connected', () => {
      if (client !== this.client) return;
      this.connected = true;
      this.onSession('connected');
      for (const call of this.waiting) this.enqueue(call);
      this.waiting.clear();
    });
    client.on('disconnected', () => {
      if (client === this.client) this.lost();
    });
    client.on('authenticationFailed', () => {
      if (client === this.client) this.onSession('authFailed');
    });
    client.on('expired', () => {
      if (client !== this.client) return;
      this.connected = false;
      const calls = [...this.waiting, ...unsent(manager.packetQueue.queue)];
      this.waiting.clear();
      for (const call of calls) call.answer(SESSION_EXPIRED_CODE, null);
      this.onSession('expired');
      manager.socket?.destroy();
      if (!this.closed) this.client = this.open();
    });
    this.lastHeardMs = performance.now();
    client.connect();
    return client;
  }

  /** Requests that were not written yet wait for the next connection; their deadlines go on. */
  private lost(): void {
    for (const call of unsent(this.client.connectionManager.packetQueue.queue))
      if (!call.settled) this.waiting.add(call);
    if (!this.connected) return;
    this.connected = false;
    this.onSession('disconnected');
  }

  /** Pings, and ends a connection whose server has said nothing for two thirds of the session's time. */
  private tick(): void {
    const manager = this.client.connectionManager;
    if (manager.state !== CONNECTED && manager.state !== CONNECTING) return;
    const nowMs = performance.now();
    if (nowMs - this.lastHeardMs > (this.sessionTimeoutMs * 2) / 3) {
      this.lastHeardMs = nowMs;
      manager.socket?.destroy();
    } else if (this.connected && nowMs - this.lastPingMs > this.sessionTimeoutMs / 4) {
      this.lastPingMs = nowMs;
      const ping = new Call(OP_PING, 'ping', '', Buffer.alloc(0), () => undefined);
      ping.header.xid = XID_PING;
      this.enqueue(ping);
    }
  }

  private receive(chunk: Buffer, parseConnectAnswer: (frame: Buffer) => void): void {
    this.lastHeardMs = performance.now();
    this.parts.push(chunk);
    this.have += chunk.length;
    if (this.have < this.want) return;
    const all = this.parts.length === 1 ? chunk : Buffer.concat(this.parts, this.have);
    let at = 0;
    while (all.length - at >= 4) {
      const end = at + 4 + all.readInt32BE(at);
      if (end > all.length) break;
      if (this.client.connectionManager.state === CONNECTING) parseConnectAnswer(all.subarray(at, end));
      else this.frame(all.subarray(at + 4, end));
      at = end;
    }
    const rest = all.subarray(at);
    this.parts = rest.length > 0 ? [rest] : [];
    this.have = rest.length;
    this.want = rest.length >= 4 ? 4 + rest.readInt32BE(0) : 4;
  }

  private frame(frame: Buffer): void {
    const manager = this.client.connectionManager;
    const reader = new JuteReader(frame);
    const xid = reader.int();
    const zxid = reader.long();
    const code = reader.int();
    if (xid === XID_PING) return;
    if (xid === XID_AUTH) {
      if (code !== 0) this.onSession('authFailed');
      return;
    }
    if (xid === XID_NOTIFICATION) {
      const type = reader.int();
      reader.int();
      this.onWatch({ type, path: reader.text(), zxid });
      return;
    }
    const request = manager.pendingQueue.shift()?.request;
    if (request?.header?.xid !== xid) {
      manager.socket?.destroy();
      return;
    }
    if (zxid > 0n) manager.zxid.writeBigInt64BE(zxid);
    if (!(request instanceof Call)) return;
    request.answer(code, code === 0 ? reader : null);
  }

  private enqueue(call: Call): void {
    const manager = this.client.connectionManager;
    if (!this.corked && manager.socket) {
      // One system call for all requests of this turn of the event loop.
      const socket = manager.socket;
      socket.cork();
      this.corked = true;
      process.nextTick(() => {
        this.corked = false;
        socket.uncork();
      });
    }
    manager.queue(call, (e) => call.answer(e.code, null));
  }

  /**
   * Sends one request and parses its answer. `deadlineMs` is a duration. DEADLINE_EXCEEDED with `sent: false` means
   * that nothing was sent; with `sent: true`, and for CONNECTION_LOSS, the outcome is unknown.
   */
  call<T>(
    type: number,
    what: string,
    path: string,
    body: Buffer,
    parse: (r: JuteReader) => T,
    deadlineMs: number,
  ): Promise<T> {
    if (this.closed) return Promise.reject(closedError(what, path));
    if (this.outstanding >= this.options.maxOutstanding)
      return Promise.reject(
        new NxnwError('RESOURCE_EXHAUSTED', `ZooKeeper ${what} ${path}: ${this.outstanding} calls wait already`),
      );
    return new Promise<T>((ok, fail) => {
      const settle = () => {
        if (call.settled) return false;
        call.settled = true;
        this.outstanding--;
        clearTimeout(timer);
        return true;
      };
      const call = new Call(type, what, path, body, (code, reader) => {
        if (!settle()) return;
        if (reader === null) return fail(this.closed ? closedError(what, path) : zkError(code, what, path));
        try {
          ok(parse(reader));
        } catch (e) {
          fail(e);
        }
      });
      const timer = setTimeout(() => {
        if (!settle()) return;
        this.waiting.delete(call);
        const { queue } = this.client.connectionManager.packetQueue;
        const i = call.written ? -1 : queue.findIndex((p) => p.request === call);
        if (i >= 0) queue.splice(i, 1);
        const how = call.written ? 'sent, outcome unknown' : 'not sent';
        const message = `ZooKeeper ${what} ${path}: no answer from ${this.options.servers} in ${deadlineMs} ms (${how})`;
        fail(new NxnwError('DEADLINE_EXCEEDED', message, { path, sent: call.written }));
      }, deadlineMs);
      this.outstanding++;
      if (this.connected) this.enqueue(call);
      else this.waiting.add(call);
    });
  }

  /** Ends the session, so that its ephemerals go at once; waits at most `graceMs` for the server. */
  async close(graceMs: number): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.watchdog);
    const manager = this.client.connectionManager;
    const socket = manager.socket;
    if (this.connected && socket && !socket.destroyed) {
      await new Promise<void>((ok) => {
        const timer = setTimeout(ok, graceMs);
        this.socketClosed = () => {
          clearTimeout(timer);
          ok();
        };
        this.client.close();
      });
    }
    socket?.destroy();
    for (const call of [...this.waiting, ...unsent(manager.packetQueue.queue)]) call.answer(SESSION_EXPIRED_CODE, null);
    this.waiting.clear();
  }
}

function closedError(what: string, path: string): NxnwError {
  return new NxnwError('CLIENT_CLOSED', `ZooKeeper ${what} ${path}: the client is closed`, { path });
}

/** Takes our unsent calls out of the package's queue. */
function unsent(queue: Packet[]): Call[] {
  const calls: Call[] = [];
  for (const p of queue.splice(0)) if (p.request instanceof Call) calls.push(p.request);
  return calls;
}
