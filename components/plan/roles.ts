import { join, resolve } from 'node:path';
import type { z } from 'zod';
import type { coordinatorSettingsSchema } from '@nxnw/migration/coordinator/config';
import { endpointsOf } from '@nxnw/migration/coordinator/join';
import { homeDir } from '@nxnw/platform/agent/home';
import type { Endpoint, RoleSpecInput } from '@nxnw/platform/agent/spec';
import { MACHINE_DIR } from '../clouds/first-boot.js';
import { hostFolder } from '../clouds/hosts-script.js';
import type { AppSettings, PlatformSettings } from '../settings.js';
import { doorsOn, joinClientRole, joinRole, type Needs } from './join-roles.js';
import { DOOR_STRIDE, inGroup, instancePort, machinesOf, PORTS, type Machine } from './machines.js';

/** A machine with everything that it shall run. */
export interface MachinePlan extends Machine {
  readonly roles: readonly RoleSpecInput[];
}

/** A datastore process of the platform. */
export interface DatastoreProcess {
  readonly id: string;
  readonly machine: Machine;
  readonly peer: Endpoint;
  readonly metricsPort: number;
  /** From 0 among those of its machine. */
  readonly onMachine: number;
}

/** Id of the role that every edge machine has. */
export const EDGE_ROLE = 'edge';

const LOOPBACK = '127.0.0.1';
const at = (host: string, port: number): Endpoint => ({ host, port });
export const show = (e: Endpoint): string => `${e.host}:${String(e.port)}`;

/** Where a platform's parts are reached; everything else is made from this. */
export interface Topology {
  readonly machines: readonly Machine[];
  readonly data: readonly Machine[];
  readonly appMachines: readonly Machine[];
  readonly edges: readonly Machine[];
  readonly zookeeper: readonly string[];
  readonly processes: readonly DatastoreProcess[];
  /** The first data machine. */
  readonly first: Machine;
  /** Where the coordinator listens, on a platform that takes over from another. */
  readonly coordinator: Endpoint;
}

export function topologyOf(s: PlatformSettings): Topology {
  const machines = machinesOf(s);
  const data = inGroup(machines, 'data');
  const stores = data.slice(0, s.store.nodes);
  const processes = Array.from({ length: s.datastore.processes }, (_, i) => {
    const machine = stores[i % stores.length];
    if (machine === undefined) throw new Error('a platform has at least one store machine');
    const onMachine = Math.floor(i / stores.length);
    return {
      id: `datastore-${String(i + 1)}`,
      machine,
      peer: at(machine.host, PORTS.datastorePeer + onMachine),
      metricsPort: PORTS.datastoreMetrics + onMachine,
      onMachine,
    };
  });
  const first = data[0];
  if (first === undefined) throw new Error('a platform has at least one data machine');
  return {
    machines,
    first,
    data,
    appMachines: inGroup(machines, 'app'),
    edges: inGroup(machines, 'edge'),
    zookeeper: data.slice(0, s.locks.nodes).map((m) => `${m.host}:${String(PORTS.zookeeper)}`),
    processes,
    coordinator: at(first.host, PORTS.coordinator),
  };
}

/** What a platform that takes over may reach of this one: its join ports let it through to these and no others. */
export function reachOf(s: PlatformSettings, t: Topology) {
  return {
    agents: t.machines.map((m) => ({ machine: m.name, endpoint: agentOf(m) })),
    datastore: t.processes.map((p) => ({ process: p.id, endpoint: show(p.peer) })),
    zookeeper: [...t.zookeeper],
    memcached: Object.fromEntries(s.apps.map((a) => [a.id, memcachedOf(t, s, a).map(show)])),
    edges: t.edges.map((m) => ({ machine: m.name, address: m.host, endpoint: show(edgeOf(s, m)) })),
  };
}

function edgeOf(s: PlatformSettings, m: Machine): Endpoint {
  return at(m.host, s.edge.httpPort);
}

