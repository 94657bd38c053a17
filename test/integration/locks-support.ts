import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError } from '@nxnw/platform/errors';
import { ZooKeeper, nextSequence } from '@nxnw/platform/locks/client';
import type { Acl, ZooKeeperOptions } from '@nxnw/platform/locks/client';
import { createLockSync } from '@nxnw/migration/locks/sync';
import type { LockSync, LockSyncOptions } from '@nxnw/migration/locks/sync';
import { startZooKeeper } from '../support/servers.js';
import type { TestServer } from '../support/servers.js';

const DIGEST = createHash('sha1').update('super:secret').digest('base64');

/** Credentials that may read and write every node of the servers of `startLocks`. */
export const SUPER = [{ scheme: 'digest', auth: Buffer.from('super:secret') }];

/** A user with a password, and what everybody may do beside. */
export const BOB: readonly Acl[] = [
  { perms: 31, scheme: 'digest', id: 'bob:ZZbHZqHGrNpNzDyDqe0gKuSFJ+A=' },
  { perms: 1, scheme: 'world', id: 'anyone' },
];

export function startLocks(ip: string): Promise<TestServer> {
  const jvm = ['-Xmx512m', `-Dzookeeper.DigestAuthenticationProvider.superDigest=super:${DIGEST}`];
  return startZooKeeper({ ip, jvm });
}

export function superOf(server: { ip: string; port: number }): ZooKeeperOptions {
  return { servers: `${server.ip}:${server.port}`, auth: SUPER };
}

/** Waits for a condition, at most `ms`. */
export async function eventually(what: string, done: () => Promise<boolean> | boolean, ms = 10_000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await done())) {
    if (Date.now() > end) throw new NxnwError('TIMEOUT', `not within ${ms} ms: ${what}`);
    await delay(20);
  }
}

/** A sync of `/apps/shop` whose errors are kept; connection errors are expected where a test makes them. */
export async function startSync(
  source: ZooKeeperOptions,
  target: ZooKeeperOptions,
  o: Partial<LockSyncOptions> = {},
): Promise<{ sync: LockSync; errors: NxnwError[] }> {
  const errors: NxnwError[] = [];
  const sync = await createLockSync({
    source,
    target,
    name: 'shop',
    paths: ['/apps/shop'],
    holder: 'test',
    failed: (e) => errors.push(e),
    ...o,
  });
  return { sync, errors };
}

/** Removes what tests leave, so that each begins with empty trees. */
export async function emptyTrees(...trees: readonly ZooKeeper[]): Promise<void> {
  for (const zk of trees) for (const path of ['/apps', '/nxnw']) await zk.removeRecursive(path);
}

export const text = async (zk: ZooKeeper, path: string): Promise<string | undefined> =>
  (await zk.tryGet(path))?.data?.toString();

export const assertEqual = async (sync: LockSync): Promise<void> =>
  assert.deepEqual((await sync.verify()).differences, []);

/** Two servers with a client each, and the syncs between them that a test starts. */
export class LockPair {
  private readonly syncs: LockSync[] = [];
  private opened: { n1: TestServer; n2: TestServer; a: ZooKeeper; b: ZooKeeper } | null = null;

  constructor(
    private readonly ip1: string,
    private readonly ip2: string,
  ) {}

  async open(): Promise<{ n1: TestServer; n2: TestServer; a: ZooKeeper; b: ZooKeeper }> {
    const [n1, n2] = await Promise.all([startLocks(this.ip1), startLocks(this.ip2)]);
    const [a, b] = await Promise.all([ZooKeeper.connect(superOf(n1)), ZooKeeper.connect(superOf(n2))]);
    return (this.opened = { n1, n2, a, b });
  }

  private get all(): { n1: TestServer; n2: TestServer; a: ZooKeeper; b: ZooKeeper } {
    assert.ok(this.opened, 'open the pair first');
    return this.opened;
  }

  readonly start = async (o: Partial<LockSyncOptions> = {}): ReturnType<typeof startSync> => {
    const { n1, n2 } = this.all;
    const started = await startSync(o.source ?? superOf(n1), o.target ?? superOf(n2), o);
    this.syncs.push(started.sync);
    return started;
  };

  /** The number that the node's next sequential child gets; null without the node. */
  readonly next = async (zk: ZooKeeper, path: string): Promise<number | null> => {
    const stat = await zk.exists(path);
    return stat ? nextSequence(stat) : null;
  };

  /** After each test. */
  async empty(): Promise<void> {
    for (const s of this.syncs.splice(0)) await s.stop();
    await emptyTrees(this.all.a, this.all.b);
  }

  async close(): Promise<void> {
    const { n1, n2, a, b } = this.all;
    await Promise.all([a.close(), b.close()]);
    await Promise.all([n1.stop(), n2.stop()]);
  }
}

/** A TCP relay that can be cut (connections closed, new ones refused) or stalled (nothing passes, nothing closes). */
export class Relay {
  private readonly sockets = new Set<Socket>();
  private server: Server;
  private cut = false;
  private frozen = false;

  private constructor(
    private readonly to: { ip: string; port: number },
    private readonly ip: string,
  ) {
    this.server = createServer((socket) => this.pass(socket));
  }

  static async start(to: { ip: string; port: number }, ip: string): Promise<Relay> {
    const relay = new Relay(to, ip);
    await new Promise<void>((ok) => relay.server.listen(0, ip, ok));
    return relay;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get servers(): string {
    return `${this.ip}:${this.port}`;
  }

  private pass(client: Socket): void {
    if (this.cut) return void client.destroy();
    if (this.frozen) return void this.sockets.add(client.on('error', () => undefined));
    const server = connect({ host: this.to.ip, port: this.to.port });
    for (const [a, b] of [
      [client, server],
      [server, client],
    ] as const) {
      this.sockets.add(a);
      a.on('error', () => undefined);
      a.on('close', () => {
        this.sockets.delete(a);
        b.destroy();
      });
      a.pipe(b);
    }
  }

  /** Closes all connections and refuses new ones until `heal`. */
  break(): void {
    this.cut = true;
    for (const s of this.sockets) s.destroy();
  }

  stall(): void {
    for (const s of this.sockets) {
      s.unpipe();
      s.pause();
    }
  }

  /** Stalls, new connections too, until `heal`. */
  freeze(): void {
    this.frozen = true;
    this.stall();
  }

  heal(): void {
    this.cut = false;
    if (!this.frozen) return;
    this.frozen = false;
    for (const s of this.sockets) s.destroy();
  }

  async close(): Promise<void> {
    this.break();
    await new Promise<void>((ok) => this.server.close(() => ok()));
  }
}
