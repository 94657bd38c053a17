import { cpSync, existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { stopLocalAgent } from '@nxnw/platform/agent/local';
import { isAlive, signal } from '@nxnw/platform/agent/procfs';
import { removeMachine } from '@nxnw/platform/agent/teardown';
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
  for (const stack of STACKS) {
    const dir = machinesDir(stack);
    if (!existsSync(dir)) continue;
    // The agents first: they would start again what is ended.
    const machines = readdirSync(dir).map((m) => join(dir, m));
    await Promise.all(machines.map((m) => stopLocalAgent({ dir: m })));
    for (const m of machines) keepLogs(m, join(DIR, 'logs', stack, basename(m)));
    await Promise.all(machines.map((m) => removeMachine(m)));
  }
  const file = join(DIR, 'state.json');
  if (!existsSync(file)) return;
  const { zone } = leftState.parse(JSON.parse(readFileSync(file, 'utf8')));
  if (zone !== null && isAlive(zone)) signal(zone.pid, 'SIGTERM');
}

function keepLogs(machine: string, to: string): void {
  const logs = join(machine, 'logs');
  if (existsSync(logs)) cpSync(logs, to, { recursive: true });
}
