import type { MachineGroup } from '../clouds/settings.js';
import type { PlatformSettings } from '../settings.js';
import { placeOf } from './addresses.js';

/** Ports, the same on every machine: each machine has its own address. */
export const PORTS = {
  agent: 7400,
  /** Datastore process i of a machine: + i. */
  datastorePeer: 7410,
  datastoreMetrics: 7430,
  coordinator: 7450,
  /** The only port of a platform that another one reaches. */
  join: 7460,
  joinStatus: 7470,
  /** Doors of a join port to the other platform's edge i: + i. */
  joinReverse: 7472,
  joinClientStatus: 7471,
  /** Doors of a machine to endpoint i of the platform that it joins, on its loopback: + i. */
  joinDoor: 25_000,
  zookeeper: 2181,
  zookeeperQuorum: 2888,
  zookeeperElection: 3888,
  cql: 9042,
  cassandra: 7000,
  /** Where an application finds the datastore. Application i of the platform: + i. */
  door: 8500,
  /** A datastore process's own doors, on its machine's loopback: + DOOR_STRIDE for each process of the machine, + i. */
  processDoor: 30_000,
  /** The same for other machines, by TLS. */
  relay: 20_000,
  memcached: 11211,
  /** Application i: + 20 i; its instances on the machine follow. */
  app: 9100,
} as const;

export const APP_PORT_STRIDE = 20;
/** Most applications of a platform. */
export const DOOR_STRIDE = 64;
export const MOST_INSTANCES_PER_MACHINE = APP_PORT_STRIDE;

export interface Machine {
  /** `data-1` */
  readonly name: string;
  readonly group: MachineGroup;
  /** From 0 within its group. */
  readonly index: number;
  /** Address inside the platform. */
  readonly host: string;
  /** Position in the cloud's list of subnets or hosts. */
  readonly site: number;
}

/**
 * The platform's machines: `data` (ZooKeeper, store, datastore processes, coordinator), `app` (applications and their
 * caches), `edge`. Addresses depend on group and index alone, so that a platform that grows keeps those it has.
 */
export function machinesOf(s: PlatformSettings): readonly Machine[] {
  const group = (name: MachineGroup, count: number): Machine[] =>
    Array.from({ length: count }, (_, index) => ({
      name: `${name}-${String(index + 1)}`,
      group: name,
      index,
      ...placeOf(s.cloud, name, index),
    }));
  return [
    ...group('data', Math.max(s.store.nodes, s.locks.nodes)),
    ...group('app', s.appMachines),
    ...group('edge', s.edge.nodes),
  ];
}

/** Part of a group that may be away at the same time. */
const MOST_AWAY = 1 / 4;

/**
 * The machine that must serve (again) before `m` is made or replaced: so a change of all machines of a group reaches them
 * one after another, or a quarter of them at a time where there are many. Data machines wait for nobody: their locks
 * need each other to begin, and they are replaced by name.
 */
export function beforeOf(machines: readonly Machine[], m: Machine): Machine | undefined {
  if (m.group === 'data') return undefined;
  const group = inGroup(machines, m.group);
  return group[m.index - Math.max(1, Math.floor(group.length * MOST_AWAY))];
}

export function inGroup(machines: readonly Machine[], group: MachineGroup): readonly Machine[] {
  return machines.filter((m) => m.group === group);
}

/** Instance i of an application runs on app machine i mod n; the ports of those on one machine follow each other. */
export function instancePort(appIndex: number, instanceOnMachine: number): number {
  return PORTS.app + appIndex * APP_PORT_STRIDE + instanceOnMachine;
}

/** Network `127.x.y` of a platform on the local cloud when none is configured: spread by its id. */
export function defaultNetwork(platformId: string): string {
  let h = 0x811c9dc5;
  for (const byte of Buffer.from(platformId)) h = Math.imul(h ^ byte, 0x01000193) >>> 0;
  // 127.64 to 127.223: away from 127.0, and from what a person is likely to choose by hand.
  return `127.${String(64 + (h % 160))}.${String((h >>> 16) % 256)}`;
}
