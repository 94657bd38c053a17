import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError, asError } from '../errors.js';
import { RpcClient } from '../wire/rpc.js';
import type { TlsMaterial } from '../wire/rpc.js';
import type { MachineStatus } from './api.js';
import { writeIfChanged } from './files.js';
import { logPath, tailLog } from './logs.js';
import { checkPortFree } from './ports.js';
import { isAlive, signal } from './procfs.js';
import type { ProcessIdentity } from './procfs.js';
import { spawnAgent } from './spawn.js';
import {
  configPath,
  fingerprint,
  readAgentConfig,
  readAgentRecord,
  readMachineState,
  refuseWhenHeld,
} from './state.js';
import type { AgentConfig } from './state.js';
import { removeMachine } from './teardown.js';

/** Port of an agent unless another one is asked for. */
export const AGENT_PORT = 7400;
const START_MS = 20_000;
const STOP_MS = 20_000;
const POLL_MS = 50;

/** A machine of the `local` cloud: a directory and a 127.x.y.z address. */
export interface LocalMachine {
  readonly dir: string;
  readonly platformId: string;
  readonly machine: string;
  readonly address: string;
  /** @default AGENT_PORT */
  readonly port?: number;
  /** Issued by the platform's authority for this machine and address. */
  readonly tls: TlsMaterial;
  /** Plain HTTP `/metrics`. @default none */
  readonly metricsPort?: number;
}

export interface LocalMachineInfo {
  readonly dir: string;
  /** `host:port` for an AgentClient. */
  readonly target: string;
  readonly agentPid: number;
}

/**
 * Makes the machine's directory and starts its agent, detached from this process. Again with the same arguments it
 * changes nothing (an agent that has ended is started); with other ones (a new certificate) the agent is started again
 * and the roles go on running. Throws PORT_IN_USE, DIRECTORY_IN_USE (another machine's), AGENT_FAILED.
 */
export async function createLocalMachine(m: LocalMachine): Promise<LocalMachineInfo> {
  const dir = resolve(m.dir);
  const tlsDir = join(dir, 'tls');
  const paths = { ca: join(tlsDir, 'ca.pem'), cert: join(tlsDir, 'cert.pem'), key: join(tlsDir, 'key.pem') };
  const config: AgentConfig = {
    platformId: m.platformId,
    machine: m.machine,
    host: m.address,
    port: m.port ?? AGENT_PORT,
    tls: paths,
    ...(m.metricsPort === undefined ? {} : { metricsPort: m.metricsPort }),
  };
  const target = `${config.host}:${config.port}`;
  refuseOtherMachine(dir, config);
  const running = readAgentRecord(dir);
  if (running && isAlive(running)) {
    const same = running.config === fingerprint(config, m.tls);
    if (same && (await serves(running, target, m.tls)) === null) return { dir, target, agentPid: running.pid };
    await endAgent(running);
  }
  await checkPortFree({ host: config.host, port: config.port, protocol: 'tcp' });
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  for (const k of ['ca', 'cert', 'key'] as const) writeIfChanged(paths[k], m.tls[k]);
  writeIfChanged(configPath(dir), JSON.stringify(config, null, 2) + '\n');
  const agent = spawnAgent(dir);
  const fault = await serves(agent, target, m.tls);
  if (fault === null) return { dir, target, agentPid: agent.pid };
  const tail = tailLog(logPath(dir, 'agent'), 2).join(' | ').slice(0, 600);
  throw new NxnwError('AGENT_FAILED', `the agent at ${target} does not serve (${fault}); its log ends with: ${tail}`, {
    target,
    dir,
  });
}

/**
 * Ends the machine's agent and everything it started, and removes the directory; nothing to do if there is none.
 * Throws HELD while the machine is held, for instance as the source of a migration.
 */
export async function destroyLocalMachine(o: { readonly dir: string }): Promise<void> {
  const dir = resolve(o.dir);
  if (!existsSync(configPath(dir))) return;
  refuseWhenHeld(readMachineState(dir), `destroying machine ${readAgentConfig(dir).machine}`);
  await stopLocalAgent({ dir });
  await removeMachine(dir);
}

/** Ends the machine's agent only; the roles go on running. */
export async function stopLocalAgent(o: { readonly dir: string }): Promise<void> {
  const agent = readAgentRecord(resolve(o.dir));
  if (agent && isAlive(agent)) await endAgent(agent);
}

function refuseOtherMachine(dir: string, config: AgentConfig): void {
  if (!existsSync(configPath(dir))) return;
  const old = readAgentConfig(dir);
  if (old.platformId === config.platformId && old.machine === config.machine) return;
  throw new NxnwError(
    'DIRECTORY_IN_USE',
    `${dir} belongs to machine ${old.machine} of platform ${old.platformId}, so it cannot become ${config.machine} of ` +
      `${config.platformId}; choose another directory or destroy that machine`,
    { dir },
  );
}

async function endAgent(agent: ProcessIdentity): Promise<void> {
  signal(agent.pid, 'SIGTERM');
  const killAt = Date.now() + STOP_MS;
  while (isAlive(agent)) {
    if (Date.now() > killAt) signal(agent.pid, 'SIGKILL');
    if (Date.now() > killAt + STOP_MS)
      throw new NxnwError('PROCESS_STUCK', `the agent (process ${agent.pid}) does not end although it was killed`);
    await delay(POLL_MS);
  }
}

/** Waits until the agent answers; null, or why it does not: it has ended, or not answered in START_MS. */
async function serves(agent: ProcessIdentity, target: string, tls: TlsMaterial): Promise<string | null> {
  const deadline = Date.now() + START_MS;
  const client = new RpcClient(target, tls);
  let last = 'it does not answer';
  try {
    while (Date.now() < deadline) {
      if (!isAlive(agent)) return 'it has ended';
      try {
        const status = await client.call<MachineStatus>('agent.status', {}, { deadlineMs: Date.now() + 2000 });
        if (status.agentPid === agent.pid) return null;
      } catch (e) {
        last = asError(e).message;
      }
      await delay(POLL_MS);
    }
    return last;
  } finally {
    client.close();
  }
}
