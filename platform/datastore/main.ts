import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import pino from 'pino';
import { Registry, collectDefaultMetrics } from 'prom-client';
import { datastoreConfigSchema } from '../agent/datastore-config.js';
import type { DatastoreConfig } from '../agent/datastore-config.js';
import { NxnwError, asError } from '../errors.js';
import { armFaults } from '../fault-env.js';
import { ZooKeeper } from '../locks/client.js';
import { ShardProcess } from '../shards/process.js';
import { openStore } from '../stores/index.js';
import { addHealth } from '../wire/health.js';
import { RpcServer } from '../wire/rpc.js';
import type { TlsMaterial } from '../wire/rpc.js';
import type { Method } from './api.js';
import { createDoor } from './door.js';
import type { Door } from './door.js';
import type { HomeForwarder } from './homes.js';
import { indexer } from './indexes.js';
import { doorMetrics } from './metrics.js';
import { naming } from './naming.js';
import { queryEngine } from './query/engine.js';
import { shardMetrics } from './shard-metrics.js';
import type { TransactionHome } from './tokens.js';

const SESSION_MS = 6000;
/** Longest time to stop in; the agent waits 15 s. */
const CLOSE_MS = 12_000;
/** For requests that its doors had taken, and then for transactions that it keeps. */
const DOOR_MS = 2000;
const DRAIN_MS = 2000;
const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime });

interface ForwardedCall {
  readonly home: TransactionHome;
  readonly method: Method;
  readonly app: string;
  readonly request: Buffer;
  readonly deadlineMs: number;
}

function readConfig(): DatastoreConfig {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (!values.config) throw new NxnwError('USAGE', 'usage: node platform/dist/datastore/main.js --config FILE');
  const parsed = datastoreConfigSchema.safeParse(JSON.parse(readFileSync(values.config, 'utf8')));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
  throw new NxnwError('BAD_CONFIG', `wrong datastore configuration ${values.config}: ${faults.join('; ')}`, { faults });
}

function readTls(paths: { ca: string; cert: string; key: string }): TlsMaterial {
  const read = (p: string) => readFileSync(p, 'utf8');
  return { ca: read(paths.ca), cert: read(paths.cert), key: read(paths.key) };
}

/** Requests of a transaction go to the process that keeps it: of this platform, or over the join to the other one. */
class Homes {
  readonly doors = new Map<string, Door>();

  constructor(
    private readonly shards: ShardProcess,
    private readonly boot: string,
  ) {}

  forwarder(app: string): HomeForwarder {
    return {
      forward: async (home, method, request, deadlineMs) => {
        const call: ForwardedCall = { home, method, app, request, deadlineMs };
        if (home.platform === this.shards.platform) return this.within(call);
        const peer = this.shards.peer;
        if (!peer || peer.platform !== home.platform)
          throw new NxnwError('HOME_GONE', `platform ${home.platform} is not joined any more`);
        let last: Error | null = null;
        for (const endpoint of peer.endpoints()) {
          try {
            return await peer.ask<Buffer>(endpoint, 'home.forward', call, deadlineMs);
          } catch (e) {
            if (!(e instanceof NxnwError) || e.code !== 'UNAVAILABLE') throw e;
            last = e;
          }
        }
        throw new NxnwError(
          'UNAVAILABLE',
          `the transaction's process ${home.process} of platform ${home.platform} cannot be reached`,
          {},
          last ?? undefined,
        );
      },
    };
  }

  /** To the home on this platform. */
  private within(call: ForwardedCall): Promise<Buffer> {
    const { home } = call;
    if (home.process === this.shards.o.process) return this.answer(call);
    const member = this.shards.locks.members().get(home.process);
    if (!member || member.boot !== home.boot)
      throw new NxnwError('HOME_GONE', `process ${home.process} that kept the transaction has ended`);
    return this.shards.callMember<Buffer>(member.endpoint, 'home.forward', call, call.deadlineMs);
  }

  /** What another process forwarded: for this one, or one hop on within the platform. */
  receive(body: unknown): Promise<Buffer> {
    // from our own processes only, in this shape
    return this.within(body as ForwardedCall);
  }

  private answer({ home, app, method, request, deadlineMs }: ForwardedCall): Promise<Buffer> {
    const door = this.doors.get(app);
    if (!door || home.boot !== this.boot)
      throw new NxnwError('HOME_GONE', `process ${home.process} was started anew and keeps the transaction no more`);
    return door.handleForwarded(method, request, deadlineMs);
  }
}

