import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { createCacheWarmup, type CacheWarmup } from '@nxnw/migration/cache/warmup';
import { seeded } from '../support/random.js';
import { RawClient, Relay, assertEqual, startCache, within, type Cache } from './cache-support.js';

const KEYS = 60;
/** How long after an N1 write of the drain N2 may still see the value before it. */
const DRAIN_LAG_MS = 500;

/**
 * One writer per key, which writes 1, 2, 3 … first on N1, then on N2. Whoever reads on N2 after the switch must find
 * nothing or a number that is not below what had been acknowledged.
 */
class Counters {
  readonly acked = Array.from({ length: KEYS }, () => 0);
  readonly stale: string[] = [];
  reads = 0;
  found = 0;
  private log = Array.from({ length: KEYS }, (): { n: number; atMs: number }[] => []);
  private floors = Array.from({ length: KEYS }, () => 0);

  constructor(private readonly random: () => number) {}

  key = (i: number): string => (i % 7 === 0 ? `counter ${i}` : `counter-${i}`);

  async write(cache: Cache, i: number): Promise<void> {
    const n = (this.acked[i] ?? 0) + 1;
    if (this.random() < 0.15) await cache.app.delete(this.key(i));
    await cache.app.set(this.key(i), String(n), { expires: this.random() < 0.3 ? 3600 : 0 });
    this.acked[i] = n;
    this.log[i]?.push({ n, atMs: Date.now() });
  }

  /** Everything acknowledged until now must be seen from now on. */
  mark(): void {
    this.floors = [...this.acked];
  }

  async read(cache: Cache, i: number): Promise<void> {
    const settled = this.log[i]?.findLast((w) => w.atMs < Date.now() - DRAIN_LAG_MS)?.n ?? 0;
    const least = Math.max(this.floors[i] ?? 0, settled);
    const { value } = await cache.app.get(this.key(i));
    this.reads += 1;
    if (value === null) return;
    this.found += 1;
    if (Number(value.toString()) < least) this.stale.push(`${this.key(i)}: ${value.toString()}, at least ${least}`);
  }
}

/** Runs writers over all keys until told to stop; resolves when the last write is acknowledged. */
function writers(c: Counters, cache: Cache, among: readonly number[]): { stop(): Promise<void> } {
  let on = true;
  const all = among.map(async (i) => {
    while (on) {
      await c.write(cache, i);
      await delay(i % 4);
    }
  });
  return {
    async stop() {
      on = false;
      await Promise.all(all);
    },
  };
}

function readers(c: Counters, cache: Cache): { stop(): Promise<void> } {
  let on = true;
  const all = [0, 1, 2, 3].map(async (r) => {
    for (let i = r; on; i = (i + 7) % KEYS) await c.read(cache, i);
  });
  return {
    async stop() {
      on = false;
      await Promise.all(all);
    },
  };
}

