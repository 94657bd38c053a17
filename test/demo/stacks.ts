import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { APP, DIR, DNS, DNS_TTL_S, EDGE_PORT, NAME, NETWORKS, ZONE, machinesDir } from './places.js';
import type { Stack } from './places.js';

export interface StackFileOptions {
  readonly stage: string;
  readonly attempt: number;
  readonly dnsKey: { readonly name: string; readonly secret: string };
}

export function configFile(stack: Stack): string {
  return join(DIR, `Pulumi.${stack}.yaml`);
}

/** Writes the stack's configuration; for `green` a later stage is a change of one line. */
export function writeStackFile(stack: Stack, o: StackFileOptions): void {
  const common = {
    'nxnw:platform': { name: 'demo' },
    'nxnw:cloud': { kind: 'local', local: { network: `${NETWORKS[stack]}.0/24`, directory: machinesDir(stack) } },
    'nxnw:datastore': { processes: 2 },
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
          'nxnw:apps': [{ id: APP, bundle: './examples/gazetteer', instances: 2 }],
        }
      : {
          'nxnw:store': { kind: 'cassandra' },
          'nxnw:migrateFrom': 'blue',
          'nxnw:stage': o.stage,
          'nxnw:migration': { attempt: o.attempt },
        };
  mkdirSync(DIR, { recursive: true });
  writeFileSync(configFile(stack), stringify({ config: { ...common, ...own } }), { mode: 0o600 });
}
