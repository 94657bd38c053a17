import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { seeded } from '../support/random.js';
import { RawClient, WarmedPair, assertEqual, within, workload } from './cache-support.js';

describe('cache warm-up of one pair of memcached processes', function () {
  this.timeout(90_000);
  const pair = new WarmedPair('127.35.1');

  for (const seed of [1, 2, 3])
    it(`M2 equals M1 after a random workload that began before the warm-up (seed ${seed})`, async () => {
      const random = seeded(seed);
      const before = await workload(pair.m1.app, random, 800);
      const w = await pair.begin();
      const during = await workload(pair.m1.app, random, 3000);
      await w.awaitWhole(within(20_000));
      await workload(pair.m1.app, random, 500);
      await w.fence(within(10_000));
      await w.awaitWhole(within(20_000));
      const seen = await assertEqual(pair.m1, pair.m2, new Set([...before, ...during]));
      assert.ok(seen.held > 50 && seen.absent > 10, JSON.stringify(seen));
      assert.equal(w.status().counts.errors, 0, w.status().lastError ?? '');
    });

  it('does not hear its own reads as an application', async () => {
    await pair.m1.app.set('a', 'x', {});
    const w = await pair.begin();
    await w.awaitWhole(within(10_000));
    await w.fence(within(5000));
    const before = w.status().counts.heard;
    for (let i = 0; i < 5; i++) await w.fence(within(5000));
    await w.warmth();
    await w.fence(within(5000));
    assert.equal(w.status().counts.heard, before);
  });

  it('sends fewer markers while it hears an application', async () => {
    const w = await pair.begin();
    await w.awaitWhole(within(10_000));
    const raw = await RawClient.open(pair.m1.at);
    const markers = () => raw.stat('cmd_touch');
    const calmFrom = performance.now();
    const before = await markers();
    while ((await markers()) < before + 40) await delay(20);
    const calmMs = performance.now() - calmFrom;
    const [busyFrom, then] = [performance.now(), await markers()];
    while (performance.now() - busyFrom < calmMs) await pair.m1.app.get('a');
    const busy = (await markers()) - then;
    raw.close();
    assert.ok(busy >= 1 && busy <= 25, `${busy} markers in a time that has 40 of them when it is calm`);
  });
});
