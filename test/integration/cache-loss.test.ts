import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { seeded } from '../support/random.js';
import { WarmedPair, RawClient, assertEqual, client, within, workload } from './cache-support.js';

describe('cache warm-up when it misses something', function () {
  this.timeout(90_000);
  const pair = new WarmedPair('127.35.2');

  const sets = (from: number, to: number, value: string): string => {
    let commands = '';
    for (let i = from; i < to; i++) commands += `set key-${i} 7 0 ${value.length} noreply\r\n${value}\r\n`;
    return commands;
  };
  const keys = (n: number): string[] => Array.from({ length: n }, (_, i) => `key-${i}`);

  it('lines that memcached dropped without a word lead to a full pass', async () => {
    const w = await pair.begin();
    await w.awaitWhole(within(10_000));
    const raw = await RawClient.open(pair.m1.at);
    await raw.run(sets(0, 20_000, 'first'));
    await raw.run(sets(0, 20_000, 'second') + 'delete key-3\r\n');
    raw.close();
    await w.fence(within(20_000));
    await w.awaitWhole(within(30_000));
    assert.ok(w.status().counts.droppedLines > 0, 'the overload dropped no line, so nothing was tested');
    assert.ok(w.status().counts.passes >= 2);
    const seen = await assertEqual(pair.m1, pair.m2, keys(20_000));
    assert.deepEqual(seen, { held: 19_999, absent: 1 });
  });

  it('lines that the watcher skipped lead to a full pass', async () => {
    const relay = await pair.relayTo(pair.m1);
    const w = await pair.begin({ source: relay.at, timeoutMs: 20_000 });
    await w.awaitWhole(within(10_000));
    const raw = await RawClient.open(pair.m1.at);
    relay.stall();
    const skippedAtM1 = () => raw.stat('log_watcher_skipped');
    const long = 'k'.repeat(200);
    for (const end = within(20_000); (await skippedAtM1()) === 0 && Date.now() < end;) {
      let burst = '';
      for (let i = 0; i < 100; i++) burst += `set ${long}${i} 0 0 1 noreply\r\nx\r\n`;
      await raw.run(burst);
    }
    await raw.run(sets(0, 50, 'after'));
    relay.unstall();
    await raw.run('get any\r\n');
    await w.fence(within(20_000));
    await w.awaitWhole(within(30_000));
    assert.ok(w.status().skippedLines > 0, 'no line was skipped, so nothing was tested');
    raw.close();
    await assertEqual(pair.m1, pair.m2, keys(50));
  });

  it('a queue that overflows leads to a full pass, not to memory', async () => {
    const w = await pair.begin({ copiers: 1, queueKeys: 20 });
    const random = seeded(11);
    const used = await workload(pair.m1.app, random, 1500);
    await w.fence(within(20_000));
    await w.awaitWhole(within(30_000));
    assert.ok(w.status().counts.losses > 1);
    assert.ok(w.status().queued <= 20);
    await assertEqual(pair.m1, pair.m2, used);
  });

  it('a killed and restarted M1 empties M2 of what it does not hold any more', async () => {
    const w = await pair.begin();
    await workload(pair.m1.app, seeded(5), 500);
    await pair.m2.app.set('left over', 'x', {});
    await pair.m1.server.restart();
    const app = client(pair.m1.at);
    await app.set('new', 'y', {});
    await w.fence(within(20_000));
    await w.awaitWhole(within(20_000));
    assert.equal(w.status().counts.sourceRestarts, 1);
    const raw = await RawClient.open(pair.m2.at);
    assert.equal((await raw.held('new'))?.value, 'y\r\n');
    assert.equal(await raw.held('left over'), null);
    assert.equal(await raw.stat('curr_items'), 1);
    raw.close();
    app.close();
  });

  it('a killed and restarted M2 is filled again', async () => {
    const w = await pair.begin();
    const used = await workload(pair.m1.app, seeded(6), 600);
    await w.awaitWhole(within(10_000));
    await pair.m2.server.restart();
    const more = await workload(pair.m1.app, seeded(7), 300);
    await w.fence(within(20_000));
    await w.awaitWhole(within(20_000));
    const seen = await assertEqual(pair.m1, pair.m2, new Set([...used, ...more]));
    assert.ok(seen.held > 20);
    assert.equal(w.status().counts.targetRestarts, 1);
  });

  it('flush_all on M1 empties M2, at once or when it was ordered for', async () => {
    const w = await pair.begin();
    const raw = await RawClient.open(pair.m1.at);
    await pair.m1.app.set('a', 'x', {});
    await w.fence(within(5000));
    await raw.run('flush_all\r\n');
    await w.fence(within(5000));
    assert.equal((await pair.m2.app.get('a')).value, null);
    await w.awaitWhole(within(10_000));
    await pair.m1.app.set('b', 'x', {});
    await raw.run('flush_all 2\r\n');
    await w.fence(within(5000));
    await w.awaitWhole(within(10_000));
    assert.equal((await pair.m2.app.get('b')).value?.toString(), 'x');
    for (const end = within(10_000); (await pair.m2.app.get('b')).value !== null; await delay(50))
      assert.ok(Date.now() < end);
    assert.equal((await pair.m1.app.get('b')).value, null);
    raw.close();
  });

  it('a pause of following is made good by a full pass', async () => {
    const w = await pair.begin();
    await w.awaitWhole(within(10_000));
    w.pause('all');
    const used = await workload(pair.m1.app, seeded(8), 300);
    assert.equal(w.status().whole, false);
    await assert.rejects(w.invalidate(within(1000)), { code: 'CACHE_PAUSED' });
    w.resume();
    await w.awaitWhole(within(10_000));
    await w.fence(within(10_000));
    await assertEqual(pair.m1, pair.m2, used);
  });

  it('a throttled full pass keeps its rate, and can be held and released', async () => {
    const raw = await RawClient.open(pair.m1.at);
    await raw.run(sets(0, 2000, 'x'));
    raw.close();
    const w = await pair.begin({ passKeysPerS: 500 });
    await delay(1000);
    const early = w.status().pass?.done ?? 0;
    assert.ok(early > 250 && early < 900, `${early} keys in about a second at 500 a second`);
    w.pause('passes');
    await assert.rejects(w.awaitWhole(within(300)), { code: 'CACHE_TIMEOUT' });
    w.throttle(null);
    w.resume();
    await w.awaitWhole(within(10_000));
    await assertEqual(pair.m1, pair.m2, keys(2000));
  });
});