describe('the switch of the cache warm-up', function () {
  this.timeout(90_000);
  let m1: Cache;
  let m2: Cache;
  let relay: Relay | undefined;
  let warmup: CacheWarmup | undefined;

  beforeEach(async () => {
    [m1, m2] = await Promise.all([startCache('127.35.3.1'), startCache('127.35.3.2')]);
  });
  afterEach(async () => {
    await warmup?.close();
    await relay?.close();
    warmup = relay = undefined;
    await Promise.all([m1.stop(), m2.stop()]);
  });

  const begin = async (options: Partial<Parameters<typeof createCacheWarmup>[0]> = {}): Promise<CacheWarmup> => {
    warmup = createCacheWarmup({ source: m1.at, target: m2.at, timeoutMs: 2000, ...options });
    await warmup.start(within(10_000));
    return warmup;
  };

  it('leaves no stale value on the side that takes over, there and back again, under load', async () => {
    const w = await begin();
    const c = new Counters(seeded(21));
    const all = Array.from({ length: KEYS }, (_, i) => i);
    let [from, to] = [m1, m2];
    for (let turn = 0; turn < 4; turn++) {
      const serving = writers(c, from, all);
      await w.awaitWhole(within(10_000));
      await delay(200);
      const late = Date.now();
      assert.deepEqual(await w.invalidate(within(5000)), { flushed: false });
      assert.ok(Date.now() - late < 1000, 'the switch took a second');
      c.mark();
      // The edge has moved: N2 reads, while what N1 still had at work goes on writing there.
      const reading = readers(c, to);
      await delay(150);
      await serving.stop();
      await w.fence(within(5000));
      c.mark();
      const taken = writers(c, to, all);
      await delay(150);
      await taken.stop();
      await reading.stop();
      assert.deepEqual(c.stale, []);
      await w.turn(within(10_000));
      [from, to] = [to, from];
    }
    assert.ok(c.reads > 1000 && c.found > 300, `${c.reads} reads, ${c.found} found: too few to tell`);
  });

  it('keeps the values that were warm', async () => {
    const w = await begin();
    for (let i = 0; i < 500; i++) await m1.app.set(`k${i}`, `v${i}`, {});
    await w.fence(within(5000));
    await w.awaitWhole(within(10_000));
    assert.deepEqual(await w.warmth(100), { sampled: 100, present: 100, equal: 100 });
    await w.invalidate(within(5000));
    for (let i = 0; i < 500; i++) await m1.app.get(`k${i}`);
    await w.fence(within(5000));
    const seen = await assertEqual(
      m1,
      m2,
      Array.from({ length: 500 }, (_, i) => `k${i}`),
    );
    assert.equal(seen.held, 500);
  });

  it('takes away what N1 deletes, increments, touches or writes while it drains', async () => {
    const w = await begin();
    for (const k of ['del', 'inc', 'touch', 'set', 'same']) await m1.app.set(k, '7', { expires: 1000 });
    await w.awaitWhole(within(5000));
    await w.fence(within(5000));
    await w.invalidate(within(5000));
    await m1.app.delete('del');
    await m1.app.increment('inc', 1, {});
    await m1.app.touch('touch', 50);
    await m1.app.set('set', '8', {});
    await m1.app.get('same');
    await w.fence(within(5000));
    const raw = await RawClient.open(m2.at);
    for (const k of ['del', 'inc', 'touch', 'set']) assert.equal(await raw.held(k), null, k);
    assert.equal((await raw.held('same'))?.value, '7\r\n');
    raw.close();
    assert.throws(() => w.pause('all'), { code: 'CACHE_PAUSE_REFUSED' });
  });

  it('empties M2 when it is not known to be whole, or when lines are lost after the switch', async () => {
    const raw = await RawClient.open(m1.at);
    let commands = '';
    for (let i = 0; i < 3000; i++) commands += `set k${i} 0 0 1 noreply\r\nx\r\n`;
    await raw.run(commands);
    const w = await begin({ passKeysPerS: 100 });
    await delay(200);
    assert.deepEqual(await w.invalidate(within(5000)), { flushed: true });
    const there = await RawClient.open(m2.at);
    assert.equal((await m2.app.get('k1')).value, null);
    await m2.app.set('written by N2', 'x', {});
    await raw.run(commands.replaceAll('\r\nx\r\n', '\r\ny\r\n'));
    await w.fence(within(5000));
    assert.ok(w.status().counts.droppedLines > 0, 'the overload dropped no line, so nothing was tested');
    assert.equal((await m2.app.get('written by N2')).value, null);
    raw.close();
    there.close();
  });

  it('is not done while a copy whose answer was lost may still be carried out', async () => {
    relay = await Relay.open('127.35.3.3', m2.at);
    const w = await begin({ target: relay.at, timeoutMs: 400 });
    await w.awaitWhole(within(10_000));
    relay.hold();
    await m1.app.set('k', 'old', {});
    for (const end = within(5000); !relay.held.includes('ms k 3'); await delay(5)) assert.ok(Date.now() < end);
    // The connection breaks by time-out while the copy is on its way; new connections pass.
    await assert.rejects(w.invalidate(within(2500)), { code: /CACHE_(LATE_WRITES|TIMEOUT|LOST|UNREACHABLE)/ });
    assert.equal(w.status().mode, 'copy');
    assert.match(w.status().lastError ?? '', /writes on it may still happen/);
    relay.deliver();
    await w.invalidate(within(5000));
    await m1.app.set('k', 'new', {});
    await w.fence(within(5000));
    assert.equal((await m2.app.get('k')).value, null);
  });

  it('goes back to copying when the switch is called off', async () => {
    const w = await begin();
    await m1.app.set('k', '1', {});
    await w.invalidate(within(5000));
    await m1.app.set('k', '2', {});
    await assert.rejects(
      async () => {
        w.follow();
        await w.turn(within(100));
      },
      { code: 'CACHE_TURN_REFUSED' },
    );
    await w.awaitWhole(within(10_000));
    await w.fence(within(5000));
    assert.equal((await m2.app.get('k')).value?.toString(), '2');
  });

  it('a coordinator that comes back after the switch writes no value of M1 over those of M2', async () => {
    await m1.app.set('k', 'old', {});
    await m2.app.set('mine', 'x', {});
    const w = await begin({ mode: 'invalidate' });
    await w.fence(within(5000));
    await m2.app.set('k', 'new', {});
    await m1.app.get('other');
    await delay(300);
    await w.fence(within(5000));
    assert.equal((await m2.app.get('k')).value?.toString(), 'new');
    assert.equal(w.status().counts.copied, 0);
  });
});