/** What a machine's roles need of the platform that this one takes over from. */
function needsOf(s: PlatformSettings, t: Topology, m: Machine): Needs {
  return {
    datastore: t.processes.some((p) => p.machine.name === m.name),
    coordinator: m.name === t.first.name,
    edge: m.group === 'edge' ? edgeOf(s, m) : undefined,
  };
}

/** Where the instances of an application are, by app machine. */
export function instancesOf(t: Topology, s: PlatformSettings, app: AppSettings, machine: Machine): Endpoint[] {
  const appIndex = s.apps.indexOf(app);
  const list: Endpoint[] = [];
  for (let i = 0; i < app.instances; i++)
    if (i % t.appMachines.length === machine.index)
      list.push(at(machine.host, instancePort(appIndex, Math.floor(i / t.appMachines.length))));
  return list;
}

export function memcachedOf(t: Topology, s: PlatformSettings, app: AppSettings): Endpoint[] {
  return t.appMachines.slice(0, s.cache.nodes).map((m) => at(m.host, PORTS.memcached + s.apps.indexOf(app)));
}

/**
 * The door by which the application's instances on `machine` reach the datastore: a relay on the machine's loopback (on
 * the local cloud, where machines share one, on its own address), which goes to a datastore process that accepts. So a
 * process that is restarted or removed is not missed, and no process knows of the app machines.
 */
export function doorOf(s: PlatformSettings, app: AppSettings, machine: Machine): Endpoint {
  return at(s.cloud.kind === 'local' ? machine.host : LOOPBACK, PORTS.door + s.apps.indexOf(app));
}

/** The door that a datastore process opens for an application: on its machine, as `doorOf`. */
function ownDoor(s: PlatformSettings, p: DatastoreProcess, app: AppSettings): Endpoint {
  return processDoor(s, p, app, s.cloud.kind === 'local' ? p.machine.host : LOOPBACK, PORTS.processDoor);
}

function processDoor(
  s: PlatformSettings,
  p: DatastoreProcess,
  app: AppSettings,
  host: string,
  first: number,
): Endpoint {
  return at(host, first + p.onMachine * DOOR_STRIDE + s.apps.indexOf(app));
}

/** Relays on a data machine: from its address, by TLS, to the doors of its datastore processes. */
function inwardRelays(s: PlatformSettings, t: Topology, m: Machine): RoleSpecInput[] {
  if (s.cloud.kind === 'local') return [];
  return t.processes
    .filter((p) => p.machine.name === m.name)
    .flatMap((p) =>
      s.apps.map((app) => ({
        kind: 'relay' as const,
        id: `door-${p.id}-${app.id}`,
        listen: processDoor(s, p, app, m.host, PORTS.relay),
        targets: [ownDoor(s, p, app)],
        tlsSide: 'listen' as const,
      })),
    );
}

/** The relay on an app machine: from its door to the datastore processes, those that it prefers first. */
function outwardRelay(s: PlatformSettings, t: Topology, app: AppSettings, m: Machine): RoleSpecInput {
  const local = s.cloud.kind === 'local';
  const doors = t.processes.map((p) =>
    local ? ownDoor(s, p, app) : processDoor(s, p, app, p.machine.host, PORTS.relay),
  );
  const first = m.index % doors.length;
  const targets = [...doors.slice(first), ...doors.slice(0, first)];
  const tlsSide = local ? 'none' : 'targets';
  return { kind: 'relay', id: `door-${app.id}`, listen: doorOf(s, app, m), targets, tlsSide };
}

/** Folder of a machine's agent, on that machine. */
export function machineDir(s: PlatformSettings, m: Machine): string {
  const { cloud } = s;
  if (cloud.local !== undefined && cloud.kind === 'local') return resolve(homeDir(), cloud.local.directory, m.name);
  return cloud.kind === 'hosts' && cloud.hosts !== undefined
    ? join(hostFolder(cloud.hosts, s.platformId), m.name)
    : MACHINE_DIR;
}

