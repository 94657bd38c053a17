import type { PlatformSettings } from '@nxnw/components';
import type { JoinBundle } from '@nxnw/migration/coordinator/join';
import { planJoin } from '@nxnw/components/plan/join';

export const BUNDLE = 'a'.repeat(64);

/** A small platform of one application. */
export function settings(over: Partial<PlatformSettings> = {}): PlatformSettings {
  return {
    platformId: 'shop-blue',
    cloud: { kind: 'local', local: { network: '127.30.9', directory: '.nxnw/platforms/shop-blue' } },
    appMachines: 2,
    store: { kind: 'lmdb', nodes: 1, replication: 1 },
    datastore: { processes: 2 },
    cache: { memoryMiB: 64 },
    locks: { nodes: 1 },
    edge: { nodes: 1, httpPort: 8080, httpsPort: 8443 },
    apps: [
      {
        id: 'gazetteer',
        bundle: BUNDLE,
        directory: 'examples/gazetteer',
        instances: 3,
        env: { LEVEL: 'info' },
        secrets: { TOKEN: 'hunter2' },
        health: '/healthz',
        domains: ['gazetteer.test'],
        shards: 8,
      },
    ],
    ...over,
  };
}

/** The join bundle of that platform. */
export function joinBundle(over: Partial<JoinBundle> = {}): JoinBundle {
  return {
    ...planJoin(settings()),
    tls: { ca: 'CA', cert: 'CERT', key: 'JOIN-KEY' },
    expiresAtMs: Date.now() + 86_400_000,
    ...over,
  };
}

/** The platform that takes over from it. */
export function green(over: Partial<PlatformSettings> = {}): PlatformSettings {
  return settings({
    platformId: 'shop-green',
    cloud: { kind: 'local', local: { network: '127.30.10', directory: '.nxnw/platforms/shop-green' } },
    store: { kind: 'cassandra', nodes: 1, replication: 1 },
    source: joinBundle(),
    ...over,
  });
}
