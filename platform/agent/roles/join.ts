import { join } from 'node:path';
import type { z } from 'zod';
import type { gatewayClientConfigSchema, gatewayConfigSchema } from '../../wire/gateway-config.js';
import type { MachineContext, RolePlan } from '../plan.js';
import type { JoinClientSpec, JoinSpec } from '../spec.js';
import { nodeProcess, placeTls } from './node.js';

/** The join port: what another platform may reach of this one comes in here (platform/wire/gateway). */
export function planJoin(spec: JoinSpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const tls = placeTls(spec.tls, dir, 'own', machine);
  const { listen, status, allow, reverse } = spec;
  const config: z.input<typeof gatewayConfigSchema> = { listen, status, allow, reverse, tls: tls.paths };
  return plan(spec.id, dir, 'platform/dist/wire/gateway-main.js', { config, tls, status, listens: [listen], machine });
}

/** The joining side: ports of this machine that lead to the other platform (platform/wire/gateway-client). */
export function planJoinClient(spec: JoinClientSpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const own = placeTls(undefined, dir, 'own', machine);
  const theirs = placeTls(spec.tls, dir, 'join', machine);
  const { gateways, status, forwards, reverse } = spec;
  const config: z.input<typeof gatewayClientConfigSchema> = {
    gateways,
    status,
    forwards,
    reverse: reverse ?? null,
    tls: own.paths,
    join: theirs.paths,
  };
  const tls = { files: [...own.files, ...theirs.files] };
  const listens = forwards.map((f) => f.listen);
  return plan(spec.id, dir, 'platform/dist/wire/gateway-client-main.js', { config, tls, status, listens, machine });
}

function plan(
  name: string,
  dir: string,
  script: string,
  o: {
    readonly config: object;
    readonly tls: Pick<ReturnType<typeof placeTls>, 'files'>;
    readonly status: JoinSpec['status'];
    readonly listens: readonly JoinSpec['listen'][];
    readonly machine: MachineContext;
  },
): RolePlan {
  const configFile = join(dir, 'config.json');
  return {
    dirs: [dir],
    files: [
      ...o.tls.files,
      { path: configFile, content: JSON.stringify(o.config, null, 2) + '\n', onChange: 'restart' },
    ],
    version: '',
    processes: [
      nodeProcess({
        name,
        script,
        dir,
        configFile,
        healthFile: join(dir, 'health'),
        rpc: o.status,
        listens: [o.status, ...o.listens],
        machine: o.machine,
      }),
    ],
  };
}
