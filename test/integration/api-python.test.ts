import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { pythonPath, repoRoot } from '@nxnw/tools';
import { PROJECT } from '../support/datastore-values.js';
import { openDoor } from '../support/datastore-door.js';

describe('the unmodified Python client google-cloud-datastore', function () {
  this.timeout(120_000);

  it('uses every feature: entities, ids, queries, cursors, transactions', async () => {
    const open = await openDoor('127.33.0.2', { limits: { batchResults: 7 } });
    try {
      const script = join(repoRoot, 'test', 'integration', 'api_features.py');
      const env = { ...process.env, DATASTORE_EMULATOR_HOST: open.endpoint, DATASTORE_PROJECT_ID: PROJECT };
      const { code, output } = await new Promise<{ code: unknown; output: string }>((ok) => {
        execFile(pythonPath, [script], { env, timeout: 100_000 }, (e, stdout, stderr) =>
          ok({ code: e ? (e.code ?? e.signal) : 0, output: stdout + stderr }),
        );
      });
      assert.equal(code, 0, output);
      assert.match(output, /Ran 15 tests[^]*OK/);
      assert.deepEqual(open.errors.events, []);
    } finally {
      await open.close();
    }
  });
});
