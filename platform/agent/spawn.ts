import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NxnwError } from '../errors.js';
import { searchPath } from './home.js';
import { logPath } from './logs.js';
import { identify } from './procfs.js';
import type { ProcessIdentity } from './procfs.js';

/** What an agent takes over from the environment of what starts it; nothing else, it may hold secrets. */
const PASSED = ['HOME', 'TMPDIR', 'JAVA_HOME', 'NXNW_HOME', 'NXNW_TOOLS', 'NODE_EXTRA_CA_CERTS'];

/** Starts the agent of a machine's directory as a process of its own session, its output appended to its log. */
export function spawnAgent(dir: string): ProcessIdentity {
  const log = logPath(dir, 'agent');
  mkdirSync(dirname(log), { recursive: true });
  const fd = openSync(log, 'a', 0o600);
  try {
    const env: NodeJS.ProcessEnv = { PATH: searchPath(), LANG: 'C.UTF-8', NODE_ENV: 'production' };
    for (const name of PASSED) if (process.env[name] !== undefined) env[name] = process.env[name];
    const main = join(__dirname, 'main.js');
    const child = spawn(process.execPath, ['--enable-source-maps', main, '--dir', dir], {
      cwd: dir,
      detached: true,
      stdio: ['ignore', fd, fd],
      env,
    });
    child.unref();
    const id = child.pid === undefined ? null : identify(child.pid);
    if (id) return id;
    throw new NxnwError('AGENT_FAILED', `the agent of ${dir} could not be started; see ${log}`, { dir });
  } finally {
    closeSync(fd);
  }
}
