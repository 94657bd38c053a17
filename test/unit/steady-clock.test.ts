import assert from 'node:assert/strict';
import { steadyClock } from '@nxnw/platform/shards/process';

describe('the steady clock', () => {
  it('never runs backwards when the wall clock is set back, and comes to agree with it again', () => {
    let mono = 0;
    let wall = 1_000_000;
    const clock = steadyClock(
      () => wall,
      () => mono,
    );
    let last = clock();
    const pass = (ms: number) => {
      mono += ms;
      wall += ms;
      const now = clock();
      assert.ok(now >= last);
      last = now;
    };
    pass(10);
    wall -= 500;
    for (let i = 0; i < 49_000; i++) pass(1);
    assert.ok(Math.abs(last / 1000 - wall) < 20);
    for (let i = 0; i < 5000; i++) pass(1);
    assert.ok(Math.abs(last / 1000 - wall) < 0.01);
  });
});
