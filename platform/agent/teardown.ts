import { existsSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError } from '../errors.js';
import { markedProcesses, signal } from './procfs.js';
import { configPath } from './state.js';

const GRACE_MS = 3000;
const KILL_MS = 10_000;
const POLL_MS = 30;

/** Ends everything that runs for the machine in `dir`, and removes the directory. Its agent must not run any more. */
export async function removeMachine(dir: string): Promise<void> {
  const begin = Date.now();
  for (const p of markedProcesses(dir)) if (p.leader) signal(p.pid, 'SIGTERM');
  for (let left = markedProcesses(dir); left.length > 0; left = markedProcesses(dir)) {
    const pastMs = Date.now() - begin;
    if (pastMs > GRACE_MS) for (const p of left) signal(p.pid, 'SIGKILL');
    if (pastMs > GRACE_MS + KILL_MS)
      throw new NxnwError(
        'PROCESS_STUCK',
        `process(es) ${left.map((p) => `${p.pid} (${p.name})`).join(', ')} of ${dir} do not end although killed`,
        { dir },
      );
    await delay(POLL_MS);
  }
  if (existsSync(configPath(dir))) rmSync(dir, { recursive: true, force: true });
}
