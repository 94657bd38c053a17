import { connect } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { connect as connectTls } from 'node:tls';
import { NxnwError, asError } from '../errors.js';
import type { Endpoint } from '../agent/spec.js';
import { Waiters, pauseFor } from '../waiting.js';
import {
  CONNECT_MS,
  ERROR_CODE,
  ERROR_TEXT,
  MOST_STREAMS,
  N2_SESSION_BYTES,
  N2_SETTINGS,
  WITH_END,
  cutSession,
  hearEnd,
  keepAlive,
  type WireLog,
} from './gateway-stream.js';
import type { TlsMaterial } from './rpc.js';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;
/** A session that lived this long was a good one: the next try comes soon. */
const GOOD_MS = 2000;

/** A gateway of N1, as the join bundle lists it. */
export interface GatewayAddress {
  /** Its certificate is for this machine. */
  readonly machine: string;
  readonly endpoint: Endpoint;
}

/** One session to one of the gateways, made anew whenever it ends; the next gateway is tried each time. */
export class GatewaySession {
  private readonly stop = new AbortController();
  private readonly waiters = new Waiters();
  private session: ClientHttp2Session | null = null;
  private streams = 0;
  private fault = 'not connected yet';

  /**
   * @param gateways in the order to try
   * @param opened called with each new session
   */
  constructor(
    private readonly gateways: readonly GatewayAddress[],
    private readonly tls: TlsMaterial,
    private readonly log: WireLog,
    private readonly opened: () => void = () => undefined,
  ) {
    void this.run();
  }

  get isUp(): boolean {
    return this.session !== null && !this.session.closed && !this.session.destroyed;
  }

  /** Why there is no session. */
  get detail(): string {
    return this.isUp ? '' : this.fault;
  }

  /** Waits until there is a session, at most `ms`. */
  async ready(ms: number): Promise<boolean> {
    if (!this.isUp) await this.waiters.next(ms);
    return this.isUp;
  }

  /**
   * A stream of CONNECT to `to`. What is written goes out at once, before the other side has agreed; `refused` hears
   * when it has not.
   * @throws UNAVAILABLE without a session, RESOURCE_EXHAUSTED
   */
  connect(to: string, refused: (e: NxnwError) => void, headers: Record<string, string> = {}): ClientHttp2Stream {
    const { session } = this;
    if (!session || !this.isUp)
      throw new NxnwError('UNAVAILABLE', `the join port of the other platform is not reached: ${this.fault}`);
    if (this.streams >= MOST_STREAMS)
      throw new NxnwError('RESOURCE_EXHAUSTED', `${MOST_STREAMS} connections to ${to} are open, the most there may be`);
    const stream = session.request(
      { ':method': 'CONNECT', ':authority': to, ...headers },
      { endStream: false, ...WITH_END },
    );
    hearEnd(stream);
    this.streams++;
    stream.once('close', () => this.streams--);
    stream.once('response', (h) => {
      if (h[':status'] === 200) return;
      refused(new NxnwError(String(h[ERROR_CODE] ?? 'UNAVAILABLE'), String(h[ERROR_TEXT] ?? `${to} was refused`)));
    });
    return stream;
  }

  private async run(): Promise<void> {
    const { signal } = this.stop;
    let pauseMs = FIRST_PAUSE_MS;
    for (let turn = 0; !signal.aborted; turn++) {
      const gateway = this.gateways[turn % this.gateways.length];
      if (gateway === undefined) throw new Error('a join bundle names at least one gateway');
      const beganMs = performance.now();
      const why = await this.hold(gateway);
      if (signal.aborted) return;
      this.fault = `${gateway.endpoint.host}:${gateway.endpoint.port}: ${why}`;
      this.log('join.session.lost', { gateway: gateway.machine, why: this.fault });
      if (performance.now() - beganMs > GOOD_MS) pauseMs = FIRST_PAUSE_MS;
      await pauseFor(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  /** Opens a session and holds it until it ends; answers why it did. */
  private hold({ endpoint, machine }: GatewayAddress): Promise<string> {
    const socket = connectTls({
      host: endpoint.host,
      port: endpoint.port,
      ca: this.tls.ca,
      cert: this.tls.cert,
      key: this.tls.key,
      ALPNProtocols: ['h2'],
      // an address is no legal server name; the certificate is known by the authority and by its machine
      servername: 'nxnw',
      checkServerIdentity: (_, cert) => {
        const known = this.gateways.some((g) => g.machine === cert.subject.CN);
        return known ? undefined : new Error(`its certificate is for "${String(cert.subject.CN)}", not for ${machine}`);
      },
    });
    socket.setNoDelay(true);
    const session = connect('https://nxnw', { createConnection: () => socket, settings: N2_SETTINGS });
    const timer = setTimeout(
      () => session.destroy(new Error(`no session in ${CONNECT_MS} ms: not reached, or our certificate is refused`)),
      CONNECT_MS,
    );
    const abort = (): void => cutSession(session);
    this.stop.signal.addEventListener('abort', abort, { once: true });
    let why = 'it closed the session before it took it: the certificate of the join bundle is refused';
    session.on('error', (e: Error) => (why = asError(e).message));
    socket.on('error', (e: Error) => (why = e.message));
    // only the other side's settings say that it took our certificate
    session.once('remoteSettings', () => {
      clearTimeout(timer);
      session.setLocalWindowSize(N2_SESSION_BYTES);
      keepAlive(session);
      this.session = session;
      why = 'the session was closed';
      this.opened();
      this.waiters.wake();
    });
    return new Promise((ok) => {
      session.once('close', () => {
        clearTimeout(timer);
        this.stop.signal.removeEventListener('abort', abort);
        if (this.session === session) this.session = null;
        socket.destroy();
        ok(why);
      });
    });
  }

  /** Ends the session; another one follows. */
  renew(): void {
    if (this.session) cutSession(this.session);
  }

  close(): void {
    this.stop.abort();
    this.waiters.wake();
  }
}
