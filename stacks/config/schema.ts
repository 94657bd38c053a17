import { z } from 'zod';
import { MigrationOptions, STAGES } from '@nxnw/migration/coordinator/api';
import { cloud } from './clouds.js';

/**
 * The configuration, one schema per top-level key of the namespace `nxnw:`. Variants are `kind` + an optional block of
 * that name. Every optional field says its default; docs/config.schema.json is made from here.
 */
const name = z.string().regex(/^[a-z][a-z0-9-]{0,30}$/, 'must be lower-case letters, digits and dashes, at most 31');
const hostName = z.string().regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, 'must be a lower-case host name');
const hostPort = z.string().regex(/^[^:\s]+:\d{1,5}$/, 'must be host:port');
const variables = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string());
const powerOfTwo = z
  .int()
  .min(1)
  .max(1024)
  .refine((n) => (n & (n - 1)) === 0, 'must be a power of two from 1 to 1024');

export const STORES = ['lmdb', 'cassandra', 'hbase', 'hypertable'] as const;

const platform = z.strictObject({
  name: name.default('nxnw').describe('Name of the platform; its id is NAME-STACK'),
  protect: z
    .boolean()
    .optional()
    .describe('Whether `destroy` must be preceded by unprotecting the stores. Default: true except on the local cloud'),
});

const store = z.strictObject({
  kind: z.enum(STORES).default('lmdb').describe('lmdb is embedded and lies on one machine'),
  nodes: z.int().min(1).max(64).default(1).describe('Machines that hold the store'),
  replication: z.int().min(1).max(7).default(1).describe('Copies of each row'),
  diskGiB: z.int().min(1).optional().describe("Size of a store machine's disk, where the cloud makes one"),
});

const datastore = z.strictObject({
  processes: z.int().min(1).max(64).default(2).describe('Datastore processes of the platform'),
  shards: powerOfTwo
    .optional()
    .describe('Shards per application, 8 by default; in a migration they are inherited from the source'),
});

const cache = z.strictObject({
  memoryMiB: z.int().min(8).default(64).describe('Per application and cache machine'),
  nodes: z.int().min(1).default(2).describe('App machines with memcached, the first ones; fewer where there are fewer'),
});
const locks = z.strictObject({ nodes: z.int().min(1).max(7).default(1).describe('ZooKeeper servers, odd') });

const edge = z.strictObject({
  nodes: z.int().min(1).max(4).default(1).describe("Machines that take the clients' requests"),
  httpPort: z.int().min(1).max(65535).default(8080),
  httpsPort: z.int().min(1).max(65535).default(8443),
  certificate: z
    .strictObject({ secret: z.string().min(1).describe('PEM: the certificate, its chain and its key') })
    .optional()
    .describe('With it the edge speaks TLS too'),
  domains: z.array(hostName).default([]).describe("Host names of the platform's only application"),
});

const join = z.strictObject({
  listen: z
    .ipv4('must be an IPv4 address')
    .optional()
    .describe(
      "Address at which the join ports listen, for another platform that does not reach the machines' own (`local`: from port 7460 on, one for each data machine). Default: each machine's own, port 7460",
    ),
  address: hostName
    .optional()
    .describe('Name or address by which another platform reaches the join ports. Default: where they listen'),
});

const app = z.strictObject({
  id: name.describe('Project id'),
  bundle: z.string().min(1).describe('Folder with the program and its app.yaml, relative to the project'),
  instances: z.int().min(1).max(64).default(2),
  env: variables.default({}),
  secrets: variables.default({}),
  health: z.string().startsWith('/').default('/healthz').describe('Path that answers 200 when an instance can serve'),
  domains: z
    .array(hostName)
    .default([])
    .describe('Host names. Default: dns.name of the only application, else ID.ZONE'),
});

const dns = z.strictObject({
  driver: z.enum(['rfc2136', 'route53']),
  zone: hostName,
  name: hostName.describe("The clients' name, inside the zone"),
  ttlSeconds: z.int().min(1).max(86_400).default(60).describe('While the name may move'),
  restoreTtlSeconds: z.int().min(1).max(604_800).default(3600).describe('After the move is final'),
  rfc2136: z
    .strictObject({
      server: hostPort,
      keyName: hostName,
      keySecret: z.string().min(1).describe('Base64 of the TSIG key (hmac-sha256)'),
    })
    .optional(),
  route53: z
    .strictObject({
      hostedZoneId: z.string().min(1),
      region: z.string().default('us-east-1'),
      endpoint: z.url().optional().describe('Another address of the service, for tests'),
      credentials: z
        .strictObject({ accessKeyId: z.string().min(1), secretAccessKey: z.string().min(1) })
        .optional()
        .describe('Of a user who may change the zone; set them as secrets. Default: what the AWS SDK finds'),
    })
    .optional(),
});

const migration = MigrationOptions.extend({
  attempt: z.int().min(1).default(1).describe('Raise it to switch again after a way back'),
  apps: z.array(z.string().min(1)).min(1).default(['all']).describe('Project ids, or all'),
  wait: z
    .strictObject({
      maxMinutes: z.number().positive().optional().describe('Default: 30 without a terminal, no limit with one'),
    })
    .prefault({}),
});

export const configSchema = z.strictObject({
  platform: platform.prefault({}),
  cloud: cloud.prefault({}),
  store: store.prefault({}),
  datastore: datastore.prefault({}),
  cache: cache.prefault({}),
  locks: locks.prefault({}),
  edge: edge.prefault({}),
  join: join.prefault({}),
  apps: z.array(app).default([]),
  dns: dns.optional(),
  migrateFrom: z.string().default('').describe('Stack of the source, or its join bundle; empty = no migration'),
  stage: z.enum(STAGES).default('synced').describe('The state that an `up` leads to; never beyond it'),
  migration: migration.prefault({}),
});

/** The configuration with every default filled in. */
export type StackConfig = z.output<typeof configSchema>;
