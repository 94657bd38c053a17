import { NxnwError } from '@nxnw/platform/errors';
import { z } from 'zod';

/** Versions of the protocol between two platforms that this code speaks. Neighbouring releases overlap. */
export const PROTOCOLS: readonly number[] = [1];

const HostPort = z.string().regex(/^[^:\s]+:\d+$/, 'must be host:port');

/** A role of one machine's agent. */
export const MachineRole = z.strictObject({ machine: z.string(), role: z.string() });

/** One application of the source as the join bundle lists it. */
export const JoinApp = z.strictObject({
  id: z.string().min(1),
  /** Shards of the application (a power of two), inherited by the target. */
  shards: z.int().positive(),
  /** Digest of the bundle that the source runs. */
  bundle: z.string(),
  instances: z.int().positive().default(1),
  /** Health path, for instance `/healthz`. */
  health: z.string().startsWith('/').default('/healthz'),
  env: z.record(z.string(), z.string()).default({}),
  /** Host names whose requests belong to this application. */
  domains: z.array(z.string()).default([]),
  /** Agent roles that run its instances on the source. */
  roles: z.array(MachineRole).min(1),
});
export type JoinApp = z.infer<typeof JoinApp>;

/**
 * What a new platform (N2) needs to join a running one (N1): addresses and a client certificate with an expiry. It is a
 * secret. Its format is JSON, so another backend, organisation or passphrase of the stacks does not matter.
 */
export const JoinBundle = z.strictObject({
  format: z.literal(2),
  platformId: z.string().min(1),
  version: z.string(),
  protocols: z.array(z.int().positive()).min(1),
  capabilities: z.array(z.string()).default([]),
  /** Join ports: the only addresses of the source that the target connects to. The other endpoints lie behind them. */
  gateways: z
    .array(
      z.strictObject({
        machine: z.string(),
        endpoint: HostPort,
        /** Doors on the source's side to the target's edges, in their order. */
        reverse: z.array(HostPort),
      }),
    )
    .min(1),
  agents: z.array(z.strictObject({ machine: z.string(), endpoint: HostPort, roles: z.array(z.string()) })).min(1),
  /** Peer endpoints of the datastore processes. */
  datastore: z.array(z.strictObject({ process: z.string(), endpoint: HostPort })).min(1),
  zookeeper: z.array(HostPort).min(1),
  /** memcached servers by application. */
  memcached: z.record(z.string(), z.array(HostPort)),
  apps: z.array(JoinApp),
  edges: z
    .array(
      MachineRole.extend({
        /** Address that the DNS name leads to. */
        address: z.string(),
        /** Where it takes HTTP inside the source. */
        endpoint: HostPort,
        httpPort: z.int(),
        httpsPort: z.int().nullable(),
      }),
    )
    .min(1),
  dns: z
    .strictObject({
      zone: z.string(),
      name: z.string(),
      addresses: z.array(z.string()),
      ttlSeconds: z.int().positive(),
    })
    .nullable(),
  tls: z.strictObject({ ca: z.string(), cert: z.string(), key: z.string() }),
  expiresAtMs: z.int().positive(),
});
export type JoinBundle = z.infer<typeof JoinBundle>;

/** What a target may reach of its source, `host:port` each, in an order that only the bundle decides. */
export function endpointsOf(
  b: Pick<JoinBundle, 'datastore' | 'zookeeper' | 'memcached'> & {
    readonly agents: readonly { readonly endpoint: string }[];
    readonly edges: readonly { readonly endpoint: string }[];
  },
): readonly string[] {
  const all = [b.agents, b.datastore, b.edges].flatMap((list) => list.map((e) => e.endpoint));
  return [...new Set([...all, ...b.zookeeper, ...Object.values(b.memcached).flat()])];
}

/**
 * Parses a join bundle (JSON text or value). Throws BAD_JOIN naming every fault with its path (never its values), and
 * JOIN_EXPIRED when its certificate has run out.
 */
export function parseJoin(given: unknown, nowMs: number): JoinBundle {
  let value = given;
  if (typeof given === 'string') {
    try {
      value = JSON.parse(given);
    } catch (e) {
      throw new NxnwError(
        'BAD_JOIN',
        'the join bundle is not JSON; make a new one with `nxnw join --stack <source>`',
        {},
        e,
      );
    }
  }
  const r = JoinBundle.safeParse(value);
  if (!r.success) {
    const faults = r.error.issues.map((i) => `${i.path.join('.') || '(top)'}: ${i.message}`).join('; ');
    throw new NxnwError(
      'BAD_JOIN',
      `the join bundle is not usable: ${faults}; make a new one with \`nxnw join --stack <source>\``,
    );
  }
  if (r.data.expiresAtMs <= nowMs)
    throw new NxnwError(
      'JOIN_EXPIRED',
      `the join bundle of ${r.data.platformId} ran out at ${new Date(r.data.expiresAtMs).toISOString()}; make a new one with \`nxnw join --stack <source>\` and run \`nxnw up\` again`,
      { platformId: r.data.platformId, expiresAtMs: r.data.expiresAtMs },
    );
  return r.data;
}

/** The highest protocol version that both sides speak. Throws NO_COMMON_PROTOCOL naming both sides' versions. */
export function commonProtocol(
  source: { platformId: string; protocols: readonly number[] },
  target: { platformId: string; protocols: readonly number[] },
): number {
  const common = source.protocols.filter((v) => target.protocols.includes(v));
  if (common.length === 0)
    throw new NxnwError(
      'NO_COMMON_PROTOCOL',
      `${source.platformId} speaks protocol ${source.protocols.join(', ')} and ${target.platformId} speaks ${target.protocols.join(', ')}: none in common; bring the older one up to a neighbouring release first`,
      { source: source.protocols, target: target.protocols },
    );
  return Math.max(...common);
}
