import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MigrationStatus, Stage } from '@nxnw/migration/coordinator/api';
import { ensureTools } from '@nxnw/tools';
import { until } from '../support/agents.js';
import { APP, MigrationPair, SHARDS } from '../support/migration-pair.js';
import { mutation, rootKey, shardOfKey } from '../support/platforms.js';
import { TestStack } from './stack.js';

const ITEMS = 200;
/** So slow that no load ends before the test gives it another rate. */
const SLOW_PER_S = 0.1;
const UP = ['up', '--yes', '--skip-preview', '--stack', 'dev'];

const program = (stage: Stage, entitiesPerS: number | 'auto') => `
const { Migration } = require('@nxnw/components');
const { MigrationOptions } = require('@nxnw/migration/coordinator/api');
const given = require('./given.json');
const m = new Migration('move', {
  coordinator: given.coordinator, operator: given.operator, join: JSON.stringify(given.join),
  stage: '${stage}', attempt: 1, apps: ['all'],
  options: MigrationOptions.parse({ load: { entitiesPerS: ${JSON.stringify(entitiesPerS)} } }),
  waitMinutes: 3, stack: 'dev',
});
Object.assign(exports, m.outputs());
`;

describe('a migration whose run is interrupted', function () {
  this.timeout(480_000);
  let pair: MigrationPair;
  let stack: TestStack;

  before(async function () {
    this.timeout(600_000);
    await ensureTools(['pulumi', 'zookeeper', 'memcached', 'haproxy']);
  });

  beforeEach(async () => {
    pair = await MigrationPair.create('127.30.5', '127.30.6');
    await pair.startCoordinator();
    for (let i = 0; i < ITEMS; i++) await put(`item-${String(i)}`);
    stack = new TestStack(program('synced', SLOW_PER_S));
    const given = { coordinator: pair.coordinatorTarget, operator: pair.green.operator, join: pair.join() };
    writeFileSync(join(stack.dir, 'given.json'), JSON.stringify(given));
    await stack.init();
  });

  afterEach(async () => {
    await pair.stop();
    stack.remove();
  });

  async function put(name: string): Promise<void> {
    const m = mutation('upsert', rootKey(APP, 'Item', name), { n: 1 });
    const router = pair.blue.platform.processes[0]?.router;
    assert.ok(router);
    const shards = [{ shard: shardOfKey(APP, m.key, SHARDS), mutations: [m], reads: { keys: [], ranges: [] } }];
    await router.commit({ app: APP, tx: null, beganUs: 0, shards }, Date.now() + 15_000);
  }

  async function status(): Promise<MigrationStatus> {
    const client = pair.client();
    try {
      return await client.status();
    } finally {
      client.close();
    }
  }

  /** Runs `up`, and sends the signal (twice: the first Ctrl-C lets a step end) once `seen` is true of its output. */
  async function interrupted(signal: NodeJS.Signals, seen: (text: string) => boolean): Promise<void> {
    let sent = 0;
    const ended = await stack.run(UP, {}, (text, kill) => {
      if (seen(text) && sent < 2) {
        sent++;
        kill(signal);
      }
    });
    assert.ok(sent > 0, ended.text);
    assert.notEqual(ended.code, 0, ended.text);
  }

  const loads = (text: string) => /SnapshotLoad .*scanning/.test(text);

  it('goes on during the load, by Ctrl-C, kill -9 and cancel, and the next run finishes it', async () => {
    await interrupted('SIGINT', loads);
    assert.notEqual((await status()).stage.reached, 'synced', 'the load was under way');
    await interrupted('SIGKILL', loads);
    assert.notEqual((await status()).stage.reached, 'synced', 'the load was under way');
    assert.match((await stack.up()).text, /currently locked/);
    assert.equal((await stack.run(['cancel', '--yes', 'dev'])).code, 0);
    stack.program(program('synced', 'auto'));
    const finished = await stack.up();
    assert.equal(finished.code, 0, finished.text);
    assert.equal((await status()).stage.reached, 'synced');
  });

  for (const signal of ['SIGINT', 'SIGKILL'] as const)
    it(`goes on in the middle of the switch, by ${signal}, and the next run finishes it`, async () => {
      stack.program(program('synced', 'auto'));
      const synced = await stack.up();
      assert.equal(synced.code, 0, synced.text);
      stack.program(program('switched', 'auto'));
      await interrupted(signal, (text) => /nxnw:Cutover .*creating/.test(text));
      if (signal === 'SIGKILL') assert.equal((await stack.run(['cancel', '--yes', 'dev'])).code, 0);
      const finished = await stack.up();
      assert.equal(finished.code, 0, finished.text);
      assert.equal((await status()).apps[0]?.serving, 'target');
      await put('after');
    });

  it('is taken back by a destroy during the load, and N1 is as it was', async () => {
    await interrupted('SIGINT', loads);
    const destroyed = await stack.destroy();
    assert.equal(destroyed.code, 0, destroyed.text);
    assert.notEqual((await status()).apps[0]?.serving, 'target');
    await until('N1 held by nobody', 20_000, async () => (await pair.blue.agent.status()).holds.length === 0);
    await put('after');
  });
});
