import { PROTOCOLS, type JoinBundle } from '@nxnw/migration/coordinator/join';
import type { PlatformSettings } from '../settings.js';
import { agentOf, appRoles, memcachedOf, planPlatform, show, topologyOf } from './roles.js';

/** Version of this release, as platforms tell it to each other. */
export const VERSION = '0.1.0';

/** A join bundle but for its certificate, which only a run can make. */
export function planJoin(s: PlatformSettings): Omit<JoinBundle, 'tls' | 'expiresAtMs'> {
  const t = topologyOf(s);
  return {
    format: 1,
    platformId: s.platformId,
    version: VERSION,
    protocols: [...PROTOCOLS],
    capabilities: [],
    agents: planPlatform(s).map((m) => ({ machine: m.name, endpoint: agentOf(m), roles: m.roles.map((r) => r.id) })),
    datastore: t.processes.map((p) => ({ process: p.id, endpoint: show(p.peer) })),
    zookeeper: [...t.zookeeper],
    memcached: Object.fromEntries(s.apps.map((a) => [a.id, memcachedOf(t, s, a).map(show)])),
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
    edges: t.edges.map((m) => ({
      machine: m.name,
      role: 'edge',
      address: m.host,
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
