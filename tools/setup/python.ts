import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram, pythonPath, toolsDir } from '../paths.js';
import { ensurePrograms } from './debian.js';
import { hashOf, once } from './once.js';
import { run, say } from './run.js';

/** Clients that are not ours, run against the platform by tests. */
const PACKAGES = ['google-cloud-datastore==2.27.0', 'kazoo==2.11.0', 'moto[server]==5.2.5'] as const;
const DEADLINE_MS = 10 * 60_000;

/** Makes the virtual environment `.tools/py` with the Python clients. */
export async function ensurePython(): Promise<void> {
  const present = () => existsSync(pythonPath);
  await once({ name: 'py', key: hashOf(...PACKAGES), present, deadlineMs: DEADLINE_MS }, async () => {
    await ensurePrograms(['python3']);
    const dir = join(toolsDir, 'py');
    rmSync(dir, { recursive: true, force: true });
    say(`python: installing ${PACKAGES.join(' ')}`);
    const onFailure = 'Check that `python3 -m venv` works and that PyPI can be reached, then run again.';
    await run(findProgram('python3') ?? 'python3', ['-m', 'venv', dir], {
      what: 'make a Python environment',
      deadlineMs: DEADLINE_MS,
      onFailure,
    });
    await run(pythonPath, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES], {
      what: 'install the Python clients',
      deadlineMs: DEADLINE_MS,
      onFailure,
    });
  });
}
