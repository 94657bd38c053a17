import assert from 'node:assert/strict';
import { hasCode } from '@nxnw/platform/errors';
import { checkShape } from '@nxnw/migration/resources/engines/shape';
import { shapeOf } from '@nxnw/components/plan/shape';
import type { PlatformSettings } from '@nxnw/components/settings';
import { settings } from './fixtures.js';

const inputs = (over: Partial<PlatformSettings> = {}) => {
  const s = settings(over);
  return { platformId: s.platformId, shape: shapeOf(s) };
};

/** The refusal's text, '' where there is none. */
function refusal(wanted: ReturnType<typeof inputs>, old = inputs()): string {
  try {
    checkShape(old, wanted);
    return '';
  } catch (e) {
    assert.ok(hasCode(e, 'CANNOT_CHANGE'));
    return e.message;
  }
}

describe('what a running platform takes on', () => {
  it('takes anything when it is new, and what it has afterwards', () => {
    checkShape({}, inputs({ store: { kind: 'cassandra', nodes: 3, replication: 3 } }));
    assert.equal(refusal(inputs()), '');
  });

  it('grows and shrinks in app machines, edges and datastore processes', () => {
    const grown = { appMachines: 9, edge: { nodes: 3, httpPort: 8080, httpsPort: 8443 }, datastore: { processes: 8 } };
    assert.equal(refusal(inputs(grown)), '');
  });

  it('refuses another store, other nodes, copies, ZooKeeper servers and shards, each by its key', () => {
    const apps = settings().apps.map((a) => ({ ...a, shards: a.shards * 2 }));
    const text = refusal(inputs({ store: { kind: 'cassandra', nodes: 2, replication: 2 }, locks: { nodes: 3 }, apps }));
    for (const key of ['store.kind', 'store.nodes', 'store.replication', 'locks.nodes', 'datastore.shards'])
      assert.match(text, new RegExp(`nxnw:${key.replace('.', '\\.')}: `));
    assert.match(text, /Nothing was changed.*migrateFrom/);
  });

  it('replaces one machine with data, or one edge, at a time', () => {
    const asked = (replace: Record<string, number>) => ({ ...inputs(), shape: { ...inputs().shape, replace } });
    assert.equal(refusal(asked({ 'data-1': 1 })), '');
    assert.equal(refusal(asked({ 'data-1': 1, 'app-1': 1, 'app-2': 1 })), '');
    assert.match(refusal(asked({ 'data-1': 1, 'data-2': 1 })), /data-1 and data-2/);
    assert.match(refusal(asked({ 'data-1': 1, 'edge-1': 1 })), /data-1 and edge-1/);
    assert.equal(refusal(asked({ 'data-1': 1, 'data-2': 1 }), asked({ 'data-1': 1 })), '');
  });
});
