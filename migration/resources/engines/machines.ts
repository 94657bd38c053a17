import { resolve } from 'node:path';
import { existsSync } from 'node:fs';
import { AgentClient } from '@nxnw/platform/agent/api';
import { homeDir } from '@nxnw/platform/agent/home';
import { createLocalMachine, destroyLocalMachine } from '@nxnw/platform/agent/local';
import { canonical } from './canonical.js';
import type { Tls } from './targets.js';

const READ_MS = 3000;

/** A machine of the local cloud: a directory and an address, with an agent. */
export interface MachineInputs {
  readonly platformId: string;
  readonly machine: string;
  readonly host: string;
  readonly port: number;
  /** Relative to the project, so that a checkout may lie anywhere. */
  readonly directory: string;
  readonly tls: Tls;
  readonly operator: Tls;
  /** Always true; a refresh that finds the agent gone says false, and the next `up` starts it. */
  readonly running: boolean;
}

export interface MachineState extends MachineInputs {
  /** host:port of the agent. */
  readonly agent: string;
}

/** Makes the machine, or brings an existing one to these inputs; its roles go on running. */
export async function makeMachine(inputs: MachineInputs): Promise<MachineState> {
  const made = await createLocalMachine({
    dir: resolve(homeDir(), inputs.directory),
    platformId: inputs.platformId,
    machine: inputs.machine,
    address: inputs.host,
    port: inputs.port,
    tls: inputs.tls,
  });
  return { ...inputs, running: true, agent: made.target };
}

/** Whether the machine is there, and whether its agent answers. */
export async function readMachine(state: MachineState): Promise<{ there: boolean; running: boolean }> {
  if (!existsSync(resolve(homeDir(), state.directory))) return { there: false, running: false };
  const client = new AgentClient(state.agent, state.operator);
  try {
    const answer = client.status().then(
      () => true,
      () => false,
    );
    const late = new Promise<boolean>((ok) => setTimeout(ok, READ_MS, false).unref());
    return { there: true, running: await Promise.race([answer, late]) };
  } finally {
    client.close();
  }
}

export async function removeMachine(state: MachineState): Promise<void> {
  await destroyLocalMachine({ dir: resolve(homeDir(), state.directory) });
}

export interface Difference {
  readonly changes: boolean;
  /** Inputs that make it another machine. */
  readonly replaces: string[];
}

export function machineDiffers(old: MachineState, wanted: MachineInputs): Difference {
  const identity = ['platformId', 'machine', 'host', 'port', 'directory'] as const;
  const replaces = identity.filter((k) => old[k] !== wanted[k]);
  const tls = canonical([old.tls, old.running]) !== canonical([wanted.tls, wanted.running]);
  return { changes: tls || replaces.length > 0, replaces };
}
