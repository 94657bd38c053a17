import type { ShapeInputs } from '@nxnw/migration/resources/engines/shape';
import type { PlatformSettings } from '../settings.js';

/** What a running platform cannot take on by itself, or by one machine at a time only. */
export function shapeOf(s: PlatformSettings): ShapeInputs['shape'] {
  const { cloud, store, locks } = s;
  const block = cloud.kind === 'local' || cloud.kind === 'hosts' ? undefined : cloud[cloud.kind];
  return {
    store: store.kind,
    storeNodes: store.nodes,
    replication: store.replication,
    lockNodes: locks.nodes,
    shards: Object.fromEntries(s.apps.map((a) => [a.id, a.shards])),
    replace: { ...block?.replace },
  };
}
