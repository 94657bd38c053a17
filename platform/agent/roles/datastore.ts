import { join } from 'node:path';
import { datastoreConfigSchema } from '../datastore-config.js';
import type { MachineContext, RolePlan } from '../plan.js';
import type { DatastoreSpec } from '../spec.js';
import { storeDirectory } from './lmdb.js';
import { nodeProcess, placeTls } from './node.js';

/** One datastore process, with its configuration file. */
export function planDatastore(spec: DatastoreSpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const configFile = join(dir, 'config.json');
  const healthFile = join(dir, 'health');
  const own = placeTls(spec.tls, dir, 'own', machine);
  const join_ = spec.join ? placeTls(spec.join.tls, dir, 'join', machine) : null;
  const { store } = spec;
  const config = datastoreConfigSchema.parse({
    platformId: machine.platformId,
    processId: spec.processId,
    peer: spec.peer,
    advertise: spec.advertise ?? `${spec.peer.host}:${spec.peer.port}`,
    tls: own.paths,
    locks: spec.locks,
    store: store.kind === 'lmdb' ? { kind: 'lmdb', dir: storeDirectory(machine.dir, store.role) } : store,
    apps: spec.apps,
    ...(spec.join && join_ ? { join: { ...spec.join, tls: join_.paths } } : {}),
    ...(spec.metricsPort === undefined ? {} : { metricsPort: spec.metricsPort }),
    healthFile,
  });
  const doors = spec.apps.flatMap((a) => a.doors);
  const metrics = spec.metricsPort === undefined ? [] : [{ host: spec.peer.host, port: spec.metricsPort }];
  return {
    dirs: [dir],
    files: [
      ...own.files,
      ...(join_?.files ?? []),
      { path: configFile, content: JSON.stringify(config, null, 2) + '\n', onChange: 'restart' },
    ],
    version: '',
    processes: [
      nodeProcess({
        name: spec.id,
        script: 'platform/dist/datastore/main.js',
        dir,
        configFile,
        healthFile,
        rpc: spec.peer,
        listens: [spec.peer, ...doors, ...metrics],
        machine,
      }),
    ],
  };
}
