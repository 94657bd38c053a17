import { join } from 'node:path';
import type { MachineContext, RolePlan } from '../plan.js';
import type { CoordinatorSpec } from '../spec.js';
import { nodeProcess, placeTls } from './node.js';

/** The migration coordinator. Its configuration is the specification's, with `listen`, `tls` and `healthFile` added. */
export function planCoordinator(spec: CoordinatorSpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const configFile = join(dir, 'config.json');
  const healthFile = join(dir, 'health');
  const tls = placeTls(spec.tls, dir, 'own', machine);
  const config = { ...spec.config, listen: spec.listen, tls: tls.paths, healthFile };
  return {
    dirs: [dir],
    files: [...tls.files, { path: configFile, content: JSON.stringify(config, null, 2) + '\n', onChange: 'restart' }],
    version: '',
    processes: [
      nodeProcess({
        name: spec.id,
        script: 'migration/dist/coordinator/main.js',
        dir,
        configFile,
        healthFile,
        rpc: spec.listen,
        listens: [spec.listen],
        machine,
      }),
    ],
  };
}
