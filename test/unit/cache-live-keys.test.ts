import assert from 'node:assert/strict';
import { LiveKeys } from '@nxnw/migration/cache/warmth';
import { seeded } from '../support/random.js';

describe('the sample of keys that applications use', () => {
  for (const [name, random] of [
    ['chosen by chance', seeded(3)],
    ['however chance falls', () => 0],
  ] as const)
    it(`has as many different keys as were asked for, or all there are (${name})`, () => {
      const live = new LiveKeys(random);
      for (let i = 0; i < 25; i++) for (let n = 0; n <= (i % 5) * 10; n++) live.used(`k${i}`);
      assert.equal(live.pick(20).size, 20);
      assert.equal(live.pick(40).size, 25);
      assert.equal(live.pick(0).size, 0);
      assert.equal(new LiveKeys(random).pick(5).size, 0);
    });
});
