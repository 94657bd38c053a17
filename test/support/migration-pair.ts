import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Resolver } from 'node:dns/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import { createLocalMachine, destroyLocalMachine } from '@nxnw/platform/agent/local';
import type { RoleSpecInput } from '@nxnw/platform/agent/spec';
import { packBundle } from '@nxnw/platform/apps/bundle';
import { issueCertificate } from '@nxnw/platform/wire/ca';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
import { CoordinatorClient } from '@nxnw/migration/coordinator/api';
import type { CoordinatorConfig } from '@nxnw/migration/coordinator/config';
import type { JoinBundle } from '@nxnw/migration/coordinator/join';
import { tinyApp } from './agents.js';
import { joinPlatforms, startPlatform } from './platforms.js';
import type { TestPlatform } from './platforms.js';

export const APP = 'shop';
export const SHARDS = 4;
const EDGE_PORT = 8080;
const COORDINATOR_PORT = 7450;
const DNS_PORT = 5300;
const JOIN_PORT = 7460;
/** N1's door to N2's edge. */
const REVERSE_PORT = 7472;
/** N2's first door to N1: the one to its edge. */
const DOOR_PORT = 25_000;
export const NAME = 'www.shop.test';
const DNS_KEY = { keyName: 'nxnw', keySecret: Buffer.alloc(32, 7).toString('base64') };
const MAIN = resolve(__dirname, '../../../migration/dist/coordinator/main.js');

/** One side: its data in the test's process, its applications, cache and edge on a real machine with an agent. */
interface Half {
  readonly platform: TestPlatform;
  readonly host: string;
  readonly dir: string;
  readonly agent: AgentClient;
  readonly operator: TlsMaterial;
  readonly roles: readonly RoleSpecInput[];
}

/** N2's ways to N1: to its edge first. */
function doors(blue: Half, green: Half): { to: string; listen: { host: string; port: number } }[] {
  const { host, platform } = blue;
  const to = [`${host}:${EDGE_PORT}`, `${host}:7400`, `${platform.zookeeper.ip}:2181`, `${host}:11211`];
  return to.map((t, i) => ({ to: t, listen: { host: green.host, port: DOOR_PORT + i } }));
}

/** Everything but the data, which lies in the test's process, goes through the one port. */
async function joinPort(blue: Half, green: Half, tls: TlsMaterial): Promise<void> {
  const forwards = doors(blue, green);
  const gateway: RoleSpecInput = {
    kind: 'join',
    id: 'join',
    listen: { host: blue.host, port: JOIN_PORT },
    status: { host: blue.host, port: 7470 },
    allow: forwards.map((f) => f.to),
    reverse: [{ target: 'edge-1', listen: { host: blue.host, port: REVERSE_PORT } }],
  };
  const client: RoleSpecInput = {
    kind: 'join-client',
    id: 'join-client',
    gateways: [{ machine: 'm', endpoint: gateway.listen }],
    tls,
    status: { host: green.host, port: 7471 },
    forwards,
    reverse: { target: 'edge-1', to: { host: green.host, port: EDGE_PORT } },
  };
  await blue.agent.converge([...blue.roles, gateway], Date.now() + 30_000);
  await green.agent.converge([...green.roles, client], Date.now() + 30_000);
}

/**
 * Two platforms side by side, N1 (`blue`) and N2 (`green`), with everything real but the datastore's door: ZooKeeper,
 * LMDB and shards, agents, memcached, HAProxy, instances of a tiny application; and N2's coordinator, a process of its
 * own that may be killed at any time.
 */
export class MigrationPair {
  private child: ChildProcess | null = null;
  readonly dir = mkdtempSync(join(tmpdir(), 'nxnw-pair-'));

  private constructor(
    readonly blue: Half,
    readonly green: Half,
    private readonly bundle: string,
    private readonly joinTls: TlsMaterial,
    private readonly coordinatorTls: TlsMaterial,
  ) {}

