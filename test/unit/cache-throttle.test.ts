import assert from 'node:assert/strict';
import { Throttle, type Clock } from '@nxnw/migration/cache/throttle';
import { seeded } from '../support/random.js';

/** Time that passes only where it is waited or worked for. */
class VirtualClock implements Clock {
  ms = 0;
  readonly now = (): number => this.ms;
  readonly delay = (ms: number): Promise<void> => {
    this.ms += ms;
    return Promise.resolve();
  };
}

const { signal } = new AbortController();

/** Takes `count` times, with a piece of work behind each; the time that it took, and how much of it was work, in ms. */
async function run(throttle: Throttle, clock: VirtualClock, count: number, workMs: () => number) {
  const start = clock.ms;
  let worked = 0;
  for (let i = 0; i < count; i++) {
    await throttle.take(signal);
    const ms = workMs();
    worked += ms;
    clock.ms += ms;
  }
  return { tookMs: clock.ms - start, worked };
}

describe("a throttle of the cache's copy", () => {
  it('uses its share of the time, whatever the work takes', async () => {
    for (const seed of [1, 2, 3]) {
      const rnd = seeded(seed);
      const clock = new VirtualClock();
      const { tookMs, worked } = await run(new Throttle(null, 0.1, clock), clock, 5000, () => rnd() * 8);
      const share = worked / tookMs;
      assert.ok(share > 0.09 && share < 0.11, `seed ${seed}: ${share}`);
    }
  });

  it('lets a rate pass evenly, changed while it is used, and everything without one', async () => {
    const clock = new VirtualClock();
    const throttle = new Throttle(1000, 1, clock);
    const second = await run(throttle, clock, 1000, () => 0);
    assert.ok(Math.abs(second.tookMs - 1000) < 60, String(second.tookMs));
    throttle.set(100);
    const slower = await run(throttle, clock, 100, () => 0);
    assert.ok(Math.abs(slower.tookMs - 1000) < 60, String(slower.tookMs));
    throttle.set(null);
    assert.equal((await run(throttle, clock, 10_000, () => 0)).tookMs, 0);
  });

  it('does not count a pause as work', async () => {
    const clock = new VirtualClock();
    const throttle = new Throttle(null, 0.5, clock);
    await run(throttle, clock, 100, () => 5);
    clock.ms += 3_600_000;
    const { tookMs } = await run(throttle, clock, 1, () => 5);
    assert.ok(tookMs <= 205, String(tookMs));
  });
});
