import { Project } from '../support/project.js';
import { APP, DNS, DNS_TTL_S, EDGE_PORT, NAME, HOME, NETWORKS, ZONE, machinesDir } from './places.js';
import type { Stack } from './places.js';

export interface StackFileOptions {
  readonly stage: string;
  readonly attempt: number;
  /** Most entities a second of the load from the snapshot. @default as fast as the source's latency allows */
  readonly entitiesPerS?: number;
  readonly dnsKey: { readonly name: string; readonly secret: string };
}

/** The demo's project. */
export const PROJECT = new Project(HOME);

/** Writes the stack's configuration; for `green` a later stage is a change of one line. */
export function writeStackFile(stack: Stack, o: StackFileOptions): void {
  const common = {
    platform: { name: 'nxnw' },
    cloud: { kind: 'local', local: { network: `${NETWORKS[stack]}.0/24`, directory: machinesDir(stack) } },
    edge: { httpPort: EDGE_PORT },
    dns: {
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
          store: { kind: 'lmdb' },
          // few commits a second: with fewer shards, more of them go into one entry, and a query asks fewer owners
          datastore: { processes: 2, shards: 4 },
          apps: [{ id: APP, bundle: './examples/gazetteer', instances: 2 }],
        }
      : {
          store: { kind: 'cassandra' },
          // beside Cassandra: one process answers without a hop between two on the same two cores
          datastore: { processes: 1 },
          migrateFrom: 'blue',
          stage: o.stage,
          migration: {
            attempt: o.attempt,
            ...(o.entitiesPerS === undefined ? {} : { load: { entitiesPerS: o.entitiesPerS } }),
          },
        };
  PROJECT.write(stack, { ...common, ...own });
}
