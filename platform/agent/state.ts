import { join } from 'node:path';
import { z } from 'zod';
import { NxnwError } from '../errors.js';
import type { TlsMaterial } from '../wire/rpc.js';
import { canonicalJson, digestOf, readIfThere, writeAtomic } from './files.js';
import { homeDir } from './home.js';
import { roleSpecSchema } from './spec.js';

/** `agent.json`: who the machine is. Written by what makes the machine, before the agent starts. */
export const agentConfigSchema = z.strictObject({
  platformId: z.string(),
  machine: z.string(),
  host: z.string(),
  port: z.int(),
  /** Paths of PEM files. */
  tls: z.strictObject({ ca: z.string(), cert: z.string(), key: z.string() }),
  /** Plain HTTP `/metrics` on `host`; none without it. */
  metricsPort: z.int().optional(),
});
export type AgentConfig = z.output<typeof agentConfigSchema>;

const holdSchema = z.object({ name: z.string(), reason: z.string(), sinceMs: z.number() });
const machineStateSchema = z.object({
  generation: z.int(),
  stopped: z.boolean(),
  roles: z.array(roleSpecSchema),
  holds: z.array(holdSchema),
});
/** What the agent remembers; roles hold secrets, so the file is for the owner only. */
export type MachineState = z.output<typeof machineStateSchema>;

const identitySchema = z.object({ pid: z.int(), startTicks: z.string(), config: z.string() });
/** The running agent of a directory, and the configuration it was started with. */
export type AgentRecord = z.output<typeof identitySchema>;

/** Another value (a certificate, an address, a release) = the agent has to be started again. */
export function fingerprint(config: AgentConfig, tls: TlsMaterial): string {
  return digestOf(canonicalJson(config), tls.ca, tls.cert, releaseVersion());
}

/** Version of the release that this process runs; '' if it cannot be told. */
export function releaseVersion(): string {
  const text = readIfThere(join(homeDir(), 'platform/package.json'));
  return text === null ? '' : (/"version": *"([^"]+)"/.exec(text)?.[1] ?? '');
}

export const configPath = (dir: string): string => join(dir, 'agent.json');
export const agentRecordPath = (dir: string): string => join(dir, 'state/agent.json');
const statePath = (dir: string): string => join(dir, 'state/machine.json');

/** Throws NO_MACHINE if `dir` is not a machine's directory. */
export function readAgentConfig(dir: string): AgentConfig {
  const text = readIfThere(configPath(dir));
  if (text === null)
    throw new NxnwError('NO_MACHINE', `${dir} is not a machine's directory: it has no agent.json`, { dir });
  return agentConfigSchema.parse(JSON.parse(text));
}

export function readTls(paths: AgentConfig['tls']): TlsMaterial {
  const read = (path: string): string => {
    const text = readIfThere(path);
    if (text === null) throw new NxnwError('NO_CERTIFICATE', `there is no certificate file ${path}`, { path });
    return text;
  };
  return { ca: read(paths.ca), cert: read(paths.cert), key: read(paths.key) };
}

export function readMachineState(dir: string): MachineState {
  const text = readIfThere(statePath(dir));
  if (text === null) return { generation: 0, stopped: false, roles: [], holds: [] };
  return machineStateSchema.parse(JSON.parse(text));
}

export function writeMachineState(dir: string, state: MachineState): void {
  writeAtomic(statePath(dir), canonicalJson(state));
}

export function readAgentRecord(dir: string): AgentRecord | null {
  const text = readIfThere(agentRecordPath(dir));
  return text === null ? null : identitySchema.parse(JSON.parse(text));
}

/** Throws HELD, naming the holds, when there are any. `act` says what is refused. */
export function refuseWhenHeld(state: MachineState, act: string): void {
  if (state.holds.length === 0) return;
  throw new NxnwError(
    'HELD',
    `${act} is refused: ${state.holds.map((h) => `hold "${h.name}" (${h.reason})`).join(', ')}; ` +
      `finish or abort what holds it, or release the hold`,
    { holds: state.holds.map((h) => h.name) },
  );
}
