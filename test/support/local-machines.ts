import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { stopLocalAgent } from '@nxnw/platform/agent/local';
import { removeMachine } from '@nxnw/platform/agent/teardown';

/**
 * Ends every process of the local machines in a folder, whatever state they are in, and removes them.
 *
 * @param ended is told of each machine's folder while its logs are still there
 */
export async function endLocalMachines(dir: string, ended: (machine: string) => void = () => undefined): Promise<void> {
  if (!existsSync(dir)) return;
  const machines = readdirSync(dir).map((m) => join(dir, m));
  // the agents first: they would start again what is ended
  await Promise.all(machines.map((m) => stopLocalAgent({ dir: m })));
  for (const m of machines) ended(m);
  await Promise.all(machines.map((m) => removeMachine(m)));
}
