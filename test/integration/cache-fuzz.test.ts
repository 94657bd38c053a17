import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { asError } from '@nxnw/platform/errors';
import { pick, seeded } from '../support/random.js';
import { Counters, KEYS, readers, writers } from './cache-counters.js';
import { RawClient, WarmedPair, within, type Relay } from './cache-support.js';

describe('the cache warm-up under seeded trouble', function () {
  this.timeout(120_000);
  const pair = new WarmedPair('127.35.10');

  /** What goes wrong; each leaves the warm-up to find its own way out. */
  const trouble = (random: () => number, to: { m1: Relay; m2: Relay }): Record<string, () => Promise<void>> => {
    const some = () => delay(50 + random() * 400);
    return {
      async 'a burst that drops log lines'() {
        const raw = await RawClient.open(pair.m1.at);
        let commands = '';
        for (let i = 0; i < 3000; i++) commands += `set other-${i % 500} 0 0 1 noreply\r\nx\r\n`;
        await raw.run(commands);
        raw.close();
      },
      async 'M1 answers late'() {
        to.m1.stall();
        await some();
        to.m1.unstall();
      },
      async 'writes to M2 stuck on their way'() {
        to.m2.hold();
        await some();
        to.m2.deliver();
      },
      async 'connections to M1 cut'() {
        to.m1.cut();
        await some();
      },
      async 'connections to M2 cut'() {
        to.m2.cut();
        await some();
      },
      async 'M2 stopped for a while'() {
        await pair.m2.server.kill('SIGSTOP');
        await some();
        await pair.m2.server.kill('SIGCONT');
      },
      async 'M2 restarted'() {
        await pair.m2.server.restart();
      },
      async 'M1 flushed'() {
        await pair.m1.app.flush();
      },
    };
  };

  for (const seed of [101, 102, 103, 104, 105, 106])
    it(`leaves nothing stale on M2 after the switch (seed ${seed})`, async () => {
      const random = seeded(seed);
      const [m1, m2] = [await pair.relayTo(pair.m1), await pair.relayTo(pair.m2)];
      const w = await pair.begin({ source: m1.at, target: m2.at, timeoutMs: 250, pollEveryMs: 50 });
      const c = new Counters(random);
      const serving = writers(c, pair.m1, [...Array(KEYS).keys()]);
      const [first, ...rest] = Object.entries(trouble(random, { m1, m2 }));
      assert.ok(first);
      const happened: string[] = [];
      for (let n = 0; n < 6; n++) {
        const [name, happen] = pick(random, [first, ...rest]);
        happened.push(name);
        await happen();
      }
      const errors: string[] = [];
      for (let done = false; !done;) {
        assert.ok(errors.length < 20, `the switch does not succeed: ${errors.join('; ')}`);
        await w.invalidate(within(3000)).then(
          () => (done = true),
          (e: unknown) => errors.push(asError(e).message),
        );
      }
      c.mark();
      const reading = readers(c, pair.m2);
      await delay(100);
      const [name, happen] = pick(random, [first, ...rest.filter(([n]) => n.includes('M1'))]);
      happened.push(`then ${name}`);
      await happen();
      await serving.stop();
      for (let done = false; !done;) {
        assert.ok(errors.length < 40, `the fence does not succeed: ${errors.join('; ')}`);
        await w.fence(within(3000)).then(
          () => (done = true),
          (e: unknown) => errors.push(asError(e).message),
        );
      }
      c.mark();
      await delay(100);
      await reading.stop();
      assert.deepEqual(c.stale, [], happened.join(', '));
      assert.ok(c.reads > 200, `${c.reads} reads are too few to tell`);
    });
});
