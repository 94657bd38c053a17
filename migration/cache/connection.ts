import { connect, type Socket } from 'node:net';
import { NxnwError, asError } from '@nxnw/platform/errors';

export interface CacheAddress {
  readonly host: string;
  readonly port: number;
}

/** `10.0.0.5:11211` */
export function showAddress(a: CacheAddress): string {
  return `${a.host}:${a.port}`;
}

/** A reply: its first line, and the data block of a `VA` or the lines up to `END` of a list. */
export interface Reply {
  readonly head: string;
  readonly value: Buffer | null;
  readonly list: readonly string[];
}

/** `one`: a line, with a data block behind `VA`. `list`: lines up to `END`. */
export type ReplyShape = 'one' | 'list';

interface Waiting {
  readonly shape: ReplyShape;
  readonly sentAt: number;
  readonly list: string[];
  ok(r: Reply): void;
  fail(e: Error): void;
}

const CRLF = '\r\n';

/** Opens a TCP connection. CACHE_UNREACHABLE when it does not come up in time. */
export function openSocket(at: CacheAddress, deadlineMs: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((ok, fail) => {
    const socket = connect({ host: at.host, port: at.port, noDelay: true, signal });
    const refuse = (why: string, cause?: unknown) => {
      clearTimeout(timer);
      socket.destroy();
      fail(
        new NxnwError(
          'CACHE_UNREACHABLE',
          `no connection to memcached at ${showAddress(at)}: ${why}. Check that it runs and listens there.`,
          { address: showAddress(at) },
          cause,
        ),
      );
    };
    const timer = setTimeout(() => refuse('no answer in time'), Math.max(1, deadlineMs - Date.now()));
    const failed = (e: Error) => refuse(e.message, e);
    socket.once('error', failed);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', failed);
      ok(socket);
    });
  });
}

/** Splits a byte stream into lines without their line ends; answers a function to be fed with chunks. */
export function lineSplitter(onLine: (line: string) => void): (chunk: Buffer) => void {
  let rest = '';
  return (chunk) => {
    const text = rest + chunk.toString('latin1');
    let from = 0;
    for (let nl = text.indexOf('\n'); nl >= 0; nl = text.indexOf('\n', from)) {
      onLine(text.slice(from, text[nl - 1] === '\r' ? nl - 1 : nl));
      from = nl + 1;
    }
    rest = text.slice(from);
  };
}

/**
 * One connection that carries requests one behind the other (memcached answers a connection's commands in order, which
 * the warm-up builds on: an earlier write to a key is done when a later one is). The caller bounds what is in flight.
 * A request that finds no answer within `timeoutMs` ends the connection; what was in flight fails with CACHE_LOST,
 * and whether it was done is then unknown.
 */
export class CacheConnection {
  private readonly waiting: Waiting[] = [];
  private read = 0;
  private buffer: Buffer = Buffer.alloc(0);
  private ended: NxnwError | undefined;
  private readonly watchdog: NodeJS.Timeout;
  private readonly end: Promise<NxnwError>;
  private tellEnd: (e: NxnwError) => void = () => undefined;

  constructor(
    readonly address: CacheAddress,
    private readonly socket: Socket,
    private readonly timeoutMs: number,
  ) {
    this.end = new Promise((ok) => (this.tellEnd = ok));
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('error', (e) => this.close(e));
    socket.on('close', () => this.close());
    this.watchdog = setInterval(
      () => {
        const oldest = this.waiting[this.read];
        if (oldest && Date.now() - oldest.sentAt > timeoutMs)
          this.close(new Error(`no answer within ${this.timeoutMs} ms`));
      },
      Math.max(10, Math.min(250, timeoutMs / 4)),
    );
  }

  /** Resolves with the reason when the connection has ended. */
  ending(): Promise<NxnwError> {
    return this.end;
  }

  get open(): boolean {
    return this.ended === undefined;
  }

  request(command: string, shape: ReplyShape = 'one', data?: Buffer): Promise<Reply> {
    if (this.ended) return Promise.reject(this.ended);
    return new Promise((ok, fail) => {
      this.waiting.push({ shape, sentAt: Date.now(), list: [], ok, fail });
      this.socket.cork();
      this.socket.write(command + CRLF, 'latin1');
      if (data) {
        this.socket.write(data);
        this.socket.write(CRLF, 'latin1');
      }
      process.nextTick(() => this.socket.uncork());
    });
  }

  close(cause?: unknown): void {
    if (this.ended) return;
    clearInterval(this.watchdog);
    const why = cause === undefined ? 'closed' : asError(cause).message;
    this.ended = new NxnwError(
      'CACHE_LOST',
      `the connection to memcached at ${showAddress(this.address)} ended (${why})`,
      { address: showAddress(this.address) },
      cause,
    );
    this.socket.destroy();
    for (const w of this.waiting.slice(this.read)) w.fail(this.ended);
    this.waiting.length = 0;
    this.tellEnd(this.ended);
  }

  private take(chunk: Buffer): void {
    this.buffer = this.buffer.length === 0 ? chunk : Buffer.concat([this.buffer, chunk]);
    let at = 0;
    for (;;) {
      const nl = this.buffer.indexOf(CRLF, at);
      if (nl < 0) break;
      const line = this.buffer.toString('latin1', at, nl);
      const w = this.waiting[this.read];
      if (!w) return this.close(new Error(`unexpected answer ${JSON.stringify(line.slice(0, 80))}`));
      let next = nl + 2;
      if (w.shape === 'list' && line !== 'END' && !isError(line)) {
        w.list.push(line);
        at = next;
        continue;
      }
      let value: Buffer | null = null;
      if (line.startsWith('VA ')) {
        const bytes = Number(line.split(' ', 2)[1]);
        if (this.buffer.length < next + bytes + 2) break;
        value = Buffer.from(this.buffer.subarray(next, next + bytes));
        next += bytes + 2;
      }
      at = next;
      this.read += 1;
      w.ok({ head: line, value, list: w.list });
    }
    this.buffer = this.buffer.subarray(at);
    if (this.read > 1024) {
      this.waiting.splice(0, this.read);
      this.read = 0;
    }
  }
}

/** True for memcached's error lines. */
export function isError(line: string): boolean {
  return line === 'ERROR' || line.startsWith('CLIENT_ERROR') || line.startsWith('SERVER_ERROR');
}
