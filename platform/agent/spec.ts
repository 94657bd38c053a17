import { z } from 'zod';

/**
 * Role specifications: what a machine is asked to run. The agent takes the whole desired set of its machine, and makes
 * it so. A specification is plain JSON; secrets in it (keys, `secrets`) travel over mTLS and are kept in files of mode
 * 0600 only. Every `id` is unique on its machine.
 */
const name = z.string().regex(/^[a-z][a-z0-9-]{0,47}$/, 'lower-case letters, digits and dashes, at most 48');
const host = z.string().regex(/^[0-9A-Za-z.:-]+$/, 'an IP address or a host name');
const port = z.int().min(1).max(65535);
/** 64 hex digits. */
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256 in hex');

export const endpointSchema = z.strictObject({ host, port });

/** PEM texts. Left out in a role = the machine's own certificate. */
const tlsSchema = z.strictObject({ ca: z.string(), cert: z.string(), key: z.string() });

const base = { id: name };

/** ZooKeeper 3.9.5: one member. No `members` = standalone. */
const locksSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('locks'),
  host,
  clientPort: port.default(2181),
  /** The whole ensemble, this member included; `memberId` says which one this is. */
  members: z
    .array(
      z.strictObject({
        memberId: z.int().min(1).max(255),
        host,
        quorumPort: port.default(2888),
        electionPort: port.default(3888),
      }),
    )
    .default([]),
  memberId: z.int().min(1).max(255).default(1),
  tickTimeMs: z.int().min(100).default(500),
  heapMiB: z.int().min(32).default(64),
  /** Largest znode, bytes. @default 4 MiB, so that nodes of 1 MB fit with their paths */
  juteMaxBufferBytes: z
    .int()
    .min(1 << 20)
    .default(4 << 20),
});

/** One Cassandra 5.0.8 node. The data centre is `datacenter1`. */
const cassandraSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('cassandra'),
  host,
  cqlPort: port.default(9042),
  storagePort: port.default(7000),
  clusterName: z.string().regex(/^[A-Za-z0-9 _-]{1,48}$/),
  /** Addresses of seed nodes. @default the node itself */
  seeds: z.array(host).default([]),
  heapMiB: z.int().min(128).default(512),
});

/** The embedded store is a directory of the machine, kept until the machine is destroyed: `storeDirectory(dir, id)`. */
const lmdbSpecSchema = z.strictObject({ ...base, kind: z.literal('lmdb') });

const joinSchema = z.strictObject({
  platformId: name,
  /** The other platform's datastore processes, as they call themselves there. */
  endpoints: z.array(endpointSchema).min(1),
  /** Where each of them is reached from here, `host:port` by `host:port`. @default there */
  via: z.record(z.string(), z.string()).optional(),
  /** Material that the other platform accepts. */
  tls: tlsSchema,
});

/** One datastore process (platform/datastore/main). */
const datastoreSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('datastore'),
  processId: name,
  /** Where this process listens for the platform's other processes (mTLS). */
  peer: endpointSchema,
  /** `host:port` that others use to reach `peer`. @default peer itself */
  advertise: z.string().optional(),
  tls: tlsSchema.optional(),
  /** ZooKeeper servers of the platform, `host:port` each. */
  locks: z.strictObject({ servers: z.array(z.string()).min(1) }),
  store: z.discriminatedUnion('kind', [
    /** `role`: id of the `lmdb` role on this machine. */
    z.strictObject({ kind: z.literal('lmdb'), role: name }),
    z.strictObject({
      kind: z.literal('cassandra'),
      contactPoints: z.array(z.string()).min(1),
      localDataCenter: z.string().default('datacenter1'),
      replication: z.int().min(1).default(1),
    }),
  ]),
  apps: z.array(
    z.strictObject({
      /** Project id. */
      id: name,
      shards: z.int().min(1).max(1024),
      /** Where the application's data was born: `peer` = on the platform that `join` names. */
      origin: z.enum(['self', 'peer']).default('self'),
      /** Plain gRPC doors that accept this project only. */
      doors: z.array(endpointSchema),
    }),
  ),
  join: joinSchema.optional(),
  /** Prometheus text at `http://peer.host:metricsPort/metrics`; none without it. */
  metricsPort: port.optional(),
});

/** One memcached for one application. */
const cacheSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('cache'),
  app: name,
  host,
  port: port.default(11211),
  memoryMiB: z.int().min(8).default(64),
});

/** Instances of one application on this machine, all from one bundle. */
const appSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('app'),
  /** Project id. */
  app: name,
  /** Digest of the bundle's archive (platform/apps/bundle), which must have been uploaded before. */
  bundle: sha256,
  instances: z.array(endpointSchema).min(1).max(32),
  /** Path that answers 200 when an instance can serve. */
  health: z.string().startsWith('/').default('/healthz'),
  env: z.record(z.string(), z.string()).default({}),
  /** As `env`, for values that must not be shown. */
  secrets: z.record(z.string(), z.string()).default({}),
  datastore: endpointSchema.optional(),
  memcache: z.array(endpointSchema).default([]),
  /** ZooKeeper servers, `host:port`; the application gets them with the chroot `/apps/<app>`. */
  locks: z.array(z.string()).default([]),
  /** What the file named by NXNW_SERVING says at first; afterwards `setServing` decides. */
  serving: z.boolean().default(true),
});

/** A relay of TCP connections: plain or mTLS on each side, for an app whose datastore is another process or machine. */
const relaySpecSchema = z.strictObject({
  ...base,
  kind: z.literal('relay'),
  listen: endpointSchema,
  /** Tried in turn. */
  targets: z.array(endpointSchema).min(1),
  /** Which side speaks mTLS; `none` within one machine. */
  tlsSide: z.enum(['listen', 'targets', 'none']),
  tls: tlsSchema.optional(),
});

