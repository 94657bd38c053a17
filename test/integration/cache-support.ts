import assert from 'node:assert/strict';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createCacheWarmup, type CacheWarmup, type CacheWarmupOptions } from '@nxnw/migration/cache/warmup';
import memjs from 'memjs';
import { pick } from '../support/random.js';
import { startMemcached, type TestServer } from '../support/servers.js';

/** Milliseconds since 1970, so far ahead. */
export const within = (ms: number): number => Date.now() + ms;

/** A memcached of the test, with an unmodified client of the application on it. */
export interface Cache {
  readonly server: TestServer;
  readonly at: { readonly host: string; readonly port: number };
  readonly app: memjs.Client;
  stop(): Promise<void>;
}

/** memjs with item flags: it leaves them to the serializer; here the value's length is the flags. */
const withFlags: memjs.Serializer = {
  serialize(_opcode, value, extras) {
    const marked = Buffer.from(extras);
    if (marked.length === 8) marked.writeUInt32BE(value.length % 65536, 0);
    return { value, extras: marked };
  },
  deserialize: (_opcode, value, extras) => ({ value, extras }),
};

export function client(at: { host: string; port: number }): memjs.Client {
  return memjs.Client.create(`${at.host}:${at.port}`, {
    ...{ serializer: withFlags, retries: 0, timeout: 5 },
    logger: { log: () => undefined },
  });
}

export async function startCache(ip: string): Promise<Cache> {
  const server = await startMemcached({ ip });
  const at = { host: ip, port: server.port };
  const app = client(at);
  return {
    server,
    at,
    app,
    async stop() {
      app.close();
      await server.stop();
    },
  };
}

/** M1, M2 and a warm-up between them for each test of a suite; `net` is the first three parts of their addresses. */
export class WarmedPair {
  m1!: Cache;
  m2!: Cache;
  private relays: Relay[] = [];
  private warmup: CacheWarmup | undefined;

  constructor(private readonly net: string) {
    beforeEach(async () => {
      [this.m1, this.m2] = await Promise.all([startCache(`${net}.1`), startCache(`${net}.2`)]);
    });
    afterEach(async () => {
      await this.warmup?.close();
      this.warmup = undefined;
      await Promise.all(this.relays.splice(0).map((r) => r.close()));
      await Promise.all([this.m1.stop(), this.m2.stop()]);
    });
  }

  async begin(options: Partial<CacheWarmupOptions> = {}): Promise<CacheWarmup> {
    const w = createCacheWarmup({ source: this.m1.at, target: this.m2.at, timeoutMs: 2000, ...options });
    this.warmup = w;
    await w.start(within(10_000));
    return w;
  }

  async relayTo(cache: Cache): Promise<Relay> {
    const relay = await Relay.open(`${this.net}.3`, cache.at);
    this.relays.push(relay);
    return relay;
  }
}

/** What a key holds, read by a plain text client of the test's own: nothing of the code under test. */
export interface Held {
  readonly value: string;
  readonly flags: string;
  /** Seconds; -1 for ever. */
  readonly ttlS: number;
}

export class RawClient {
  private buffer = Buffer.alloc(0);
  private wake: () => void = () => undefined;

  private constructor(private readonly socket: Socket) {
    socket.on('data', (d: Buffer) => {
      this.buffer = Buffer.concat([this.buffer, d]);
      this.wake();
    });
  }

  static open(at: { host: string; port: number }): Promise<RawClient> {
    return new Promise((ok, fail) => {
      const socket = connect({ ...at, noDelay: true }, () => ok(new RawClient(socket)));
      socket.once('error', fail);
    });
  }

  /** Sends commands and one `mn`; answers all that came before `MN`. */
  async run(commands: Buffer | string): Promise<Buffer> {
    this.buffer = Buffer.alloc(0);
    this.socket.write(commands);
    this.socket.write('mn\r\n');
    const deadline = within(20_000);
    while (!this.buffer.subarray(-6).equals(Buffer.from('\r\nMN\r\n')) && this.buffer.toString('latin1') !== 'MN\r\n') {
      assert.ok(Date.now() < deadline, 'memcached did not answer the test in 20 s');
      await new Promise<void>((ok) => {
        const t = setTimeout(ok, 1000);
        this.wake = () => {
          clearTimeout(t);
          ok();
        };
      });
    }
    return this.buffer.subarray(0, -4);
  }

  async held(key: string): Promise<Held | null> {
    const answer = await this.run(`mg ${Buffer.from(key).toString('base64')} b v f t u\r\n`);
    const end = answer.indexOf('\r\n');
    const [kind, , ...flags] = answer.toString('latin1', 0, end).split(' ');
    if (kind !== 'VA') return null;
    const flag = (c: string) => flags.find((f) => f.startsWith(c))?.slice(1) ?? '';
    return { value: answer.toString('latin1', end + 2), flags: flag('f'), ttlS: Number(flag('t')) };
  }

  async stat(name: string): Promise<number> {
    const line = (await this.run('stats\r\n')).toString().match(new RegExp(`STAT ${name} (\\S+)`));
    return Number(line?.[1]);
  }

  close(): void {
    this.socket.destroy();
  }
}

