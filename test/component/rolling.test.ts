import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Platform } from '@nxnw/components';
import { parseConfig } from '@nxnw/stacks/config/parse';
import { compileSettings } from '@nxnw/stacks/settings';
import { repoRoot } from '@nxnw/tools';
import { record, type Recorded } from './recorder.js';

/** The plan of three app machines and two edges, by logical name. */
async function plan(): Promise<(name: string) => Recorded> {
  const stack = {
    'nxnw:platform': { name: 'shop' },
    'nxnw:cloud': { kind: 'local', appMachines: 3 },
    'nxnw:edge': { nodes: 2 },
    'nxnw:apps': [{ id: 'gazetteer', bundle: join(repoRoot, 'examples', 'gazetteer'), instances: 3 }],
  };
  const config = parseConfig(Object.fromEntries(Object.entries(stack).map(([k, v]) => [k, JSON.stringify(v)])));
  const settings = compileSettings(config, 'blue', repoRoot, undefined);
  const outputs = { ca: 'CA', cert: 'CERT', key: 'KEY', expiresAtMs: 1, agent: '192.0.2.9:7400' };
  const { named } = await record(
    () => new Platform('shop', { ...settings, stack: 'blue', accessPath: '/none', protect: true }),
    { outputs: () => outputs, call: () => ({}) },
  );
  return named;
}

describe('machines of a group', () => {
  it("wait for the roles of the one before them, and for nobody else's", async () => {
    const named = await plan();
    const waits = (machine: string) =>
      named(`shop-fleet-${machine}`).dependencies.filter((d) => d.startsWith('shop-role-'));
    assert.deepEqual(['app-1', 'app-2', 'app-3'].map(waits), [[], ['shop-role-app-1'], ['shop-role-app-2']]);
    assert.deepEqual(['edge-1', 'edge-2'].map(waits), [[], ['shop-role-edge-1']]);
    assert.deepEqual(waits('data-1'), []);
  });
});
