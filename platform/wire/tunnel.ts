import { NxnwError, asError, hasCode } from '../errors.js';
import type { RpcServer, TlsMaterial } from './rpc.js';
import { RpcClient } from './rpc.js';

/**
 * Calls against the direction of a connection: between two platforms only one side connects (one port, one direction),
 * and both ask. The connecting process opens a stream; requests come back on it, answers go out.
 */
interface Ask {
  readonly id: number;
  readonly path: string;
  readonly body: unknown;
  readonly deadlineMs: number;
}

type FromConnector =
  | { readonly hello: { readonly platform: string; readonly endpoint: string } }
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string; readonly fields: Record<string, unknown> } }; // prettier-ignore

interface Waiting {
  readonly ok: (v: unknown) => void;
  readonly fail: (e: Error) => void;
  readonly timer: NodeJS.Timeout;
}

const MAX_WAITING = 10_000;

/** One connected process of the other platform. */
class Tunnel {
  private readonly queue: Ask[] = [];
  private readonly waiting = new Map<number, Waiting>();
  private wake: (() => void) | null = null;
  private next = 1;
  private closed: Error | null = null;

  constructor(
    readonly platform: string,
    readonly endpoint: string,
  ) {}

  call(path: string, body: unknown, deadlineMs: number): Promise<unknown> {
    if (this.closed) return Promise.reject(this.closed);
    if (this.waiting.size >= MAX_WAITING)
      return Promise.reject(
        new NxnwError(
          'RESOURCE_EXHAUSTED',
          `${this.waiting.size} calls to ${this.endpoint} wait for an answer; nothing was sent`,
        ),
      );
    const id = this.next++;
    return new Promise((ok, fail) => {
      const late = () => {
        this.waiting.delete(id);
        fail(new NxnwError('DEADLINE_EXCEEDED', `${this.endpoint}: no answer to ${path} within the deadline`));
      };
      this.waiting.set(id, { ok, fail, timer: setTimeout(late, Math.max(0, deadlineMs - Date.now())) });
      this.queue.push({ id, path, body, deadlineMs });
      this.wake?.();
    });
  }

  async *asks(signal: AbortSignal): AsyncIterable<Ask> {
    const go = () => this.wake?.();
    signal.addEventListener('abort', go);
    while (!signal.aborted && !this.closed) {
      const ask = this.queue.shift();
      if (ask) yield ask;
      else await new Promise<void>((ok) => (this.wake = ok));
    }
    signal.removeEventListener('abort', go);
  }

  settle(m: FromConnector): void {
    if ('hello' in m) return;
    const w = this.waiting.get(m.id);
    if (!w) return;
    this.waiting.delete(m.id);
    clearTimeout(w.timer);
    if ('answer' in m) w.ok(m.answer);
    else w.fail(new NxnwError(m.error.code, m.error.message, m.error.fields));
  }

  close(why: NxnwError): void {
    this.closed = why;
    this.wake?.();
    for (const w of this.waiting.values()) {
      clearTimeout(w.timer);
      w.fail(why);
    }
    this.waiting.clear();
  }
}

/** The side that is connected to: knows which processes of the other platform are there, and asks them. */
export class TunnelServer {
  private readonly tunnels = new Map<string, Tunnel>();

  constructor(private readonly changed: () => void) {}

  addTo(server: RpcServer): void {
    const accept = (incoming: AsyncIterable<unknown>, signal: AbortSignal) =>
      this.accept(incoming as AsyncIterable<FromConnector>, signal);
    server.add('peer', { unary: {}, streams: { tunnel: (incoming, caller) => accept(incoming, caller.signal) } });
  }

  private async *accept(incoming: AsyncIterable<FromConnector>, signal: AbortSignal): AsyncIterable<Ask> {
    const it = incoming[Symbol.asyncIterator]();
    const first = await it.next();
    if (first.done || !('hello' in first.value))
      throw new NxnwError('INVALID_ARGUMENT', 'a tunnel begins with hello {platform, endpoint}');
    const { platform, endpoint } = first.value.hello;
    const tunnel = new Tunnel(platform, endpoint);
    this.tunnels.get(endpoint)?.close(new NxnwError('UNAVAILABLE', `${endpoint} connected anew`));
    this.tunnels.set(endpoint, tunnel);
    this.changed();
    const gone = new NxnwError('UNAVAILABLE', `${endpoint} of platform ${platform} is not connected any more`);
    const read = (async () => {
      for (let m = await it.next(); !m.done; m = await it.next()) tunnel.settle(m.value);
    })().catch(() => undefined);
    void read.then(() => tunnel.close(gone));
    try {
      yield* tunnel.asks(signal);
    } finally {
      tunnel.close(gone);
      if (this.tunnels.get(endpoint) === tunnel) this.tunnels.delete(endpoint);
      this.changed();
    }
  }

  /** Platform of the connected processes, or null; and their endpoints. */
  connected(): { platform: string; endpoints: string[] } | null {
    const first = [...this.tunnels.values()][0];
    return first ? { platform: first.platform, endpoints: [...this.tunnels.keys()] } : null;
  }

  call<T>(endpoint: string, path: string, body: unknown, deadlineMs: number): Promise<T> {
    const tunnel = this.tunnels.get(endpoint);
    if (!tunnel) return Promise.reject(new NxnwError('UNAVAILABLE', `${endpoint} is not connected`));
    // the answer's shape is the callee's promise, as with RpcClient
    return tunnel.call(path, body, deadlineMs) as Promise<T>;
  }
}

/** The connecting side: keeps a tunnel to one endpoint of the other platform and answers what comes on it. */
export class TunnelClient {
  private readonly stop = new AbortController();
  private readonly client: RpcClient;

  constructor(
    readonly target: string,
    tls: TlsMaterial,
    private readonly hello: { platform: string; endpoint: string },
    private readonly serve: (path: string, body: unknown) => Promise<unknown>,
    private readonly failed: (e: Error) => void,
  ) {
    this.client = new RpcClient(target, tls);
    void this.run();
  }

  private async run(): Promise<void> {
    for (let wait = 50; !this.stop.signal.aborted; wait = Math.min(wait * 2, 1000)) {
      try {
        const stream = this.client.open<FromConnector, Ask>('peer.tunnel', this.stop.signal);
        await stream.send({ hello: this.hello });
        for await (const ask of stream.answers) {
          wait = 50;
          this.answer(ask)
            .then((m) => stream.send(m))
            .catch((e: unknown) => this.failed(asError(e)));
        }
      } catch (e) {
        if (!this.stop.signal.aborted) this.failed(asError(e));
      }
      await new Promise<void>((ok) => {
        const t = setTimeout(ok, wait);
        this.stop.signal.addEventListener(
          'abort',
          () => {
            clearTimeout(t);
            ok();
          },
          { once: true },
        );
      });
    }
  }

  private async answer(ask: Ask): Promise<FromConnector> {
    try {
      return { id: ask.id, answer: (await this.serve(ask.path, ask.body)) ?? {} };
    } catch (e) {
      const err = asError(e);
      const known = e instanceof NxnwError && hasCode(e, e.code);
      return {
        id: ask.id,
        error: { code: known ? e.code : 'INTERNAL', message: err.message, fields: known ? { ...e.fields } : {} },
      };
    }
  }

  close(): void {
    this.stop.abort();
    this.client.close();
  }
}
