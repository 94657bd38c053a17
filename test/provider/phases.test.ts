import assert from 'node:assert/strict';
import { readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Stage } from '@nxnw/migration/coordinator/api';
import { markersIn } from '@nxnw/migration/coordinator/codes';
import { ensureTools } from '@nxnw/tools';
import { MigrationPair, APP } from '../support/migration-pair.js';
import { mutation, rootKey, shardOfKey } from '../support/platforms.js';
import { SHARDS } from '../support/migration-pair.js';
import { TestStack } from './stack.js';

interface Wanted {
  readonly stage: Stage;
  readonly attempt?: number;
  readonly waitMinutes?: number;
  /** Name of the component; another one renames every phase. */
  readonly name?: string;
}

/** A stack that holds nothing but the migration, against a coordinator that runs already. */
function program(w: Wanted): string {
  return `
const { Migration } = require('@nxnw/components');
const { MigrationOptions } = require('@nxnw/migration/coordinator/api');
const given = require('./given.json');
const m = new Migration('${w.name ?? 'move'}', {
  coordinator: given.coordinator, operator: given.operator, join: JSON.stringify(given.join),
  stage: '${w.stage}', attempt: ${String(w.attempt ?? 1)}, apps: ['all'], options: MigrationOptions.parse({}),
  waitMinutes: ${String(w.waitMinutes ?? 3)}, stack: 'dev',
});
Object.assign(exports, m.outputs());
`;
}