/** What every machine shall run. Pure: the same settings give the same specifications. */
export function planPlatform(s: PlatformSettings): readonly MachinePlan[] {
  const t = topologyOf(s);
  return t.machines.map((m) => ({ ...m, roles: rolesOf(s, t, m) }));
}

function rolesOf(s: PlatformSettings, t: Topology, m: Machine): RoleSpecInput[] {
  switch (m.group) {
    case 'data':
      return [
        ...locksRole(s, t, m),
        ...storeRole(s, t, m),
        ...datastoreRoles(s, t, m),
        ...inwardRelays(s, t, m),
        ...coordinatorRole(s, t, m),
        joinRole(s, m, endpointsOf(reachOf(s, t))),
        ...joinClientRole(s, m, needsOf(s, t, m)),
      ];
    case 'app':
      return s.apps.flatMap((app) => [...cacheRole(s, app, m), outwardRelay(s, t, app, m), ...appRole(s, t, app, m)]);
    case 'edge':
      return [edgeRole(s, t, m), ...joinClientRole(s, m, needsOf(s, t, m))];
  }
}

function locksRole(s: PlatformSettings, t: Topology, m: Machine): RoleSpecInput[] {
  if (m.index >= s.locks.nodes) return [];
  const members = t.data.slice(0, s.locks.nodes).map((d) => ({ memberId: d.index + 1, host: d.host }));
  return [
    {
      kind: 'locks',
      id: 'locks',
      host: m.host,
      ...(members.length > 1 ? { members, memberId: m.index + 1 } : {}),
    },
  ];
}

function storeRole(s: PlatformSettings, t: Topology, m: Machine): RoleSpecInput[] {
  if (m.index >= s.store.nodes) return [];
  if (s.store.kind === 'lmdb') return [{ kind: 'lmdb', id: 'store' }];
  const seed = t.data[0]?.host ?? m.host;
  return [{ kind: 'cassandra', id: 'store', host: m.host, clusterName: s.platformId, seeds: [seed] }];
}

function datastoreRoles(s: PlatformSettings, t: Topology, m: Machine): RoleSpecInput[] {
  const stores = t.data.slice(0, s.store.nodes);
  return t.processes
    .filter((p) => p.machine.name === m.name)
    .map((p) => ({
      kind: 'datastore',
      id: p.id,
      processId: p.id,
      peer: p.peer,
      locks: { servers: [...t.zookeeper] },
      store:
        s.store.kind === 'lmdb'
          ? { kind: 'lmdb', role: 'store' }
          : {
              kind: 'cassandra',
              contactPoints: stores.map((d) => `${d.host}:${String(PORTS.cql)}`),
              replication: s.store.replication,
            },
      apps: s.apps.map((app) => ({
        id: app.id,
        shards: app.shards,
        origin: isFromSource(s, app) ? 'peer' : 'self',
        doors: [ownDoor(s, p, app)],
      })),
      ...(s.source === undefined
        ? {}
        : {
            join: {
              platformId: s.source.platformId,
              endpoints: s.source.datastore.map((d) => endpointOf(d.endpoint)),
              via: shown(doorsOn(s, m, { datastore: true, coordinator: false, edge: undefined })),
              tls: s.source.tls,
            },
          }),
      metricsPort: p.metricsPort,
    }));
}

/** By endpoint of the other platform: where it is reached, host:port. */
function shown(doors: ReadonlyMap<string, Endpoint>): Record<string, string> {
  return Object.fromEntries([...doors].map(([to, door]) => [to, show(door)]));
}

/** Whether the application comes from the platform that this one takes over from. */
export function isFromSource(s: PlatformSettings, app: AppSettings): boolean {
  return s.source?.apps.some((a) => a.id === app.id) ?? false;
}

function endpointOf(text: string): Endpoint {
  const colon = text.lastIndexOf(':');
  return at(text.slice(0, colon), Number(text.slice(colon + 1)));
}