/** HAProxy. Routes (local or peer) are not in the specification: `setRoute` alone changes them, never an `apply`. */
export const edgeSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('edge'),
  http: endpointSchema,
  https: z.strictObject({ host, port, certPem: z.string(), keyPem: z.string() }).optional(),
  apps: z
    .array(
      z.strictObject({
        app: name,
        /** Values of the Host header, without port, lower case. */
        domains: z.array(z.string().regex(/^[a-z0-9.-]+$/)).min(1),
        servers: z.array(endpointSchema).max(16),
        health: z.string().startsWith('/').default('/healthz'),
      }),
    )
    .default([]),
  /** The other platform's edges, for applications whose route is `peer`. */
  peer: z.array(endpointSchema).max(4).default([]),
  /** With it, the peer's edges are spoken to by TLS, verified against this authority (PEM). */
  peerCaPem: z.string().optional(),
});

/** knot, authoritative for one zone, with RFC 2136 updates by a TSIG key (hmac-sha256). */
export const dnsSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('dns'),
  host,
  port: port.default(53),
  /** Without trailing dot. */
  zone: z.string().regex(/^[a-z0-9.-]+$/),
  ttlSeconds: z.int().min(0).default(60),
  keyName: z.string().regex(/^[a-z0-9.-]+$/),
  /** Base64. */
  keySecret: z.string(),
  /** Addresses that may send updates, CIDR. */
  allow: z.array(z.string()).min(1),
  /** First content of the zone, A records by name relative to the zone; later the updates decide. */
  records: z.record(z.string(), z.array(host)).default({}),
});

/** The migration coordinator (migration/coordinator/main). Its own package checks `config`. */
const coordinatorSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('coordinator'),
  /** Where it serves its RPC (mTLS); the agent asks `health.check` there. */
  listen: endpointSchema,
  tls: tlsSchema.optional(),
  /** Written as JSON with `listen`, `tls` (paths) and `healthFile` added. May hold secrets. */
  config: z.record(z.string(), z.unknown()),
});

/** The join port of a machine (platform/wire/gateway): a platform that joins this one comes in here and nowhere else. */
const joinGatewaySpecSchema = z.strictObject({
  ...base,
  kind: z.literal('join'),
  listen: endpointSchema,
  /** Where it answers its agent. */
  status: endpointSchema,
  tls: tlsSchema.optional(),
  /** `host:port` of what the other platform may reach. */
  allow: z.array(z.string()),
  /** Doors for this platform's machines to what the other one serves, by the target's name. */
  reverse: z.array(z.strictObject({ target: name, listen: endpointSchema })).default([]),
});

/** The joining side on one of its machines: local ports that lead to endpoints of the other platform. */
const joinClientSpecSchema = z.strictObject({
  ...base,
  kind: z.literal('join-client'),
  /** The other platform's join ports, and the machines that their certificates name. */
  gateways: z.array(z.strictObject({ machine: name, endpoint: endpointSchema })).min(1),
  /** Of the join bundle. */
  tls: tlsSchema,
  status: endpointSchema,
  /** `to`: `host:port` as the other platform knows it. */
  forwards: z.array(z.strictObject({ listen: endpointSchema, to: z.string() })),
  /** What this machine serves for the other platform. */
  reverse: z.strictObject({ target: name, to: endpointSchema }).optional(),
});

export const roleSpecSchema = z.discriminatedUnion('kind', [
  locksSpecSchema,
  cassandraSpecSchema,
  lmdbSpecSchema,
  datastoreSpecSchema,
  cacheSpecSchema,
  appSpecSchema,
  relaySpecSchema,
  edgeSpecSchema,
  dnsSpecSchema,
  coordinatorSpecSchema,
  joinGatewaySpecSchema,
  joinClientSpecSchema,
]);

export const machineSpecSchema = z.strictObject({ roles: z.array(roleSpecSchema) }).superRefine((m, c) => {
  const seen = new Set<string>();
  m.roles.forEach((r, i) => {
    if (seen.has(r.id))
      c.addIssue({ code: 'custom', path: ['roles', i, 'id'], message: `"${r.id}" is used by two roles` });
    seen.add(r.id);
    const store = r.kind === 'datastore' && r.store.kind === 'lmdb' ? r.store.role : null;
    if (store !== null && !m.roles.some((o) => o.kind === 'lmdb' && o.id === store))
      c.addIssue({ code: 'custom', path: ['roles', i, 'store'], message: `this machine has no lmdb role "${store}"` });
  });
});

export type Endpoint = z.output<typeof endpointSchema>;
export type LocksSpec = z.output<typeof locksSpecSchema>;
export type CassandraSpec = z.output<typeof cassandraSpecSchema>;
export type LmdbSpec = z.output<typeof lmdbSpecSchema>;
export type DatastoreSpec = z.output<typeof datastoreSpecSchema>;
export type CacheSpec = z.output<typeof cacheSpecSchema>;
export type AppSpec = z.output<typeof appSpecSchema>;
export type RelaySpec = z.output<typeof relaySpecSchema>;
export type EdgeSpec = z.output<typeof edgeSpecSchema>;
export type DnsSpec = z.output<typeof dnsSpecSchema>;
export type CoordinatorSpec = z.output<typeof coordinatorSpecSchema>;
export type JoinSpec = z.output<typeof joinGatewaySpecSchema>;
export type JoinClientSpec = z.output<typeof joinClientSpecSchema>;
/** A specification with every default filled in. */
export type RoleSpec = z.output<typeof roleSpecSchema>;
/** A specification as written: fields with defaults may be left out. */
export type RoleSpecInput = z.input<typeof roleSpecSchema>;
export type RoleKind = RoleSpec['kind'];
