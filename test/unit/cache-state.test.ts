import assert from 'node:assert/strict';
import { KeyQueue } from '@nxnw/migration/cache/queue';
import { HitRate, since, type Look } from '@nxnw/migration/cache/pulse';
import { FIRST_STATE, isWhole, step, type LaneEvent, type LaneState } from '@nxnw/migration/cache/state';

/** Applies events; answers the last state and all acts. */
function run(...events: LaneEvent[]): { state: LaneState; acts: string[] } {
  let state = FIRST_STATE;
  const acts: string[] = [];
  for (const e of events) {
    const next = step(state, e);
    state = next.state;
    acts.push(...next.acts);
  }
  return { state, acts };
}
const lost = { type: 'lost' } as const;
const passed = { type: 'passEnded', complete: true } as const;

describe('what the cache warm-up decides', () => {
  it('is whole after a pass during which nothing was lost', () => {
    const { state, acts } = run(lost, passed);
    assert.ok(isWhole(state));
    assert.deepEqual(acts, ['startPass']);
  });

  it('needs another pass for what was lost during one', () => {
    const { state, acts } = run(lost, lost, passed);
    assert.ok(!isWhole(state));
    assert.deepEqual(acts, ['startPass', 'startPass']);
    assert.ok(isWhole(step(state, passed).state));
  });

  it('a pass that broke off counts for nothing', () => {
    const { state, acts } = run(lost, { type: 'passEnded', complete: false });
    assert.ok(!isWhole(state));
    assert.deepEqual(acts, ['startPass', 'startPass']);
  });

  it('empties the target at the switch unless it is whole', () => {
    assert.deepEqual(run(lost, { type: 'close' }).acts, ['startPass', 'stopPass', 'flushTarget']);
    assert.deepEqual(run(lost, passed, { type: 'close' }).acts, ['startPass']);
  });

  it('starts no pass from the switch on, and empties the target for whatever is lost', () => {
    const { state, acts } = run(lost, passed, { type: 'close' }, { type: 'closed' }, lost, { type: 'sourceFlushed' });
    assert.equal(state.mode, 'invalidate');
    assert.deepEqual(acts, ['startPass', 'flushTarget', 'flushTarget']);
    assert.deepEqual(run(lost, { type: 'close' }, lost, passed).acts, [
      'startPass',
      'stopPass',
      'flushTarget',
      'flushTarget',
    ]);
  });

  it('holds passes while the operator pauses, and makes up for it', () => {
    const { state, acts } = run(lost, { type: 'holdPasses' }, { type: 'passEnded', complete: false }, lost);
    assert.equal(state.passSince, null);
    assert.deepEqual(acts, ['startPass', 'stopPass']);
    assert.deepEqual(step(state, { type: 'releasePasses' }).acts, ['startPass']);
  });

  it('copies again, beginning with a pass, when the switch is called off', () => {
    const { state, acts } = run(lost, passed, { type: 'close' }, { type: 'closed' }, { type: 'copy' });
    assert.deepEqual(acts, ['startPass', 'startPass']);
    assert.ok(!isWhole(state));
  });
});

describe('the queue of keys', () => {
  it('holds a key once, remembers a write, and is bounded', () => {
    const q = new KeyQueue(2);
    assert.ok(q.add('a', { stored: true, heardAtMs: 1 }));
    assert.ok(q.add('a', { stored: false, heardAtMs: 2 }));
    assert.ok(q.add('b', { stored: false, heardAtMs: 3 }));
    assert.ok(!q.add('c', { stored: false, heardAtMs: 4 }));
    assert.deepEqual(q.take(), { key: 'a', heard: { stored: true, heardAtMs: 1 } });
    assert.ok(q.add('c', { stored: false, heardAtMs: 4 }));
  });

  it('gives a key to one copier at a time, and again when it was heard of meanwhile', () => {
    const q = new KeyQueue(10);
    q.add('a', { stored: false, heardAtMs: 1 });
    q.take();
    q.add('a', { stored: false, heardAtMs: 2 });
    assert.equal(q.take(), undefined);
    assert.equal(q.oldestMs(), 1);
    q.done('a');
    assert.equal(q.take()?.heard.heardAtMs, 2);
    q.done('a');
    assert.equal(q.oldestMs(), null);
  });
});

describe('what two looks at memcached tell', () => {
  const first: Look = {
    ...{ atMs: 0, pid: '1', uptimeS: 5, flushes: 2, dropped: 7, hits: 100, misses: 50, items: 3 },
    ...{ ownHits: 10, ownMisses: 5, ownFlushes: 1 },
  };

  it('a flush by somebody else is told from our own, a restart from neither', () => {
    assert.deepEqual(since(first, { ...first, flushes: 3, ownFlushes: 2 }), {
      restarted: false,
      flushed: false,
      dropped: 0,
    });
    assert.deepEqual(since(first, { ...first, flushes: 3, dropped: 9 }), {
      restarted: false,
      flushed: true,
      dropped: 2,
    });
    assert.deepEqual(since(first, { ...first, pid: '2', flushes: 0, dropped: 0 }), {
      restarted: true,
      flushed: false,
      dropped: 0,
    });
  });

  it('the hit rate leaves our own reads out', () => {
    const rate = new HitRate();
    assert.equal(rate.value, null);
    rate.add(first);
    rate.add({ ...first, atMs: 100, hits: 200, misses: 100, ownHits: 20, ownMisses: 45 });
    assert.equal(rate.value, 90 / 100);
    rate.add({ ...first, atMs: 200, pid: '2' });
    assert.equal(rate.value, null);
  });
});
