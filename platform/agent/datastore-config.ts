import { z } from 'zod';
import { endpointSchema } from './spec.js';

/** Paths of PEM files. */
export const tlsPathsSchema = z.strictObject({ ca: z.string(), cert: z.string(), key: z.string() });

/**
 * The file that the agent writes for one datastore process (`node platform/dist/datastore/main.js --config FILE`).
 * The process serves the RPC `health.check` (wire/health) on `peer` as soon as it can take requests; with `healthFile`
 * it may also write `ready <pid>` there. It ends by itself within 10 s of SIGTERM, giving its shards up first.
 */
export const datastoreConfigSchema = z.strictObject({
  platformId: z.string(),
  processId: z.string(),
  /** Where to listen for the platform's other processes and, after a join, for the other platform's. */
  peer: endpointSchema,
  /** `host:port` by which the others reach `peer`. */
  advertise: z.string(),
  tls: tlsPathsSchema,
  locks: z.strictObject({ servers: z.array(z.string()).min(1) }),
  store: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('lmdb'), dir: z.string() }),
    z.strictObject({
      kind: z.literal('cassandra'),
      contactPoints: z.array(z.string()).min(1),
      localDataCenter: z.string(),
      replication: z.int().min(1),
    }),
  ]),
  apps: z.array(
    z.strictObject({
      id: z.string(),
      shards: z.int().min(1),
      origin: z.enum(['self', 'peer']),
      doors: z.array(endpointSchema),
    }),
  ),
  join: z
    .strictObject({
      platformId: z.string(),
      endpoints: z.array(endpointSchema).min(1),
      via: z.record(z.string(), z.string()).optional(),
      tls: tlsPathsSchema,
    })
    .optional(),
  metricsPort: z.int().optional(),
  /** History window of each shard, ms: how old a transaction's reads may be when it commits (C11). @default 60000 */
  historyMs: z.int().min(1000).optional(),
  healthFile: z.string(),
});

export type DatastoreConfig = z.output<typeof datastoreConfigSchema>;
