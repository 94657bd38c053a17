import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { repoRoot } from '@nxnw/tools';
import { APP, DNS, DNS_TTL_S, EDGE_PORT, NAME, HOME, NETWORKS, ZONE, machinesDir } from './places.js';
import type { Stack } from './places.js';

export interface StackFileOptions {
  readonly stage: string;
  readonly attempt: number;
  /** Most entities a second of the load from the snapshot. @default as fast as the source's latency allows */
  readonly entitiesPerS?: number;
  readonly dnsKey: { readonly name: string; readonly secret: string };
}

const LINKED = ['platform', 'migration', 'components', 'stacks', 'examples', 'node_modules', '.tools'] as const;

/** Makes the folder of a project that uses this checkout's program. */
export function makeProject(): void {
  mkdirSync(HOME, { recursive: true });
  copyFileSync(join(repoRoot, 'Pulumi.yaml'), join(HOME, 'Pulumi.yaml'));
  for (const name of LINKED) symlinkSync(join(repoRoot, name), join(HOME, name));
}

/** Pulumi keeps the salt of a stack's secrets in the stack's file. */
const withSalt = z.looseObject({ encryptionsalt: z.string().optional() });

/** Writes the stack's configuration; for `green` a later stage is a change of one line. */
export function writeStackFile(stack: Stack, o: StackFileOptions): void {
  const common = {
    'nxnw:platform': { name: 'nxnw' },
    'nxnw:cloud': { kind: 'local', local: { network: `${NETWORKS[stack]}.0/24`, directory: machinesDir(stack) } },
    'nxnw:edge': { httpPort: EDGE_PORT },
    'nxnw:dns': {
      driver: 'rfc2136',
      zone: ZONE,
      name: NAME,
      ttlSeconds: DNS_TTL_S,
      restoreTtlSeconds: 60,
      rfc2136: { server: `${DNS.host}:${DNS.port}`, keyName: o.dnsKey.name, keySecret: o.dnsKey.secret },
    },
  };
  const own =
    stack === 'blue'
      ? {
          'nxnw:store': { kind: 'lmdb' },
          // few commits a second: with fewer shards, more of them go into one entry, and a query asks fewer owners
          'nxnw:datastore': { processes: 2, shards: 4 },
          'nxnw:apps': [{ id: APP, bundle: './examples/gazetteer', instances: 2 }],
        }
      : {
          'nxnw:store': { kind: 'cassandra' },
          // beside Cassandra: one process answers without a hop between two on the same two cores
          'nxnw:datastore': { processes: 1 },
          'nxnw:migrateFrom': 'blue',
          'nxnw:stage': o.stage,
          'nxnw:migration': {
            attempt: o.attempt,
            ...(o.entitiesPerS === undefined ? {} : { load: { entitiesPerS: o.entitiesPerS } }),
          },
        };
  const file = join(HOME, `Pulumi.${stack}.yaml`);
  const before = existsSync(file) ? withSalt.parse(parse(readFileSync(file, 'utf8'))) : {};
  writeFileSync(file, stringify({ ...before, config: { ...common, ...own } }), { mode: 0o600 });
}
