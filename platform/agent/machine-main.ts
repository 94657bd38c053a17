import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { asError, hasCode } from '../errors.js';
import { destroyLocalMachine, stopLocalAgent } from './local.js';
import { isAlive } from './procfs.js';
import { spawnAgent } from './spawn.js';
import { readAgentRecord } from './state.js';

const USAGE = 'usage: machine-main.js start|remove --dir DIRECTORY\n';

/** Whether the agent of `dir` runs, and from this release. */
function runsHere(dir: string): boolean {
  const agent = readAgentRecord(dir);
  if (!agent || !isAlive(agent)) return false;
  const command = readFileSync(`/proc/${agent.pid}/cmdline`, 'utf8').split('\0');
  return command.includes(join(__dirname, 'main.js'));
}

/**
 * What an installation by ssh does on a machine without systemd: `start` has the agent of a directory run from this
 * release (one that runs from another is ended first; its roles go on), `remove` ends the agent and its roles and
 * removes the directory.
 */
async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ options: { dir: { type: 'string' } }, allowPositionals: true });
  const [command] = positionals;
  if (values.dir === undefined || (command !== 'start' && command !== 'remove')) {
    process.stderr.write(USAGE);
    return 2;
  }
  const dir = resolve(values.dir);
  if (command === 'remove') {
    await destroyLocalMachine({ dir });
  } else if (!runsHere(dir)) {
    await stopLocalAgent({ dir });
    spawnAgent(dir);
  }
  return 0;
}

main().then(
  (code) => (process.exitCode = code),
  (e: unknown) => {
    process.stderr.write(`${asError(e).message}\n`);
    process.exitCode = hasCode(e, 'HELD') ? 4 : 1;
  },
);
