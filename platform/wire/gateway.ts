import { createSecureServer } from 'node:http2';
import type { Http2SecureServer, IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { connect } from 'node:net';
import { TLSSocket } from 'node:tls';
import { NxnwError, asError } from '../errors.js';
import type { Endpoint } from '../agent/spec.js';
import { ReverseDoors, listen } from './gateway-reverse.js';
import {
  CONNECT_MS,
  JOIN_SUBJECT,
  N1_SETTINGS,
  REVERSE,
  TARGET,
  WITH_END,
  abortStream,
  cutSession,
  hearEnd,
  keepAlive,
  refusal,
  splice,
  type WireLog,
} from './gateway-stream.js';
import type { TlsMaterial } from './rpc.js';

const MOST_SESSIONS = 500;
/** Connections of all sessions. */
const MOST_CONNECTIONS = 4000;
const HANDSHAKE_MS = 5000;

export interface GatewayOptions {
  readonly listen: Endpoint;
  readonly tls: TlsMaterial;
  /** `host:port` of what another platform may reach; nothing else. */
  readonly allow: readonly string[];
  /** Doors to the other platform, by the target's name there. */
  readonly reverse: ReadonlyMap<string, Endpoint>;
  readonly log: WireLog;
}

/**
 * The join port: everything that another platform says to this one comes in here, by mTLS with the certificate of a
 * join bundle, and goes on to the endpoints that are allowed. What is inside (mTLS of our own processes too) is carried
 * as it is.
 */
export class Gateway {
  private readonly sessions = new Set<ServerHttp2Session>();
  private readonly allowed: ReadonlySet<string>;
  private readonly reverse: ReverseDoors;
  private connections = 0;

  private constructor(
    private readonly server: Http2SecureServer,
    private readonly o: GatewayOptions,
  ) {
    this.allowed = new Set(o.allow);
    this.reverse = new ReverseDoors(o.reverse, o.log);
    server.maxConnections = MOST_SESSIONS;
    server.on('session', (session) => this.meet(session));
    server.on('tlsClientError', (e, socket) =>
      o.log('join.refused', { from: socket.remoteAddress ?? '', why: e.message }),
    );
    server.on('sessionError', (e) => o.log('join.session.error', { why: e.message }));
  }

  /** @throws ADDRESS_IN_USE */
  static async start(o: GatewayOptions): Promise<{ gateway: Gateway; port: number }> {
    const { ca, cert, key } = o.tls;
    const server = createSecureServer({
      ca,
      cert,
      key,
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_MS,
      noDelay: true,
      settings: N1_SETTINGS,
    });
    const gateway = new Gateway(server, o);
    return { gateway, port: await listen(server, o.listen) };
  }

  /** Sessions of other platforms' machines, and connections in them. */
  counts(): { sessions: number; connections: number } {
    return { sessions: this.sessions.size, connections: this.connections };
  }

  private meet(session: ServerHttp2Session): void {
    const from = session.socket.remoteAddress ?? '';
    const name = session.socket instanceof TLSSocket ? peerOf(session.socket) : '';
    keepAlive(session);
    this.sessions.add(session);
    session.on('close', () => this.sessions.delete(session));
    session.on('error', (e: Error) => this.o.log('join.session.error', { from, why: e.message }));
    session.on('stream', (stream, headers) => {
      stream.on('error', () => abortStream(stream));
      hearEnd(stream);
      try {
        if (name !== JOIN_SUBJECT)
          throw new NxnwError(
            'JOIN_REFUSED',
            `the join port serves the certificate of a join bundle, and this one is for "${name}"; make a bundle with \`nxnw join\``,
            { name },
          );
        this.serve(stream, headers);
      } catch (e) {
        this.refuse(stream, e, from);
      }
    });
  }

  private serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const to = headers[':authority'] ?? '';
    if (headers[':method'] !== 'CONNECT')
      throw new NxnwError('JOIN_REFUSED', 'the join port takes the method CONNECT only');
    if (to === REVERSE) return this.ask(stream, headers);
    if (to.startsWith(`${REVERSE}:`)) return this.reverse.fetch(Number(to.slice(REVERSE.length + 1)), stream);
    if (!this.allowed.has(to))
      throw new NxnwError(
        'JOIN_REFUSED',
        `${to} is not open to another platform; make a new join bundle with \`nxnw join\` if this platform has changed`,
        { to },
      );
    if (this.connections >= MOST_CONNECTIONS)
      throw new NxnwError(
        'RESOURCE_EXHAUSTED',
        `the join port carries ${MOST_CONNECTIONS} connections, the most it may`,
        {},
      );
    this.carry(stream, to);
  }

  private ask(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const target = String(headers[TARGET] ?? '');
    this.reverse.register(target, stream).then(
      () => stream.destroyed || stream.respond({ ':status': 200 }),
      (e: unknown) => this.refuse(stream, e, ''),
    );
  }

  private carry(stream: ServerHttp2Stream, to: string): void {
    this.connections++;
    stream.on('close', () => this.connections--);
    const colon = to.lastIndexOf(':');
    const port = Number(to.slice(colon + 1));
    const socket = connect({ host: to.slice(0, colon), port, allowHalfOpen: true, noDelay: true });
    const timer = setTimeout(() => socket.destroy(new Error(`no connection in ${CONNECT_MS} ms`)), CONNECT_MS);
    const failed = (e: Error): void => {
      this.refuse(stream, new NxnwError('UNAVAILABLE', `${to} does not answer: ${e.message}`, { to }, e), '');
    };
    const left = (): void => void socket.destroy();
    socket.once('close', () => clearTimeout(timer));
    socket.once('error', failed);
    stream.once('close', left);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', failed);
      stream.off('close', left);
      if (!stream.destroyed) stream.respond({ ':status': 200 }, WITH_END);
      splice(socket, stream);
    });
  }

  private refuse(stream: ServerHttp2Stream, cause: unknown, from: string): void {
    const e = cause instanceof NxnwError ? cause : new NxnwError('INTERNAL', asError(cause).message, {}, cause);
    this.o.log('join.refused', { from, code: e.code, why: e.message });
    if (stream.destroyed) return;
    stream.respond({ ':status': STATUS[e.code] ?? 500, ...refusal(e) }, { endStream: true });
    // what the other side still sends is not read
    stream.resume();
  }

  /** Ends every connection at once: N2 looks for another gateway. */
  async close(): Promise<void> {
    this.reverse.close();
    const closed = new Promise<void>((ok) => this.server.close(() => ok()));
    for (const s of this.sessions) cutSession(s);
    await closed;
  }
}

const STATUS: Readonly<Record<string, number>> = { JOIN_REFUSED: 403, RESOURCE_EXHAUSTED: 503, UNAVAILABLE: 502 };

function peerOf(socket: TLSSocket): string {
  const { CN } = socket.getPeerCertificate().subject ?? {};
  return typeof CN === 'string' ? CN : '';
}