function cacheRole(s: PlatformSettings, app: AppSettings, m: Machine): RoleSpecInput[] {
  if (m.index >= (s.cache.nodes ?? s.appMachines)) return [];
  const port = PORTS.memcached + s.apps.indexOf(app);
  const { memoryMiB } = s.cache;
  return [{ kind: 'cache', id: `cache-${app.id}`, app: app.id, host: m.host, port, memoryMiB }];
}

function appRole(s: PlatformSettings, t: Topology, app: AppSettings, m: Machine): RoleSpecInput[] {
  const instances = instancesOf(t, s, app, m);
  if (instances.length === 0) return [];
  return [
    {
      kind: 'app',
      id: `app-${app.id}`,
      app: app.id,
      bundle: app.bundle,
      instances,
      health: app.health,
      env: { ...app.env },
      secrets: { ...app.secrets },
      datastore: doorOf(s, app, m),
      memcache: memcachedOf(t, s, app),
      locks: [...t.zookeeper],
      // On a platform that takes over, an application is in standby until its switch.
      serving: !isFromSource(s, app),
    },
  ];
}

function edgeRole(s: PlatformSettings, t: Topology, m: Machine): RoleSpecInput {
  const { certificate } = s.edge;
  return {
    kind: 'edge',
    id: EDGE_ROLE,
    http: edgeOf(s, m),
    ...(certificate === undefined
      ? {}
      : { https: { ...at(m.host, s.edge.httpsPort), certPem: certificate.certPem, keyPem: certificate.keyPem } }),
    apps: s.apps.map((app) => ({
      app: app.id,
      domains: [...app.domains],
      servers: t.appMachines.flatMap((a) => instancesOf(t, s, app, a)),
      health: app.health,
    })),
    peer: [...doorsOn(s, m, needsOf(s, t, m)).values()],
  };
}

function coordinatorRole(s: PlatformSettings, t: Topology, m: Machine): RoleSpecInput[] {
  if (s.source === undefined || m.name !== t.first.name) return [];
  return [{ kind: 'coordinator', id: 'coordinator', listen: t.coordinator, config: coordinatorConfig(s, t) }];
}

/** What the coordinator knows of its own platform; the source it learns from the join bundle. */
function coordinatorConfig(s: PlatformSettings, t: Topology): z.input<typeof coordinatorSettingsSchema> {
  const stores = t.data.slice(0, s.store.nodes);
  return {
    platformId: s.platformId,
    doors: shown(doorsOn(s, t.first, needsOf(s, t, t.first))),
    dataDir: join(machineDir(s, t.first), 'coordinator'),
    locks: { servers: [...t.zookeeper] },
    agents: t.machines.map((m) => ({ machine: m.name, endpoint: agentOf(m) })),
    datastore: t.processes.map((p) => ({ process: p.id, endpoint: show(p.peer) })),
    memcached: Object.fromEntries(s.apps.map((a) => [a.id, memcachedOf(t, s, a).map(show)])),
    apps: s.apps.map((a) => ({ id: a.id, shards: a.shards, bundle: a.bundle, roles: appRoles(t, s, a) })),
    edges: t.edges.map((m) => ({
      machine: m.name,
      role: 'edge',
      address: m.host,
      httpPort: s.edge.httpPort,
      https: s.edge.certificate !== undefined,
    })),
    ...(s.dns === undefined ? {} : { dns: s.dns }),
    diskPaths: stores.map((m) => machineDir(s, m)),
  };
}

/** The agent roles that run an application. */
export function appRoles(t: Topology, s: PlatformSettings, app: AppSettings): { machine: string; role: string }[] {
  return t.appMachines
    .filter((m) => instancesOf(t, s, app, m).length > 0)
    .map((m) => ({ machine: m.name, role: `app-${app.id}` }));
}

/** `host:port` of a machine's agent. */
export function agentOf(m: Machine): string {
  return `${m.host}:${String(PORTS.agent)}`;
}