describe('the migration by the real Pulumi, with a real coordinator', function () {
  this.timeout(480_000); // up to four runs of Pulumi in one test
  let pair: MigrationPair;
  let stack: TestStack;

  before(async function () {
    this.timeout(600_000);
    await ensureTools(['pulumi', 'zookeeper', 'memcached', 'haproxy']);
    pair = await MigrationPair.create('127.30.3', '127.30.4');
    await pair.startCoordinator();
    for (let i = 0; i < 50; i++) await put(`item-${String(i)}`);
    stack = new TestStack(program({ stage: 'synced' }));
    const given = { coordinator: pair.coordinatorTarget, operator: pair.green.operator, join: pair.join() };
    writeFileSync(join(stack.dir, 'given.json'), JSON.stringify(given));
    await stack.init();
  });

  after(async () => {
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

  async function asked<T>(ask: (c: ReturnType<MigrationPair['client']>) => Promise<T>): Promise<T> {
    const client = pair.client();
    try {
      return await ask(client);
    } finally {
      client.close();
    }
  }

  const status = () => asked((c) => c.status());
  const serving = async () => (await status()).apps[0]?.serving;

  async function up(w: Wanted) {
    stack.program(program(w));
    return stack.up();
  }

  it('a wait that is over ends the run as "not yet"; the work goes on, and the next up finishes it', async () => {
    await asked((c) =>
      c.startMigration({ attempt: 1, apps: ['all'], wantedStage: 'synced', join: pair.join(), actor: 'test' }),
    );
    await asked((c) => c.pause('follow', 'test', 'to see a wait end'));
    const first = await up({ stage: 'synced', waitMinutes: 0.05 });
    assert.notEqual(first.code, 0);
    const markers = markersIn(first.text);
    assert.ok(markers.includes('NOT_YET') || markers.includes('PAUSED'), first.text);
    await asked((c) => c.resume('test'));
    const second = await up({ stage: 'synced' });
    assert.equal(second.code, 0, second.text);
    assert.equal((await status()).stage.reached, 'synced');
    assert.match(second.text, /stage +: "synced"/);
  });

  it('an idle migration is quiet, in preview and in refresh', async () => {
    for (const run of [await stack.quiet(), await stack.quietRefresh()]) assert.equal(run.code, 0, run.text);
  });

  it('the state holds no key in the clear', () => {
    assert.doesNotMatch(stack.state(), /PRIVATE KEY/);
  });

  it('a rename of everything switches and undoes nothing', async () => {
    const before = (await status()).events.at(-1)?.number ?? 0;
    const renamed = await up({ stage: 'synced', name: 'renamed' });
    assert.equal(renamed.code, 0, renamed.text);
    const after = await status();
    assert.equal(after.stage.reached, 'synced');
    const events = after.events.filter((e) => e.number > before).map((e) => e.what);
    assert.ok(!events.some((e) => /undo|switch|ended/.test(e)), events.join(', '));
  });

  it('a raised stage switches, and a lowered one goes back', async () => {
    const forward = await up({ stage: 'switched', name: 'renamed' });
    assert.equal(forward.code, 0, forward.text);
    assert.equal(await serving(), 'target');
    const down = await up({ stage: 'synced', name: 'renamed' });
    assert.equal(down.code, 0, down.text);
    assert.equal(await serving(), 'source');
  });

  it('a way back by hand latches: the same up is refused with the code, and another attempt goes', async () => {
    const forward = await up({ stage: 'switched', name: 'renamed' });
    assert.equal(forward.code, 0, forward.text);
    await asked((c) => c.back(null, 'test', 'looks wrong'));
    const end = Date.now() + 30_000;
    while ((await serving()) !== 'source') assert.ok(Date.now() < end, 'the way back takes too long');
    const again = await stack.up();
    assert.notEqual(again.code, 0);
    assert.ok(markersIn(again.text).includes('LATCHED'), again.text);
    assert.match(again.text, /looks wrong/);
    assert.equal(await serving(), 'source');
    const raised = await up({ stage: 'switched', name: 'renamed', attempt: 2 });
    assert.equal(raised.code, 0, raised.text);
    assert.equal(await serving(), 'target');
  });

  it('destroy after the switch is refused, and N2 goes on serving', async () => {
    const destroy = await stack.destroy();
    assert.notEqual(destroy.code, 0);
    assert.ok(markersIn(destroy.text).includes('SWITCHED'), destroy.text);
    assert.equal(await serving(), 'target');
    const up_ = await stack.up();
    assert.equal(up_.code, 0, up_.text);
  });

  it('a run that is interrupted, or killed, while it waits loses nothing: the next one finishes', async () => {
    const down = await up({ stage: 'synced', name: 'renamed', attempt: 2 });
    assert.equal(down.code, 0, down.text);
    stack.program(program({ stage: 'switched', name: 'renamed', attempt: 2 }));
    const args = ['up', '--yes', '--skip-preview', '--stack', 'dev'];
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      await pair.killCoordinator();
      let sent = 0;
      const ended = await stack.run(args, {}, (text, kill) => {
        // The first Ctrl-C lets the step end, the second one does not.
        if (text.includes('does not answer; trying again') && sent++ < 2) kill(signal);
      });
      assert.notEqual(ended.code, 0, signal);
      await pair.startCoordinator();
      assert.equal(await serving(), 'source', 'an interrupted run has not switched');
    }
    const end = Date.now() + 20_000;
    while (providersIn(stack.dir) > 0) {
      assert.ok(Date.now() < end, 'a killed engine left its provider behind');
      await sleep(200);
    }
    const locked = await stack.up();
    assert.match(locked.text, /currently locked/);
    assert.equal((await stack.run(['cancel', '--yes', 'dev'])).code, 0);
    const finished = await stack.up();
    assert.equal(finished.code, 0, finished.text);
    assert.equal(await serving(), 'target');
  });

  it('a coordinator that does not answer is no change, with a warning', async () => {
    await pair.killCoordinator();
    const preview = await stack.quiet();
    assert.equal(preview.code, 0, preview.text);
    assert.match(preview.text, /does not say how .* taken as unchanged/);
    await pair.startCoordinator();
  });

  it('destroy before the switch ends the migration and leaves N1 as it was', async () => {
    const down = await up({ stage: 'synced', name: 'renamed', attempt: 2 });
    assert.equal(down.code, 0, down.text);
    const destroy = await stack.destroy();
    assert.equal(destroy.code, 0, destroy.text);
    assert.equal(await serving(), 'source');
    assert.deepEqual((await pair.blue.agent.status()).holds, []);
    await put('after');
  });
});

/** Dynamic provider processes that were started in `dir`. */
function providersIn(dir: string): number {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const provider = readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('dynamic-provider');
      return provider && readlinkSync(`/proc/${pid}/cwd`) === dir;
    } catch {
      return false; // ended meanwhile
    }
  }).length;
}
