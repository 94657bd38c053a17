import { planApp } from '../../apps/role.js';
import { planRelay } from '../../apps/relay-role.js';
import { planCache } from '../../cache/role.js';
import { planEdge } from '../../edge/role.js';
import type { MachineContext, RolePlan } from '../plan.js';
import type { RoleKind, RoleSpec } from '../spec.js';
import { planCassandra } from './cassandra.js';
import { planCoordinator } from './coordinator.js';
import { planDatastore } from './datastore.js';
import { planDns } from './dns.js';
import { planJoin, planJoinClient } from './join.js';
import { planLmdb } from './lmdb.js';
import { planLocks } from './locks.js';

/** Order of starting on one machine: a rank waits until all lower ones are healthy. */
const RANKS: Readonly<Record<RoleKind, number>> = {
  lmdb: 0,
  locks: 0,
  cassandra: 0,
  cache: 0,
  dns: 0,
  join: 0,
  'join-client': 0,
  datastore: 1,
  relay: 1,
  coordinator: 2,
  app: 2,
  edge: 2,
};

export function rankOf(kind: RoleKind): number {
  return RANKS[kind];
}

/** Roles whose data cannot be made again; a hold protects them. */
export function isStore(kind: RoleKind): boolean {
  return kind === 'lmdb' || kind === 'cassandra' || kind === 'locks';
}

/** What a specification means on this machine. Throws a NxnwError when it cannot be done (program or bundle missing). */
export function planRole(spec: RoleSpec, machine: MachineContext): RolePlan {
  switch (spec.kind) {
    case 'locks':
      return planLocks(spec, machine);
    case 'cassandra':
      return planCassandra(spec, machine);
    case 'lmdb':
      return planLmdb(spec, machine);
    case 'datastore':
      return planDatastore(spec, machine);
    case 'cache':
      return planCache(spec, machine);
    case 'app':
      return planApp(spec, machine);
    case 'relay':
      return planRelay(spec, machine);
    case 'edge':
      return planEdge(spec, machine);
    case 'dns':
      return planDns(spec, machine);
    case 'coordinator':
      return planCoordinator(spec, machine);
    case 'join':
      return planJoin(spec, machine);
    case 'join-client':
      return planJoinClient(spec, machine);
  }
}
