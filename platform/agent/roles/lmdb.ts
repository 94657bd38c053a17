import { join } from 'node:path';
import type { MachineContext, RolePlan } from '../plan.js';
import type { LmdbSpec } from '../spec.js';

/** Where the embedded store of role `id` lies on a machine. */
export function storeDirectory(machineDir: string, id: string): string {
  return join(machineDir, 'roles', id, 'store');
}

/** The embedded store has no process: the datastore processes of the machine open its directory. */
export function planLmdb(spec: LmdbSpec, machine: MachineContext): RolePlan {
  return { dirs: [storeDirectory(machine.dir, spec.id)], files: [], processes: [], version: '' };
}
