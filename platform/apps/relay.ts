import { connect as connectPlain, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { NxnwError } from '../errors.js';
import type { Endpoint } from '../agent/spec.js';
import type { TlsMaterial } from '../wire/rpc.js';

const MAX_CONNECTIONS = 1000;
const CONNECT_MS = 3000;

export interface RelayOptions {
  readonly listen: Endpoint;
  /** Of a new connection: tried in turn, beginning with another one for each. */
  readonly targets: () => readonly Endpoint[];
  /** The side that speaks mTLS; the other one is plain. */
  readonly tlsSide: 'listen' | 'targets' | 'none';
  readonly tls: TlsMaterial;
}

/**
 * Carries TCP connections between a plain side and a side with mTLS. A pair of relays takes an application's datastore
 * door to another machine: the application still sees a loopback port. Answers the server once it listens.
 *
 * The target is reached first, also before the TLS of the listening side: where none can be, the caller's connection
 * fails as a whole, and a relay that calls goes to another machine.
 */
export async function startRelay(o: RelayOptions): Promise<Server> {
  let turn = 0;
  const accept = (raw: Socket): void => {
    raw.on('error', () => raw.destroy());
    raw.pause();
    const targets = o.targets();
    const first = turn++;
    const order = targets.map((_, i) => targets[(first + i) % targets.length]);
    firstReachable(order, o)
      .then((server) => {
        if (o.tlsSide === 'listen') secured(raw, server, o.tls);
        else join(raw, server);
      })
      .catch((e: unknown) => raw.destroy(e instanceof Error ? e : undefined));
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, accept);
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((ok, fail) => {
    server.once('error', fail);
    server.listen(o.listen.port, o.listen.host, ok);
  });
  return server;
}

/** A TLS server of this connection's own: only one checks the caller's certificate before anything is carried. */
function secured(raw: Socket, server: Socket, tls: TlsMaterial): void {
  const options = { ...tls, requestCert: true, rejectUnauthorized: true, allowHalfOpen: true };
  const endpoint = createTlsServer(options, (client) => join(client, server));
  endpoint.on('tlsClientError', () => raw.destroy());
  raw.on('close', () => server.destroy());
  server.on('error', () => raw.destroy());
  endpoint.emit('connection', raw);
}

/** Whatever ends one side ends the other. */
function join(client: Socket, server: Socket): void {
  server.on('error', () => client.destroy());
  client.on('error', () => server.destroy());
  client.on('close', () => server.destroy());
  server.on('close', () => client.destroy());
  client.pipe(server);
  server.pipe(client);
}

async function firstReachable(targets: readonly (Endpoint | undefined)[], o: RelayOptions): Promise<Socket> {
  const faults: string[] = [];
  for (const t of targets) {
    if (!t) continue;
    try {
      return await reach(t, o);
    } catch (e) {
      faults.push(`${t.host}:${t.port}: ${e instanceof Error ? e.message : String(e)}`);
    }
  }
  throw new NxnwError('UNAVAILABLE', `no target can be reached (${faults.join('; ')})`);
}

/** The connection stays open in the other direction when one side has sent all it has. */
function reach(t: Endpoint, o: RelayOptions): Promise<Socket> {
  return new Promise((ok, fail) => {
    const toTls = o.tlsSide === 'targets';
    // gRPC writes in small pieces, each of which would wait for the acknowledgement of the one before
    const plain = connectPlain({ host: t.host, port: t.port, allowHalfOpen: true, noDelay: true });
    const socket = toTls ? connectTls({ socket: plain, ...o.tls, checkServerIdentity: () => undefined }) : plain;
    const timer = setTimeout(() => socket.destroy(new Error(`no connection in ${CONNECT_MS} ms`)), CONNECT_MS);
    socket.once(toTls ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
      socket.off('error', fail);
      ok(socket);
    });
    socket.once('error', fail);
    socket.once('close', () => clearTimeout(timer));
  });
}