async function serveMetrics(host: string, port: number, registry: Registry): Promise<() => void> {
  const server = createServer((req, res) => {
    if (req.url !== '/metrics') return void res.writeHead(404).end();
    registry.metrics().then(
      (text) => res.writeHead(200, { 'content-type': registry.contentType }).end(text),
      (e: unknown) => res.writeHead(500).end(asError(e).message),
    );
  });
  await new Promise<void>((ok, fail) => {
    server.once('error', fail);
    server.listen(port, host, ok);
  });
  return () => server.close();
}

async function main(): Promise<void> {
  armFaults(process.env['NXNW_FAULT']);
  const config = readConfig();
  const boot = randomBytes(8).toString('hex');
  const tls = readTls(config.tls);
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const state = { ready: false, detail: 'starting' };
  const server = new RpcServer();
  addHealth(server, () => state);
  const { store: storeConfig } = config;
  const store = await openStore(
    storeConfig.kind === 'cassandra' ? { ...storeConfig, contactPoints: storeConfig.contactPoints } : storeConfig,
  );
  const zk = await ZooKeeper.connect({ servers: config.locks.servers.join(','), sessionTimeoutMs: SESSION_MS });
  const shards = await ShardProcess.start({
    platform: config.platformId,
    process: config.processId,
    boot,
    endpoint: config.advertise,
    zk,
    store,
    tls,
    indexer,
    engine: queryEngine,
    naming,
    apps: config.apps,
    ...(config.historyMs === undefined ? {} : { historyMs: config.historyMs }),
    log: (event, fields) => log.info(fields, event),
  });
  shardMetrics(registry, shards);
  const homes = new Homes(shards, boot);
  server.add('home', { unary: { forward: (body) => homes.receive(body) } });
  shards.extra.set('home.forward', (body) => homes.receive(body));
  shards.serve(server);
  await server.listen(`${config.peer.host}:${config.peer.port}`, tls);
  if (config.join) {
    const endpoints = config.join.endpoints.map((e) => `${e.host}:${e.port}`);
    const { platformId: platform, via } = config.join;
    shards.join({ platform, endpoints, ...(via === undefined ? {} : { via }), tls: readTls(config.join.tls) });
  }
  const metrics = doorMetrics(registry);
  const logger = { warn: log.warn.bind(log), error: log.error.bind(log) };
  for (const app of config.apps) {
    // one table of transactions for all doors of an application
    const door = createDoor({
      projectId: app.id,
      client: shards.router,
      forwarder: homes.forwarder(app.id),
      platform: config.platformId,
      processId: config.processId,
      boot,
      clock: { nowUs: () => Math.floor(shards.nowMs() * 1000) },
      logger,
      metrics: metrics(app.id),
    });
    homes.doors.set(app.id, door);
    for (const d of app.doors) await door.listen(`${d.host}:${d.port}`);
  }
  const closeMetrics =
    config.metricsPort === undefined
      ? () => undefined
      : await serveMetrics(config.peer.host, config.metricsPort, registry);
  state.ready = true;
  state.detail = `serving ${config.apps.map((a) => a.id).join(', ')}`;
  mkdirSync(dirname(config.healthFile), { recursive: true });
  writeFileSync(config.healthFile, `ready ${process.pid}\n`);
  log.info({ process: config.processId, endpoint: config.advertise }, 'datastore.ready');

  let stopping = false;
  const stop = (signal: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'datastore.stopping');
    setTimeout(() => process.exit(1), CLOSE_MS).unref();
    (async () => {
      const doors = [...homes.doors.values()];
      await Promise.all(doors.map((d) => d.close(DOOR_MS)));
      // its transactions go on through the doors of others, and end here
      await Promise.all(doors.map((d) => d.drain(DRAIN_MS)));
      await shards.close();
      await server.close(500);
      closeMetrics();
      await zk.close();
      await store.close();
      process.exit(0);
    })().catch((e: unknown) => {
      log.error({ err: asError(e) }, 'datastore.stopFailed');
      process.exit(1);
    });
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
}

main().catch((e: unknown) => {
  log.fatal({ err: asError(e) }, 'datastore.failed');
  process.exit(1);
});
