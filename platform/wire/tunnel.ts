import { NxnwError, asError } from '../errors.js';
import { Calls, reply } from './calls.js';
import type { Ask, Reply } from './calls.js';
import type { RpcServer, TlsMaterial } from './rpc.js';
import { RpcClient } from './rpc.js';

/**
 * Calls against the direction of a connection: between two platforms only one side connects (one port, one direction),
 * and both ask. The connecting process opens a stream; requests come back on it, answers go out.
 */
type FromConnector = { readonly hello: { readonly platform: string; readonly endpoint: string } } | Reply;

/** One connected process of the other platform. */
class Tunnel extends Calls {
  constructor(
    readonly platform: string,
    endpoint: string,
  ) {
    super(endpoint);
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
      for (let m = await it.next(); !m.done; m = await it.next()) if (!('hello' in m.value)) tunnel.settle(m.value);
    })().catch(() => undefined);
    void read.then(() => tunnel.close(gone));
    try {
      for await (const batch of tunnel.asks(signal)) yield* batch;
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
          reply(ask, this.serve)
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

  close(): void {
    this.stop.abort();
    this.client.close();
  }
}
