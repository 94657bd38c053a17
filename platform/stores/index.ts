import { z } from 'zod';
import { NxnwError } from '../errors.js';
import { CassandraStore } from './cassandra.js';
import { LmdbStore } from './lmdb.js';
import type { Store } from './port.js';

const lmdbConfig = z.strictObject({
  kind: z.literal('lmdb'),
  dir: z.string().min(1),
  writeTimeoutMs: z.number().int().positive().optional(),
});

const cassandraConfig = z.strictObject({
  kind: z.literal('cassandra'),
  contactPoints: z.array(z.string().min(1)).min(1),
  port: z.number().int().min(1).max(65535).optional(),
  localDataCenter: z.string().min(1).optional(),
  keyspace: z.string().optional(),
  replication: z.number().int().min(1).max(10).optional(),
  credentials: z.strictObject({ username: z.string(), password: z.string() }).optional(),
  requestTimeoutMs: z.number().int().positive().optional(),
});

const drivers: Readonly<Record<string, (config: unknown) => Promise<Store>>> = {
  lmdb: async (config) => new LmdbStore(parse(lmdbConfig, config)),
  cassandra: (config) => CassandraStore.connect(parse(cassandraConfig, config)),
};

export const STORE_KINDS: readonly string[] = Object.keys(drivers);

const anyKind = z.looseObject({ kind: z.string() });

/**
 * Opens a platform's store. `config` is a block like `{kind: 'lmdb', dir: '/var/lib/nxnw'}`; what
 * each kind takes says its driver (`LmdbConfig`, `CassandraConfig`). Throws INVALID_ARGUMENT for an unknown kind and for every wrong key; UNAVAILABLE if it cannot be reached.
 */
export async function openStore(config: unknown): Promise<Store> {
  const { kind } = parse(anyKind, config);
  const driver = Object.hasOwn(drivers, kind) ? drivers[kind] : undefined;
  if (driver !== undefined) return driver(config);
  throw new NxnwError(
    'INVALID_ARGUMENT',
    `unknown store kind "${kind}"; allowed are ${STORE_KINDS.join(', ')}; set nxnw:store kind to one of them`,
    { kind, allowed: STORE_KINDS },
  );
}

function parse<T>(schema: z.ZodType<T>, config: unknown): T {
  const read = schema.safeParse(config);
  if (read.success) return read.data;
  const faults = read.error.issues.map((issue) => `${['store', ...issue.path].join('.')}: ${issue.message}`);
  throw new NxnwError('INVALID_ARGUMENT', `wrong store configuration: ${faults.join('; ')}`, { faults });
}
