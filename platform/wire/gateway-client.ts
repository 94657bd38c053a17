import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { ClientHttp2Stream } from 'node:http2';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { asError } from '../errors.js';
import type { Endpoint } from '../agent/spec.js';
import { listen } from './gateway-reverse.js';
import { GatewaySession, type GatewayAddress } from './gateway-session.js';
import { CONNECT_MS, REVERSE, TARGET, abortStream, splice, type WireLog } from './gateway-stream.js';
import type { TlsMaterial } from './rpc.js';

export type { GatewayAddress } from './gateway-session.js';

/** A connection that comes while a session is made anew waits this long. */
const SESSION_WAIT_MS = 1000;
const MOST_WAITING = 256;

/** A port of this machine that leads to an endpoint of the other platform. */
export interface Forward {
  /** Port 0 = any. */
  readonly listen: Endpoint;
  /** `host:port` as the other platform knows it. */
  readonly to: string;
}

export interface GatewayClientOptions {
  readonly gateways: readonly GatewayAddress[];
  /** Of the join bundle. */
  readonly tls: TlsMaterial;
  readonly forwards: readonly Forward[];
  /** What this machine serves for the other platform: the name of a door there, and where it leads to here. */
  readonly reverse: { readonly target: string; readonly to: Endpoint } | null;
  readonly log: WireLog;
}

const askSchema = z.strictObject({ id: z.int().positive() });

/**
 * The joining platform's end of the join port: local ports that lead to endpoints of the other platform. Each has a
 * session of its own, so that a loss on one's way holds up no other; and one to each gateway takes what comes back.
 */
export class GatewayClient {
  private readonly servers: Server[] = [];
  private readonly sessions: GatewaySession[] = [];
  private readonly ports = new Map<string, Endpoint>();
  private waiting = 0;

  private constructor(private readonly o: GatewayClientOptions) {}

  /** Answers once its ports are open; sessions are made in the background. @throws ADDRESS_IN_USE */
  static async start(o: GatewayClientOptions): Promise<GatewayClient> {
    const client = new GatewayClient(o);
    try {
      for (const [i, f] of o.forwards.entries()) await client.openForward(f, i);
    } catch (e) {
      client.close();
      throw e;
    }
    if (o.reverse) for (const g of o.gateways) client.openReverse(g, o.reverse);
    return client;
  }

  /** Where an endpoint of the other platform is reached on this machine; undefined if it was not asked for. */
  portOf(to: string): Endpoint | undefined {
    return this.ports.get(to);
  }

  /** Waits until every session is up, at most `ms`. */
  async ready(ms: number): Promise<boolean> {
    const up = await Promise.all(this.sessions.map((s) => s.ready(ms)));
    return up.every((u) => u);
  }

  /** `all` = every session is up; `detail` is one line for a person. */
  status(): { all: boolean; detail: string } {
    const down = this.sessions.find((s) => !s.isUp);
    const up = this.sessions.filter((s) => s.isUp).length;
    const counted = `${up} of ${this.sessions.length} sessions to the join port are up`;
    return { all: down === undefined, detail: down === undefined ? counted : `${counted}; ${down.detail}` };
  }

  private async openForward(f: Forward, index: number): Promise<void> {
    const { gateways, tls, log } = this.o;
    const first = index % Math.max(1, gateways.length);
    const session = new GatewaySession([...gateways.slice(first), ...gateways.slice(0, first)], tls, log);
    this.sessions.push(session);
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
      this.carry(socket, session, f.to).catch((e: unknown) => {
        log('join.connection.failed', { to: f.to, why: asError(e).message });
        socket.resetAndDestroy();
      });
    });
    this.servers.push(server);
    const port = await listen(server, f.listen);
    this.ports.set(f.to, { host: f.listen.host, port });
  }

  private async carry(socket: Socket, session: GatewaySession, to: string): Promise<void> {
    const lost = () => socket.destroy();
    socket.on('error', lost);
    if (!session.isUp) {
      if (this.waiting >= MOST_WAITING) return void socket.resetAndDestroy();
      this.waiting++;
      await session.ready(SESSION_WAIT_MS).finally(() => this.waiting--);
    }
    if (socket.destroyed) return;
    const stream = session.connect(to, (e) => {
      this.o.log('join.connection.refused', { to, code: e.code, why: e.message });
      abortStream(stream);
    });
    socket.off('error', lost);
    splice(socket, stream);
  }

  private openReverse(gateway: GatewayAddress, reverse: { target: string; to: Endpoint }): void {
    const { log } = this.o;
    const session = new GatewaySession([gateway], this.o.tls, log, () => {
      const control = session.connect(
        REVERSE,
        (e) => log('join.reverse.refused', { target: reverse.target, code: e.code, why: e.message }),
        { [TARGET]: reverse.target },
      );
      this.answer(control, session, reverse.to)
        .catch((e: unknown) => log('join.reverse.lost', { target: reverse.target, why: asError(e).message }))
        // a session that brings nothing back is of no use: the next one asks again
        .finally(() => session.renew());
    });
    this.sessions.push(session);
  }

  /** Fetches every connection that the other platform asks for on `control`. */
  private async answer(control: ClientHttp2Stream, session: GatewaySession, to: Endpoint): Promise<void> {
    control.on('error', () => abortStream(control));
    for await (const line of createInterface({ input: control })) {
      const { id } = askSchema.parse(JSON.parse(line));
      const stream = session.connect(`${REVERSE}:${id}`, () => abortStream(stream));
      const socket = connect({ ...to, allowHalfOpen: true, noDelay: true });
      const timer = setTimeout(() => socket.destroy(), CONNECT_MS);
      socket.once('connect', () => clearTimeout(timer));
      socket.once('close', () => clearTimeout(timer));
      splice(socket, stream);
    }
  }

  close(): void {
    for (const s of this.sessions) s.close();
    for (const s of this.servers) s.close();
  }
}
