import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { homeDir } from '../agent/home.js';
import { signal } from '../agent/procfs.js';
import type { MachineContext, Probe, RolePlan } from '../agent/plan.js';
import { placeTls } from '../agent/roles/node.js';
import type { RelaySpec } from '../agent/spec.js';

/** A relay process (platform/apps/relay). */
export function planRelay(spec: RelaySpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const configFile = join(dir, 'config.json');
  const tls = placeTls(spec.tls, dir, 'own', machine);
  const { listen, targets, tlsSide } = spec;
  const config = { listen, targets, tlsSide, tls: tls.paths };
  return {
    dirs: [dir],
    files: [...tls.files, { path: configFile, content: JSON.stringify(config, null, 2) + '\n', onChange: 'reload' }],
    version: '',
    // other targets are for new connections: those under way go on
    reload: (pid) => {
      signal(pid, 'SIGHUP');
      return Promise.resolve();
    },
    processes: [
      {
        name: spec.id,
        command: process.execPath,
        // what is named here restarts the relay when it changes
        args: [
          join(homeDir(), 'platform/dist/apps/relay-main.js'),
          ...['--config', configFile],
          `${listen.host}:${listen.port}`,
          tlsSide,
        ],
        env: { NODE_ENV: 'production' },
        cwd: dir,
        listens: [{ ...listen, protocol: 'tcp' }],
        probe: (signal) => probeRelay(spec, machine, signal),
        stopSignal: 'SIGTERM',
        stopGraceMs: 3000,
      },
    ],
  };
}

/** The relay accepts: with the machine's certificate where its listening side speaks TLS. */
function probeRelay(spec: RelaySpec, machine: MachineContext, signal: AbortSignal): Promise<Probe> {
  return new Promise((ok, fail) => {
    const { host, port } = spec.listen;
    const tls = spec.tlsSide === 'listen';
    const socket = tls
      ? connectTls({ host, port, ...machine.tls, checkServerIdentity: () => undefined })
      : connect({ host, port });
    signal.addEventListener('abort', () => socket.destroy(new Error('no answer in time')), { once: true });
    socket.once('error', fail);
    socket.once(tls ? 'secureConnect' : 'connect', () => {
      socket.destroy();
      ok({ ok: true, detail: `accepts ${tls ? 'TLS ' : ''}connections` });
    });
  });
}
