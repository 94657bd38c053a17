import { createSocket } from 'node:dgram';
import { isIPv4 } from 'node:net';
import { NxnwError } from '@nxnw/platform/errors';
import { decode, encode } from 'dns-packet';
import { nowUs } from './clock.js';

/** One answer of the zone's server, as the client used it. */
export interface Resolved {
  readonly addresses: readonly string[];
  readonly ttlS: number;
  readonly atUs: number;
}

const TRY_MS = 500;
const TRIES = 4;

/** Asks one DNS server for A records over UDP; NXDOMAIN, an empty answer and silence are errors. */
export async function queryA(name: string, server: { host: string; port: number }): Promise<Resolved> {
  let last: unknown;
  for (let i = 0; i < TRIES; i++) {
    try {
      return await queryOnce(name, server);
    } catch (e) {
      last = e;
    }
  }
  throw new NxnwError(
    'DNS_FAILED',
    `${server.host}:${server.port} does not tell the address of ${name}`,
    { name },
    last,
  );
}

function queryOnce(name: string, server: { host: string; port: number }): Promise<Resolved> {
  const id = Math.floor(Math.random() * 65536);
  const socket = createSocket('udp4');
  return new Promise<Resolved>((ok, fail) => {
    const timer = setTimeout(() => fail(new Error(`no answer within ${TRY_MS} ms`)), TRY_MS);
    socket.on('error', fail);
    socket.on('message', (bytes) => {
      const packet = decode(bytes);
      if (packet.id !== id) return;
      clearTimeout(timer);
      const found = (packet.answers ?? []).flatMap((a) => (a.type === 'A' ? [a] : []));
      if (found.length === 0) return fail(new Error(`${name} has no A record here`));
      const ttlS = Math.min(...found.map((a) => a.ttl ?? 0));
      ok({ addresses: found.map((a) => a.data).sort(), ttlS, atUs: nowUs() });
    });
    socket.send(encode({ type: 'query', id, questions: [{ type: 'A', name }] }), server.port, server.host);
  }).finally(() => socket.close());
}

/**
 * Addresses of one name. Asks the zone's own server and keeps an answer for its TTL, as a client's resolver does; when
 * the server is silent the last answer is used on, and `onFailure` is told.
 */
export class Resolver {
  private current: Resolved | null = null;
  private asking: Promise<Resolved> | null = null;

  constructor(
    private readonly name: string,
    private readonly server: { readonly host: string; readonly port: number },
    private readonly on: { answer(r: Resolved): void; failure(e: unknown): void },
  ) {}

  async addresses(): Promise<readonly string[]> {
    if (isIPv4(this.name)) return [this.name];
    const { current } = this;
    if (current !== null && nowUs() < current.atUs + current.ttlS * 1e6) return current.addresses;
    this.asking ??= queryA(this.name, this.server).finally(() => {
      this.asking = null;
    });
    try {
      const found = await this.asking;
      if (this.current !== found) {
        this.current = found;
        this.on.answer(found);
      }
      return found.addresses;
    } catch (e) {
      this.on.failure(e);
      if (current === null) throw e;
      return current.addresses;
    }
  }
}
