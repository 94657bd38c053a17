import { readFileSync } from 'node:fs';
import path from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import { NxnwError } from '@nxnw/platform/errors';
import { RemoteShardControl } from '@nxnw/platform/shards/control-client';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
import { setServing, standbyState } from '../../apps/index.js';
import { openDnsHandoff } from '../../cutover/settings.js';
import type { AppSide } from '../../apps/index.js';
import type { Side } from '../api.js';
import type { CoordinatorConfig } from '../config.js';
import type { JoinBundle } from '../join.js';
import type { AppsPort, Engines } from '../ports.js';
import { Caches } from './cache.js';
import { Edges } from './edge.js';
import { LockTrees } from './locks.js';
import { Source } from './source.js';

export type Log = (event: string, fields: Readonly<Record<string, unknown>>) => void;

/** The real engines: data by N2's datastore processes, locks and caches in this process, the rest by the agents. */
export function openEngines(config: CoordinatorConfig, join: JoinBundle, log: Log): Promise<Engines> {
  const own = readTls(config);
  const door = (endpoint: string): string => doorTo(config, endpoint);
  const agents = {
    source: new Map(join.agents.map((a) => [a.machine, new AgentClient(door(a.endpoint), join.tls)])),
    target: new Map(config.agents.map((a) => [a.machine, new AgentClient(a.endpoint, own)])),
  };
  const data = new RemoteShardControl(
    config.datastore.map((d) => d.endpoint),
    own,
  );
  const locks = new LockTrees(
    { source: join.zookeeper.map(door), target: config.locks.servers },
    `${config.platformId}-coordinator`,
    log,
  );
  const memcached = Object.fromEntries(Object.entries(join.memcached).map(([app, list]) => [app, list.map(door)]));
  const cache = new Caches({ source: memcached, target: config.memcached }, (e) => log(e.event, e.fields));
  const edge = new Edges({
    source: { agents: agents.source, edges: join.edges.map((e) => ({ ...e, https: e.httpsPort !== null })) },
    target: { agents: agents.target, edges: config.edges },
    doors: join.gateways.map((g) => g.reverse),
  });
  const source = new Source({
    join,
    zookeeper: join.zookeeper.map(door),
    target: config.platformId,
    sourceAgents: agents.source,
    targetAgents: agents.target,
    diskPaths: config.diskPaths,
    now: Date.now,
  });
  const addresses = { source: join.edges.map((e) => e.address), target: config.edges.map((e) => e.address) };
  const noteFile = path.join(config.dataDir, 'dns-ttl.json');
  const dns = config.dns === undefined ? null : openDnsHandoff(config.dns, addresses, noteFile);
  return Promise.resolve({
    data,
    locks,
    cache,
    apps: appsPort(config, join, agents),
    edge,
    dns,
    source,
    async close() {
      await Promise.all([locks.stop(), cache.stop()]);
      data.close();
      dns?.close();
      for (const side of [agents.source, agents.target]) for (const a of side.values()) a.close();
    },
  });
}

/** Where an endpoint of the source is reached from here. */
function doorTo(config: CoordinatorConfig, endpoint: string): string {
  const door = config.doors[endpoint];
  if (door !== undefined) return door;
  throw new NxnwError(
    'BAD_JOIN',
    `the join bundle names ${endpoint}, which this platform has no way to; run \`nxnw up\`, which makes one`,
    { endpoint },
  );
}

function appsPort(
  config: CoordinatorConfig,
  join: JoinBundle,
  agents: Readonly<Record<Side, ReadonlyMap<string, AgentClient>>>,
): AppsPort {
  const sideOf = (side: Side, app: string): AppSide => {
    const apps: readonly (AppSide & { id: string })[] = side === 'source' ? join.apps : config.apps;
    return apps.find((a) => a.id === app) ?? { bundle: '', roles: [] };
  };
  return {
    sync: (app) => standbyState(sideOf('source', app), sideOf('target', app), agents.target),
    setServing: (side, app, serving) => setServing(sideOf(side, app), agents[side], serving),
  };
}

export function readTls(config: CoordinatorConfig): TlsMaterial {
  const read = (file: string): string => readFileSync(file, 'utf8');
  return { ca: read(config.tls.ca), cert: read(config.tls.cert), key: read(config.tls.key) };
}
