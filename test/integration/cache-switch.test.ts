import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { seeded } from '../support/random.js';
import { Counters, KEYS, readers, writers } from './cache-counters.js';
import { WarmedPair, RawClient, assertEqual, within } from './cache-support.js';

describe('the switch of the cache warm-up', function () {
  this.timeout(90_000);
  const pair = new WarmedPair('127.35.3');

  it('leaves no stale value on the side that takes over, there and back again, under load', async () => {
    const w = await pair.begin({ turnedRestMs: 0 });
    const c = new Counters(seeded(21));
    const all = Array.from({ length: KEYS }, (_, i) => i);
    let [from, to] = [pair.m1, pair.m2];
    for (let turn = 0; turn < 4; turn++) {
      const serving = writers(c, from, all);
      await w.awaitWhole(within(10_000));
      await delay(200);
      const losses = w.status().counts.losses;
      const { flushed } = await w.invalidate(within(5000));
      assert.ok(!flushed || w.status().counts.losses > losses, 'emptied for nothing');
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

  it('follows at once after a turn, rests before its full pass, and can be switched meanwhile', async () => {
    const w = await pair.begin({ turnedRestMs: 3_600_000 });
    await pair.m1.app.set('before', '1', {});
    await w.awaitWhole(within(10_000));
    await w.invalidate(within(5000));
    await w.turn(within(10_000));
    await pair.m2.app.set('after', '2', {});
    await w.fence(within(5000));
    assert.equal((await pair.m1.app.get('after')).value?.toString(), '2');
    const { whole, counts } = w.status();
    assert.deepEqual({ whole, passes: counts.passes }, { whole: false, passes: 0 });
    assert.deepEqual(await w.invalidate(within(5000)), { flushed: true });
    assert.equal((await pair.m1.app.get('before')).value, null);
  });

  it('keeps the values that were warm', async () => {
    const w = await pair.begin();
    for (let i = 0; i < 500; i++) await pair.m1.app.set(`k${i}`, `v${i}`, {});
    await w.fence(within(5000));
    await w.awaitWhole(within(10_000));
    assert.deepEqual(await w.warmth(100), { sampled: 100, present: 100, equal: 100 });
    await w.invalidate(within(5000));
    for (let i = 0; i < 500; i++) await pair.m1.app.get(`k${i}`);
    await w.fence(within(5000));
    const seen = await assertEqual(
      pair.m1,
      pair.m2,
      Array.from({ length: 500 }, (_, i) => `k${i}`),
    );
    assert.equal(seen.held, 500);
  });

  it('takes away what N1 deletes, increments, touches or writes while it drains', async () => {
    const w = await pair.begin();
    for (const k of ['del', 'inc', 'touch', 'set', 'same']) await pair.m1.app.set(k, '7', { expires: 1000 });
    await w.awaitWhole(within(5000));
    await w.fence(within(5000));
    await w.invalidate(within(5000));
    await pair.m1.app.delete('del');
    await pair.m1.app.increment('inc', 1, {});
    await pair.m1.app.touch('touch', 50);
    await pair.m1.app.set('set', '8', {});
    await pair.m1.app.get('same');
    await w.fence(within(5000));
    const raw = await RawClient.open(pair.m2.at);
    for (const k of ['del', 'inc', 'touch', 'set']) assert.equal(await raw.held(k), null, k);
    assert.equal((await raw.held('same'))?.value, '7\r\n');
    raw.close();
    assert.throws(() => w.pause('all'), { code: 'CACHE_PAUSE_REFUSED' });
  });

  it('takes away the keys that were still waiting for a copier', async () => {
    const w = await pair.begin({ copiers: 1 });
    const raw = await RawClient.open(pair.m1.at);
    const sets = (value: string) =>
      Array.from({ length: 400 }, (_, i) => `set k${i} 0 0 1 noreply\r\n${value}\r\n`).join('');
    await raw.run(sets('1'));
    await w.fence(within(10_000));
    await w.awaitWhole(within(10_000));
    await raw.run(sets('2'));
    for (const end = within(5000); w.status().queued < 100; await delay(1)) assert.ok(Date.now() < end, 'too few wait');
    const copied = w.status().counts.copied;
    await w.invalidate(within(10_000));
    assert.ok(w.status().counts.copied < copied + 350, 'all were copied, so nothing was tested');
    for (let i = 0; i < 400; i++) assert.notEqual((await pair.m2.app.get(`k${i}`)).value?.toString(), '1');
    raw.close();
  });

  it('empties M2 when it is not known to be whole, or when lines are lost after the switch', async () => {
    const raw = await RawClient.open(pair.m1.at);
    let commands = '';
    for (let i = 0; i < 3000; i++) commands += `set k${i} 0 0 1 noreply\r\nx\r\n`;
    await raw.run(commands);
    const w = await pair.begin({ passKeysPerS: 100 });
    await delay(200);
    assert.deepEqual(await w.invalidate(within(5000)), { flushed: true });
    const there = await RawClient.open(pair.m2.at);
    assert.equal((await pair.m2.app.get('k1')).value, null);
    await pair.m2.app.set('written by N2', 'x', {});
    await raw.run(commands.replaceAll('\r\nx\r\n', '\r\ny\r\n'));
    await w.fence(within(5000));
    assert.ok(w.status().counts.droppedLines > 0, 'the overload dropped no line, so nothing was tested');
    assert.equal((await pair.m2.app.get('written by N2')).value, null);
    raw.close();
    there.close();
  });

  it('is not done while a copy whose answer was lost may still be carried out', async () => {
    const relay = await pair.relayTo(pair.m2);
    const w = await pair.begin({ target: relay.at, timeoutMs: 400 });
    await w.awaitWhole(within(10_000));
    relay.hold();
    await pair.m1.app.set('k', 'old', {});
    for (const end = within(5000); !relay.held.includes('ms k 3'); await delay(5)) assert.ok(Date.now() < end);
    // The connection breaks by time-out while the copy is on its way; new connections pass.
    await assert.rejects(w.invalidate(within(2500)), { code: /CACHE_(LATE_WRITES|TIMEOUT|LOST|UNREACHABLE)/ });
    assert.equal(w.status().mode, 'copy');
    assert.match(w.status().lastError ?? '', /writes on it may still happen/);
    relay.deliver();
    await w.invalidate(within(5000));
    await pair.m1.app.set('k', 'new', {});
    await w.fence(within(5000));
    assert.equal((await pair.m2.app.get('k')).value, null);
  });

  it('goes back to copying when the switch is called off', async () => {
    const w = await pair.begin();
    await pair.m1.app.set('k', '1', {});
    await w.invalidate(within(5000));
    await pair.m1.app.set('k', '2', {});
    await assert.rejects(
      async () => {
        w.follow();
        await w.turn(within(100));
      },
      { code: 'CACHE_TURN_REFUSED' },
    );
    await w.awaitWhole(within(10_000));
    await w.fence(within(5000));
    assert.equal((await pair.m2.app.get('k')).value?.toString(), '2');
  });

  it('a coordinator that comes back after the switch writes no value of M1 over those of M2', async () => {
    await pair.m1.app.set('k', 'old', {});
    await pair.m2.app.set('mine', 'x', {});
    const w = await pair.begin({ mode: 'invalidate' });
    await w.fence(within(5000));
    await pair.m2.app.set('k', 'new', {});
    await pair.m1.app.get('other');
    await delay(300);
    await w.fence(within(5000));
    assert.equal((await pair.m2.app.get('k')).value?.toString(), 'new');
    assert.equal(w.status().counts.copied, 0);
  });
});
