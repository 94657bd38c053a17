import { cpSync, existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { isAlive, signal } from '@nxnw/platform/agent/procfs';
import { endLocalMachines } from '../support/local-machines.js';
import { DIR, machinesDir } from './places.js';
import type { Stack } from './places.js';

const STACKS: readonly Stack[] = ['green', 'blue'];
const leftState = z.looseObject({
  zone: z.looseObject({ pid: z.int(), startTicks: z.string() }).nullable(),
});

/**
 * Ends every process that this or an earlier run of the demo left, whatever state it is in, and removes the machines.
 * Goes by what the demo's folder says, so it needs nothing of the run that left them.
 */
export async function cleanUp(): Promise<void> {
  for (const stack of STACKS)
    await endLocalMachines(machinesDir(stack), (m) => keepLogs(m, join(DIR, 'logs', stack, basename(m))));
  const file = join(DIR, 'state.json');
  if (!existsSync(file)) return;
  const { zone } = leftState.parse(JSON.parse(readFileSync(file, 'utf8')));
  if (zone !== null && isAlive(zone)) signal(zone.pid, 'SIGTERM');
}

function keepLogs(machine: string, to: string): void {
  const logs = join(machine, 'logs');
  if (existsSync(logs)) cpSync(logs, to, { recursive: true });
}