/** The two servers hold the same under the keys: value, flags, remaining time within a second. */
export async function assertEqual(
  a: Cache,
  b: Cache,
  keys: Iterable<string>,
): Promise<{ held: number; absent: number }> {
  const [one, two] = await Promise.all([RawClient.open(a.at), RawClient.open(b.at)]);
  const seen = { held: 0, absent: 0 };
  for (const key of keys) {
    const [x, y] = await Promise.all([one.held(key), two.held(key)]);
    const what = `key ${JSON.stringify(key)}`;
    if (!x || !y) {
      // A key with a second or less to go may be gone on one side only.
      if ((x ?? y)?.ttlS === 0 || (x ?? y)?.ttlS === 1) continue;
      assert.deepEqual(y, x, what);
      seen.absent += 1;
      continue;
    }
    assert.ok(x.value === y.value, `${what}: values differ`);
    assert.equal(y.flags, x.flags, what);
    assert.ok(Math.abs(x.ttlS - y.ttlS) <= 1, `${what}: ${x.ttlS} s left on one, ${y.ttlS} s on the other`);
    seen.held += 1;
  }
  one.close();
  two.close();
  return seen;
}

const NASTY = [
  'with space',
  'new\nline',
  'tab\tand\rcr',
  'ümläut/ключ',
  'percent%20key',
  'null\0byte',
  '日本',
  'x'.repeat(240),
];

/** A seeded workload of every kind of write, as an application does it. Answers the keys it used. */
export async function workload(app: memjs.Client, random: () => number, operations: number): Promise<Set<string>> {
  const keys = new Set<string>();
  const key = (): string => {
    const k = random() < 0.1 ? pick(random, ['nasty', ...NASTY]) : `k${Math.floor(random() * 400)}`;
    keys.add(k);
    return k;
  };
  const value = (): Buffer => {
    const long = random() < 0.005;
    const size = long ? 1_000_000 + Math.floor(random() * 40_000) : Math.floor(random() * 2000);
    return Buffer.alloc(size, String.fromCharCode(97 + Math.floor(random() * 26)));
  };
  const expires = () => pick(random, [0, 0, 1, 2, 600, 29 * 86_400, Math.floor(Date.now() / 1000) + 60 * 86_400]);
  for (let done = 0; done < operations;) {
    const batch = Array.from({ length: Math.min(8, operations - done) }, (): Promise<unknown> => {
      const k = key();
      const dice = random();
      if (dice < 0.35) return app.set(k, value(), { expires: expires() });
      if (dice < 0.45) return app.add(k, value(), { expires: expires() });
      if (dice < 0.55) return app.replace(k, value(), { expires: expires() });
      if (dice < 0.65) return app.delete(k);
      if (dice < 0.75) {
        const counter = `n${Math.floor(random() * 20)}`;
        keys.add(counter);
        return app.increment(counter, 3, { initial: 5, expires: 0 });
      }
      if (dice < 0.82) return app.touch(k, expires());
      if (dice < 0.821) return app.flush();
      return app.get(k);
    });
    done += batch.length;
    await Promise.all(batch);
  }
  return keys;
}

/** One relayed connection. */
interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  /** What the client sent while held; null when it passes. */
  held: Buffer[] | null;
}

/** A TCP relay in front of a server. What a connection has sent can be kept back, as a slow network does. */
export class Relay {
  private readonly pairs = new Set<Pair>();
  private stalled = false;

  private constructor(
    private readonly listener: Server,
    readonly at: { readonly host: string; readonly port: number },
    private readonly to: { readonly host: string; readonly port: number },
  ) {
    listener.on('connection', (client) => this.join(client));
  }

  static async open(host: string, to: { host: string; port: number }): Promise<Relay> {
    const listener = createServer();
    await new Promise<void>((ok) => listener.listen(0, host, () => ok()));
    const address = listener.address();
    assert.ok(address !== null && typeof address === 'object');
    return new Relay(listener, { host, port: address.port }, to);
  }

  private join(client: Socket): void {
    const server = connect({ ...this.to, noDelay: true });
    const pair: Pair = { client, server, held: null };
    this.pairs.add(pair);
    client.on('data', (bytes: Buffer) => {
      if (pair.held) pair.held.push(bytes);
      else server.write(bytes);
    });
    server.on('data', (bytes: Buffer) => client.write(bytes));
    if (this.stalled) server.pause();
    client.on('error', () => undefined);
    server.on('error', () => client.destroy());
    client.on('close', () => {
      // What is held lies in the network still: the server's end stays open until it is delivered.
      if (!pair.held) server.end();
    });
    server.on('close', () => {
      client.destroy();
      this.pairs.delete(pair);
    });
  }

  /** From now on what the present connections send stays on its way; new ones pass. */
  hold(): void {
    for (const p of this.pairs) p.held ??= [];
  }

  get held(): string {
    return Buffer.concat([...this.pairs].flatMap((p) => p.held ?? [])).toString('latin1');
  }

  /** Delivers what was held, also of connections that their clients have given up. */
  deliver(): void {
    for (const p of this.pairs) {
      for (const bytes of p.held ?? []) p.server.write(bytes);
      p.held = null;
      if (p.client.destroyed) p.server.end();
    }
  }

  /** Stops reading from the server; its buffers fill. */
  stall(): void {
    this.stalled = true;
    for (const p of this.pairs) p.server.pause();
  }

  unstall(): void {
    this.stalled = false;
    for (const p of this.pairs) p.server.resume();
  }

  /** Breaks every connection. */
  cut(): void {
    for (const p of this.pairs) {
      p.client.destroy();
      p.server.destroy();
    }
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((ok) => this.listener.close(() => ok()));
  }
}
