import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { NxnwError } from '../errors.js';
import { readIfThere, writeAtomic } from './files.js';
import { searchPath } from './home.js';
import { logPath } from './logs.js';
import type { HashedProcess } from './plan.js';
import { MARK_DIR, MARK_HASH, MARK_PROCESS, identify, isAlive, markedProcesses, signal } from './procfs.js';
import type { ProcessIdentity } from './procfs.js';

const recordSchema = z.object({
  pid: z.int(),
  startTicks: z.string(),
  restartHash: z.string(),
  reloadHash: z.string(),
  startedAtMs: z.number(),
  restarts: z.int(),
});

/** What is written down of a running process, so that the agent's successor knows it again. */
export type ProcessRecord = z.output<typeof recordSchema>;

/** The records of a machine's processes, one file each. */
export class ProcessRecords {
  constructor(readonly machineDir: string) {}

  private path(name: string): string {
    return join(this.machineDir, 'state/processes', `${name}.json`);
  }

  /**
   * The record of a process that still runs. One that was started just before the agent was killed has no record yet
   * and is recognised by its environment.
   */
  running(name: string): ProcessRecord | null {
    const text = readIfThere(this.path(name));
    const record = text === null ? null : recordSchema.parse(JSON.parse(text));
    if (record && isAlive(record)) return record;
    const orphan = markedProcesses(this.machineDir).find((p) => p.leader && p.name === name);
    if (!orphan) return null;
    return {
      pid: orphan.pid,
      startTicks: orphan.startTicks,
      restartHash: orphan.hash,
      reloadHash: '',
      startedAtMs: Date.now(),
      restarts: record?.restarts ?? 0,
    };
  }

  write(name: string, record: ProcessRecord): void {
    writeAtomic(this.path(name), JSON.stringify(record));
  }

  remove(name: string): void {
    rmSync(this.path(name), { force: true });
  }
}

/**
 * Starts a process that outlives the agent: a session of its own, output appended to its log, no pipe to us. Its
 * environment is what the plan says and a search path, nothing of the agent's.
 */
export async function startProcess(p: HashedProcess, machineDir: string, onExit: () => void): Promise<ProcessIdentity> {
  const { plan } = p;
  const log = logPath(machineDir, plan.name);
  mkdirSync(dirname(log), { recursive: true });
  const fd = openSync(log, 'a', 0o600);
  try {
    const child = spawn(plan.command, plan.args, {
      cwd: plan.cwd,
      detached: true,
      stdio: ['ignore', fd, fd],
      env: {
        PATH: searchPath(),
        HOME: plan.cwd,
        LANG: 'C.UTF-8',
        ...plan.env,
        [MARK_DIR]: machineDir,
        [MARK_PROCESS]: plan.name,
        [MARK_HASH]: p.restartHash,
      },
    });
    child.unref();
    child.once('exit', onExit);
    await new Promise<void>((ok, fail) => {
      child.once('spawn', ok);
      child.once('error', fail);
    });
    const id = child.pid === undefined ? null : identify(child.pid);
    if (id) return id;
    throw new NxnwError('PROCESS_ENDED', `${plan.name} ended at once; see its log ${log}`, { process: plan.name });
  } finally {
    closeSync(fd);
  }
}

/** Ends a process: its signal, then after `graceMs` SIGKILL; then what is left of its session. Waits until it is gone. */
export async function stopProcess(
  id: ProcessIdentity,
  o: { machineDir: string; name: string; stopSignal: NodeJS.Signals; graceMs: number },
): Promise<void> {
  const POLL_MS = 20;
  const KILL_MS = 10_000;
  if (isAlive(id)) signal(id.pid, o.stopSignal);
  const graceEnds = Date.now() + o.graceMs;
  while (isAlive(id) && Date.now() < graceEnds) await delay(POLL_MS);
  if (isAlive(id)) signal(-id.pid, 'SIGKILL');
  const killEnds = Date.now() + KILL_MS;
  for (;;) {
    const left = markedProcesses(o.machineDir).filter((p) => p.name === o.name);
    if (left.length === 0 && !isAlive(id)) return;
    for (const p of left) signal(p.pid, 'SIGKILL');
    if (Date.now() > killEnds)
      throw new NxnwError('PROCESS_STUCK', `${o.name} (process ${id.pid}) does not end although it was killed`, {
        process: o.name,
        pid: id.pid,
      });
    await delay(POLL_MS);
  }
}