  /** Networks of the two, the first three parts of their addresses: `127.37.1`, `127.37.2`. */
  static async create(blueNetwork: string, greenNetwork: string): Promise<MigrationPair> {
    const bundle = packBundle(tinyApp());
    const peer = [{ host: `${greenNetwork}.11`, port: DOOR_PORT }];
    const [blue, green] = await Promise.all([
      half('blue', blueNetwork, 'self', bundle, []),
      half('green', greenNetwork, 'peer', bundle, peer),
    ]);
    await joinPlatforms(blue.platform, green.platform);
    const joinTls = await issueCertificate(blue.platform.authority, { name: 'coordinator-join', hosts: [] });
    await joinPort(blue, green, joinTls);
    return new MigrationPair(
      blue,
      green,
      bundle.digest,
      joinTls,
      await issueCertificate(green.platform.authority, { name: 'coordinator', hosts: [green.host] }),
    );
  }

  join(): JoinBundle {
    const { blue } = this;
    return {
      format: 2,
      platformId: 'blue',
      version: '0.1.0',
      protocols: [1],
      capabilities: [],
      gateways: [
        {
          machine: 'm',
          endpoint: `${blue.host}:${JOIN_PORT}`,
          reverse: [`${blue.host}:${REVERSE_PORT}`],
        },
      ],
      agents: [{ machine: 'm', endpoint: `${blue.host}:7400`, roles: ['app', 'edge'] }],
      datastore: blue.platform.endpoints.map((endpoint, i) => ({ process: `blue-ds-${i}`, endpoint })),
      zookeeper: [`${blue.platform.zookeeper.ip}:2181`],
      memcached: { [APP]: [`${blue.host}:11211`] },
      apps: [
        {
          id: APP,
          shards: SHARDS,
          bundle: this.bundle,
          instances: 1,
          health: '/healthz',
          env: {},
          domains: ['shop.test'],
          roles: [{ machine: 'm', role: 'app' }],
        },
      ],
      edges: [
        {
          machine: 'm',
          role: 'edge',
          address: blue.host,
          endpoint: `${blue.host}:${EDGE_PORT}`,
          httpPort: EDGE_PORT,
          httpsPort: null,
        },
      ],
      dns: { zone: 'shop.test', name: NAME, addresses: [blue.host], ttlSeconds: 1 },
      tls: this.joinTls,
      expiresAtMs: Date.now() + 3_600_000,
    };
  }

