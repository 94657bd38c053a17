import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { findProgram } from '../agent/home.js';
import type { MachineContext, RolePlan } from '../agent/plan.js';
import { ask } from '../agent/roles/probes.js';
import type { CacheSpec } from '../agent/spec.js';

/**
 * Stock memcached. UDP is off; `watch` and the crawler, which the warm-up needs, are on by default. As root it changes
 * to `nobody`.
 */
export function planCache(spec: CacheSpec, machine: MachineContext): RolePlan {
  const program = findProgram('memcached');
  const dir = join(machine.dir, 'roles', spec.id);
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  return {
    dirs: [dir],
    files: [],
    version: execFileSync(program, ['-V'], { encoding: 'utf8', timeout: 5000 }).replace('memcached', '').trim(),
    processes: [
      {
        name: spec.id,
        command: program,
        args: ['-l', spec.host, '-p', `${spec.port}`, '-U', '0', '-m', `${spec.memoryMiB}`, '-t', '2', ...user],
        env: {},
        cwd: dir,
        listens: [{ host: spec.host, port: spec.port, protocol: 'tcp' }],
        probe: async (signal) => {
          const answer = await ask(spec, 'version\r\n', (a) => a.includes('\r\n'), signal);
          const line = answer.toString('latin1').trim();
          return { ok: line.startsWith('VERSION '), detail: line };
        },
        stopSignal: 'SIGTERM',
        stopGraceMs: 3000,
      },
    ],
  };
}
