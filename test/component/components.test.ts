import assert from 'node:assert/strict';
import * as pulumi from '@pulumi/pulumi';
import { Migration, Platform, phasesTo } from '@nxnw/components';
import { MigrationOptions, PHASES, STAGES } from '@nxnw/migration/coordinator/api';
import { green, joinBundle, settings } from './fixtures.js';

interface Made {
  readonly type: string;
  readonly name: string;
  readonly inputs: Record<string, unknown>;
}

let made: Made[] = [];

function promiseOf<T>(output: pulumi.Output<T>): Promise<T> {
  return new Promise((ok) => {
    output.apply(ok);
  });
}

/** Mocks stand for the whole process: each file's tests set their own. */
async function mock(): Promise<void> {
  await pulumi.runtime.setMocks({
    call: () => ({}),
    newResource: (a) => {
      made.push({ type: a.type, name: a.name, inputs: a.inputs as Record<string, unknown> });
      const tls = { ca: 'CA', cert: 'CERT', key: 'KEY', expiresAtMs: 1 };
      const state = { ...a.inputs, ...tls, agent: '127.30.9.11:7400', facts: { stage: 'synced' } };
      return { id: `${a.name}-id`, state };
    },
  });
}

beforeEach(() => {
  made = [];
});

const platformArgs = { stack: 'blue', accessPath: '/tmp/none', protect: false };

async function platform(s = settings()): Promise<Platform> {
  const p = new Platform('shop', { ...s, ...platformArgs });
  await promiseOf(p.join);
  await promiseOf(p.coordinator);
  return p;
}

/** The mark of a secret in inputs as the engine receives them. */
const SECRET = '4dabf18193072939515e22adb298388d';

function opened(v: unknown): unknown {
  return typeof v === 'object' && v !== null && SECRET in v && 'value' in v ? v.value : v;
}

const names = (type: string) => made.filter((m) => m.type === type).map((m) => m.name);
const dynamic = (kind: string) => `pulumi-nodejs:dynamic/nxnw:${kind}`;

describe('the components', () => {
  before(mock);

  it('make a machine, a certificate and a role set for each machine of the plan', async () => {
    await platform();
    assert.deepEqual(names(dynamic('LocalMachine')).sort(), [
      'shop-fleet-app-1',
      'shop-fleet-app-2',
      'shop-fleet-data-1',
      'shop-fleet-edge-1',
    ]);
    assert.equal(names(dynamic('RoleSet')).length, 4);
    assert.deepEqual(names(dynamic('AppBundle')), [
      'shop-role-bundle-gazetteer-app-1',
      'shop-role-bundle-gazetteer-app-2',
    ]);
    assert.deepEqual(names(dynamic('OperatorAccess')), ['shop-access']);
  });

  it('give facts as outputs, and the join bundle as a secret one', async () => {
    const p = await platform();
    assert.equal(await promiseOf(p.platformId), 'shop-blue');
    assert.deepEqual(await promiseOf(p.locks), ['127.30.9.11:2181']);
    assert.equal((await promiseOf(p.apps))['gazetteer']?.datastoreHost, '127.30.9.101:8500');
    assert.equal(await pulumi.isSecret(p.join), true);
  });

  it('mark every secret of the settings where it stands in a role', async () => {
    await platform(green());
    const roles = made.filter((m) => m.type === dynamic('RoleSet'));
    assert.equal(roles.length, 4);
    const open = JSON.stringify(
      roles.map((r) => r.inputs),
      (_k, v: unknown) => (typeof v === 'object' && v !== null && SECRET in v ? 'SECRET' : v),
    );
    assert.doesNotMatch(open, /hunter2|JOIN-KEY/);
    assert.match(open, /SECRET/);
  });

  it('take the bundle of an inherited application from the machines that run it', async () => {
    const [app] = green().apps;
    assert.ok(app !== undefined);
    await platform(green({ apps: [{ ...app, directory: '' }] }));
    const bundle = made.find((m) => m.type === dynamic('AppBundle'));
    const from = opened(bundle?.inputs['from']) as { agents: string[] };
    assert.deepEqual(from.agents, ['127.30.9.101:7400', '127.30.9.102:7400']);
  });

  it('make only the phases that lead to the wanted stage', () => {
    assert.deepEqual(phasesTo('built'), ['AppSync']);
    assert.deepEqual(phasesTo('finalized'), [...PHASES]);
    for (const [i, stage] of STAGES.entries())
      assert.ok(STAGES.slice(0, i).every((s) => phasesTo(s).length < phasesTo(stage).length));
  });

  it('put the intent before every phase, and no phase beyond the stage', async () => {
    const m = new Migration('move', {
      coordinator: '127.30.10.11:7450',
      operator: { ca: 'CA', cert: 'CERT', key: 'KEY' },
      join: JSON.stringify(joinBundle()),
      stage: 'synced',
      attempt: 1,
      apps: ['all'],
      options: MigrationOptions.parse({}),
      waitMinutes: 30,
      stack: 'green',
    });
    assert.equal(await promiseOf(m.stage), 'synced');
    assert.equal(await promiseOf(m.backCommand), '');
    const kinds = made.filter((x) => x.type.startsWith('pulumi-nodejs:dynamic')).map((x) => x.type.split(':').at(-1));
    assert.equal(kinds[0], 'Migration');
    assert.deepEqual(kinds.slice(1).sort(), [
      'AppSync',
      'CacheWarmup',
      'DataFollow',
      'LockSync',
      'SnapshotLoad',
      'Verification',
    ]);
  });
});
