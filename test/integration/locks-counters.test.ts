import assert from 'node:assert/strict';
import { Applier } from '@nxnw/migration/locks/applier';
import { Counters } from '@nxnw/migration/locks/counters';
import { Fence } from '@nxnw/migration/locks/fence';
import { Marks } from '@nxnw/migration/locks/marks';
import type { ZooKeeper } from '@nxnw/platform/locks/client';
import type { TestServer } from '../support/servers.js';
import { LockPair, eventually } from './locks-support.js';

const SHOP = '/apps/shop';
const DIR = `${SHOP}/dir`;

describe("the lock sync's sequence numbers", () => {
  const pair = new LockPair('127.34.10.1', '127.34.10.2');
  let a: ZooKeeper;
  let b: ZooKeeper;
  let n2: TestServer;

  before(async () => {
    ({ a, b, n2 } = await pair.open());
  });
  afterEach(() => pair.empty());
  after(() => pair.close());

  it('wait with the number of a node while a child may still have to be made anew', async () => {
    const marks = { marks: new Marks(b, 'shop'), foreign: new Marks(a, 'shop') };
    const sides = { from: a, to: b, fence: await Fence.take(b, 'shop', 'test'), ...marks };
    await Promise.all([marks.marks.load(), marks.foreign.load()]);
    const waiting = new Map<string, number>();
    const counters = new Counters({
      ...sides,
      roots: [SHOP],
      applier: new Applier(sides),
      pending: (path) => waiting.get(path) ?? 0,
      mayMakeAnew: () => true,
      bothDraw: () => false,
      clockAheadMs: () => 0,
    });
    // Both sides have the directory with one child; then N1 makes the directory anew, with a child of another name.
    for (const zk of [a, b]) await zk.createRecursive(`${DIR}/old`);
    await a.removeRecursive(DIR);
    await a.createRecursive(`${DIR}/new`);
    await b.remove(`${DIR}/old`);

    // Of its events, that of the directory is here, that of the child waits: both sides have drawn one number so far.
    waiting.set(DIR, 1);
    for (const path of [DIR, SHOP]) counters.due(path, 1);
    assert.deepEqual(await counters.settle(counters.next(10)), []);
    assert.equal(await pair.next(b, SHOP), 1);

    await b.create(`${DIR}/new`, null);
    waiting.delete(DIR);
    assert.deepEqual(await counters.settle(counters.next(10)), [DIR]);
    await b.createRecursive(`${DIR}/new`);
    for (const path of [DIR, SHOP]) counters.due(path, 1);
    assert.deepEqual(await counters.settle(counters.next(10)), []);
    for (const path of [DIR, SHOP]) assert.equal(await pair.next(b, path), await pair.next(a, path), path);
    assert.equal(counters.size, 0);
  });

  it('are not raised for a child that is created while the sync stops', async () => {
    await a.createRecursive(SHOP);
    const draw = () => a.create(`${SHOP}/s-`, null, { mode: 'persistent-sequential' });
    const { sync } = await pair.start({ scrubNodesPerS: 0 });
    await sync.caughtUp('acls', 20_000);
    await n2.kill('SIGSTOP');
    await draw();
    await eventually('the child is being copied', () => sync.status().dirty > 0);
    const stopped = sync.stop();
    await draw();
    await n2.kill('SIGCONT');
    await stopped;
    await (await pair.start()).sync.caughtUp('acls', 20_000);
    assert.equal(await pair.next(b, SHOP), await pair.next(a, SHOP));
  });
});
