import assert from 'node:assert/strict';
import { createCacheWarmup, type CacheWarmup } from '@nxnw/migration/cache/warmup';
import { seeded } from '../support/random.js';
import { assertEqual, startCache, within, workload, type Cache } from './cache-support.js';

describe('cache warm-up of one pair of memcached processes', function () {
  this.timeout(90_000);
  let m1: Cache;
  let m2: Cache;
  let warmup: CacheWarmup | undefined;

  beforeEach(async () => {
    [m1, m2] = await Promise.all([startCache('127.35.1.1'), startCache('127.35.1.2')]);
  });
  afterEach(async () => {
    await warmup?.close();
    warmup = undefined;
    await Promise.all([m1.stop(), m2.stop()]);
  });

  const begin = async (options: Partial<Parameters<typeof createCacheWarmup>[0]> = {}): Promise<CacheWarmup> => {
    warmup = createCacheWarmup({ source: m1.at, target: m2.at, ...options });
    await warmup.start(within(10_000));
    return warmup;
  };

  for (const seed of [1, 2, 3])
    it(`M2 equals M1 after a random workload that began before the warm-up (seed ${seed})`, async () => {
      const random = seeded(seed);
      const before = await workload(m1.app, random, 800);
      const w = await begin();
      const during = await workload(m1.app, random, 3000);
      await w.awaitWhole(within(20_000));
      await workload(m1.app, random, 500);
      await w.fence(within(10_000));
      await w.awaitWhole(within(20_000));
      const seen = await assertEqual(m1, m2, new Set([...before, ...during]));
      assert.ok(seen.held > 50 && seen.absent > 10, JSON.stringify(seen));
      assert.equal(w.status().counts.errors, 0, w.status().lastError ?? '');
    });

  it('does not hear its own reads as an application', async () => {
    await m1.app.set('a', 'x', {});
    const w = await begin();
    await w.awaitWhole(within(10_000));
    await w.fence(within(5000));
    const before = w.status().counts.heard;
    for (let i = 0; i < 5; i++) await w.fence(within(5000));
    await w.warmth();
    await w.fence(within(5000));
    assert.equal(w.status().counts.heard, before);
  });
});
