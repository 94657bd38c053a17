import { PROTOCOLS, type JoinBundle } from '@nxnw/migration/coordinator/join';
import type { PlatformSettings } from '../settings.js';
import { gatewaysOf } from './join-roles.js';
import { appRoles, planPlatform, reachOf, topologyOf } from './roles.js';

/** Version of this release, as platforms tell it to each other. */
export const VERSION = '0.1.0';

/** A join bundle but for its certificate, which only a run can make. */
export function planJoin(s: PlatformSettings): Omit<JoinBundle, 'tls' | 'expiresAtMs'> {
  const t = topologyOf(s);
  const reach = reachOf(s, t);
  const roles = new Map(planPlatform(s).map((m) => [m.name, m.roles.map((r) => r.id)]));
  return {
    format: 2,
    platformId: s.platformId,
    version: VERSION,
    protocols: [...PROTOCOLS],
    capabilities: [],
    gateways: gatewaysOf(s, t.data),
    agents: reach.agents.map((a) => ({ ...a, roles: roles.get(a.machine) ?? [] })),
    datastore: reach.datastore,
    zookeeper: reach.zookeeper,
    memcached: reach.memcached,
    apps: s.apps.map((a) => ({
      id: a.id,
      shards: a.shards,
      bundle: a.bundle,
      instances: a.instances,
      health: a.health,
      env: { ...a.env },
      domains: [...a.domains],
      roles: appRoles(t, s, a),
    })),
    edges: reach.edges.map((e) => ({
      ...e,
      role: 'edge',
      httpPort: s.edge.httpPort,
      httpsPort: s.edge.certificate === undefined ? null : s.edge.httpsPort,
    })),
    dns:
      s.dns === undefined
        ? null
        : {
            zone: s.dns.zone,
            name: s.dns.name,
            addresses: t.edges.map((m) => m.host),
            ttlSeconds: s.dns.ttlSeconds,
          },
  };
}

type PlannedJoin = ReturnType<typeof planJoin>;

/** The bundle with the addresses at which the edges are reached from outside, in their order. */
export function withEdges(join: PlannedJoin, addresses: readonly string[]): PlannedJoin {
  return {
    ...join,
    edges: join.edges.map((e, i) => ({ ...e, address: addresses[i] ?? e.address })),
    dns: join.dns === null ? null : { ...join.dns, addresses: [...addresses] },
  };
}
