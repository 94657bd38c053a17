import assert from 'node:assert/strict';
import { LockTrees } from '@nxnw/migration/coordinator/engines/locks';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import type { TestServer } from '../support/servers.js';
import { emptyTrees, eventually, startLocks, superOf } from './locks-support.js';

describe("the coordinator's lock trees", () => {
  let n1: TestServer;
  let n2: TestServer;
  let a: ZooKeeper;
  let b: ZooKeeper;
  let trees: LockTrees;

  before(async () => {
    [n1, n2] = await Promise.all([startLocks('127.34.9.1'), startLocks('127.34.9.2')]);
    [a, b] = await Promise.all([ZooKeeper.connect(superOf(n1)), ZooKeeper.connect(superOf(n2))]);
    const at = (s: TestServer) => [`${s.ip}:${s.port}`];
    trees = new LockTrees({ source: at(n1), target: at(n2) }, 'test', () => undefined);
  });
  after(async () => {
    await trees.stop();
    await emptyTrees(a, b);
    await Promise.all([a.close(), b.close()]);
    await Promise.all([n1.stop(), n2.stop()]);
  });

  it('keep what N2 wrote after the turn was prepared, and undo it when the switch is undone before the turn', async () => {
    await a.createRecursive('/apps/shop/tree');
    await trees.set('shop', 'forward');
    await trees.prepareTurn('shop', Date.now() + 20_000);
    await trees.set('shop', 'turning');
    await b.create('/apps/shop/tree/n2', Buffer.from('2'));
    // a change of N1 that lies behind it arrives: N2's node was looked past
    await a.create('/apps/shop/tree/n1', Buffer.from('1'));
    await eventually('the change of N1 arrives', async () => (await b.exists('/apps/shop/tree/n1')) !== null);
    assert.notEqual(await b.exists('/apps/shop/tree/n2'), null);
    await trees.set('shop', 'forward');
    await eventually('N2 is like N1 again', async () => (await b.exists('/apps/shop/tree/n2')) === null);
  });

  it('let N1 follow N2 after the turn, with what was written in between', async () => {
    await trees.prepareTurn('shop', Date.now() + 20_000);
    await b.create('/apps/shop/tree/between', Buffer.from('2'));
    await trees.turn('shop', 'reverse', Date.now() + 20_000);
    await eventually('N1 has it', async () => (await a.exists('/apps/shop/tree/between')) !== null);
    assert.notEqual(await b.exists('/apps/shop/tree/between'), null);
  });
});