  /** Starts N2's coordinator and waits until it answers. Its log is `coordinator.log` in `dir`. */
  async startCoordinator(): Promise<void> {
    const { green } = this;
    const path = (name: string): string => join(this.dir, name);
    for (const [name, text] of Object.entries(this.coordinatorTls)) writeFileSync(path(`${name}.pem`), String(text));
    const config: CoordinatorConfig = {
      platformId: 'green',
      version: '0.1.0',
      dataDir: path('data'),
      locks: { servers: [`${green.platform.zookeeper.ip}:2181`] },
      doors: Object.fromEntries(doors(this.blue, green).map((d) => [d.to, `${d.listen.host}:${d.listen.port}`])),
      agents: [{ machine: 'm', endpoint: `${green.host}:7400` }],
      datastore: green.platform.endpoints.map((endpoint, i) => ({ process: `green-ds-${i}`, endpoint })),
      memcached: { [APP]: [`${green.host}:11211`] },
      apps: [{ id: APP, shards: SHARDS, bundle: this.bundle, roles: [{ machine: 'm', role: 'app' }] }],
      edges: [{ machine: 'm', role: 'edge', address: green.host, httpPort: EDGE_PORT, https: false }],
      dns: {
        driver: 'rfc2136',
        zone: 'shop.test',
        name: NAME,
        ttlSeconds: 1,
        restoreTtlSeconds: 60,
        rfc2136: { server: `${this.blue.host}:${DNS_PORT}`, ...DNS_KEY },
      },
      diskPaths: [this.dir],
      verifyEveryMs: 500,
      sessionTimeoutMs: 4000,
      listen: { host: green.host, port: COORDINATOR_PORT },
      tls: { ca: path('ca.pem'), cert: path('cert.pem'), key: path('key.pem') },
    };
    mkdirSync(config.dataDir, { recursive: true });
    writeFileSync(path('coordinator.json'), JSON.stringify(config));
    const child = spawn(process.execPath, ['--enable-source-maps', MAIN, '--config', path('coordinator.json')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let ready: () => void = () => undefined;
    const isReady = new Promise<void>((ok) => (ready = ok));
    const note = (chunk: Buffer): void => {
      appendFileSync(path('coordinator.log'), chunk);
      if (chunk.toString().includes('"coordinator.ready"')) ready();
    };
    child.stdout.on('data', note);
    child.stderr.on('data', note);
    this.child = child;
    const ended = once(child, 'exit').then(() => {
      throw new Error(`the coordinator ended; see ${path('coordinator.log')}`);
    });
    await Promise.race([isReady, ended, timeout(20_000, 'the coordinator is not ready')]);
    ended.catch(() => undefined);
  }

  /** As a power cut: nothing is told to anybody. */
  async killCoordinator(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child === null || child.exitCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }

  get coordinatorTarget(): string {
    return `${this.green.host}:${COORDINATOR_PORT}`;
  }

  client(): CoordinatorClient {
    return new CoordinatorClient(this.coordinatorTarget, this.green.operator);
  }

  /** What the zone's server says that the clients' name leads to. */
  async addressOfName(): Promise<{ address: string; ttl: number }[]> {
    const resolver = new Resolver({ timeout: 2000, tries: 2 });
    resolver.setServers([`${this.blue.host}:${DNS_PORT}`]);
    return resolver.resolve4(NAME, { ttl: true });
  }

  /** One request through N1's edge, on a connection of its own; answers the instance's address, or throws. */
  async request(): Promise<string> {
    const { host } = this.blue;
    const r = get({ host, port: EDGE_PORT, path: '/', headers: { host: 'shop.test' }, agent: false, timeout: 5000 });
    const response = await new Promise<import('node:http').IncomingMessage>((ok, fail) => {
      r.on('response', ok);
      r.on('error', fail);
      r.on('timeout', () => r.destroy(new Error('no answer in 5 s')));
    });
    let body = '';
    for await (const d of response) body += String(d);
    if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${body.slice(0, 200)}`);
    const { env } = JSON.parse(body) as { env: Record<string, string> };
    return env['HOST'] ?? '';
  }

  async stop(): Promise<void> {
    await this.killCoordinator();
    for (const h of [this.green, this.blue]) {
      for (const hold of (await h.agent.status()).holds) await h.agent.release(hold.name);
      h.agent.close();
      await destroyLocalMachine({ dir: h.dir });
      rmSync(h.dir, { recursive: true, force: true });
      await h.platform.stop();
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

async function half(
  id: 'blue' | 'green',
  network: string,
  origin: 'self' | 'peer',
  bundle: { digest: string; archive: Buffer },
  peer: { host: string; port: number }[],
): Promise<Half> {
  const ip = `${network}.1`;
  const host = `${network}.11`;
  const platform = await startPlatform({ id, ip, processes: 1, app: APP, shards: SHARDS, origin });
  const dir = mkdtempSync(join(tmpdir(), `nxnw-${id}-machine-`));
  const tls = await issueCertificate(platform.authority, { name: 'm', hosts: [host] });
  const operator = await issueCertificate(platform.authority, { name: 'operator', hosts: [] });
  const info = await createLocalMachine({ dir, platformId: id, machine: 'm', address: host, tls });
  const agent = new AgentClient(info.target, operator);
  await agent.upload(bundle.digest, bundle.archive);
  const instances = [{ host, port: 9100 }];
  const roles: RoleSpecInput[] = [
    { kind: 'cache', id: 'cache', app: APP, host, memoryMiB: 16 },
    { kind: 'app', id: 'app', app: APP, bundle: bundle.digest, instances, serving: id === 'blue' },
    {
      kind: 'edge',
      id: 'edge',
      http: { host, port: EDGE_PORT },
      apps: [{ app: APP, domains: ['shop.test'], servers: instances }],
      peer,
    },
  ];
  if (id === 'blue')
    roles.push({
      kind: 'dns',
      id: 'dns',
      host,
      port: DNS_PORT,
      zone: 'shop.test',
      ttlSeconds: 2,
      ...DNS_KEY,
      allow: ['127.0.0.0/8'],
      records: { www: [host] },
    });
  await agent.converge(roles, Date.now() + 30_000);
  return { platform, host, dir, agent, operator, roles };
}

function timeout(ms: number, what: string): Promise<never> {
  return new Promise((_, fail) => setTimeout(() => fail(new Error(`${what} within ${ms} ms`)), ms).unref());
}
