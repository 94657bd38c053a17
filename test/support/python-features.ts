import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { pythonPath, repoRoot } from '@nxnw/tools';
import { PROJECT } from './datastore-values.js';

const SCRIPT = join(repoRoot, 'test', 'integration', 'api_features.py');

/**
 * Every feature with Python's unmodified client at a door; entities lie in namespaces of this run. Answers what failed,
 * or null.
 */
export async function pythonFeatures(endpoint: string, run: string): Promise<string | null> {
  const env = { ...process.env, DATASTORE_EMULATOR_HOST: endpoint, DATASTORE_PROJECT_ID: PROJECT, NXNW_RUN: run };
  return new Promise((ok) => {
    execFile(pythonPath, [SCRIPT], { env, timeout: 120_000 }, (e, stdout, stderr) => {
      const output = stdout + stderr;
      ok(!e && /Ran 15 tests[^]*OK/.test(output) ? null : `${e?.message ?? 'not every test ran'}\n${output}`);
    });
  });
}
