import assert from 'node:assert/strict';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import type { TestServer } from '../support/servers.js';
import { BOB, LockPair, Relay, assertEqual, eventually, superOf, text } from './locks-support.js';

describe('the turn of the lock sync', () => {
  const pair = new LockPair('127.34.6.1', '127.34.6.2');
  const { start, next } = pair;
  let n1: TestServer;
  let n2: TestServer;
  let a: ZooKeeper;
  let b: ZooKeeper;

  before(async () => ({ n1, n2, a, b } = await pair.open()));
  afterEach(() => pair.empty());
  after(() => pair.close());

  it('turns: N1 follows N2, copies of ephemerals go with their owners, and back again', async () => {
    await a.createRecursive('/apps/shop/locks');
    const { sync, errors } = await start();
    const app1 = await ZooKeeper.connect(superOf(n1));
    const l1 = await app1.create('/apps/shop/locks/l-', Buffer.from('n1'), { mode: 'ephemeral-sequential' });
    await app1.create('/apps/shop/kept', null, { mode: 'ephemeral' });
    await a.create('/apps/shop/data', Buffer.from('1'));
    await sync.turn('reverse', 10_000);
    await sync.turn('reverse', 10_000);
    assert.deepEqual([sync.status().direction, sync.status().draining], ['reverse', 2]);

    const app2 = await ZooKeeper.connect(superOf(n2));
    const l2 = await app2.create('/apps/shop/locks/l-', Buffer.from('n2'), { mode: 'ephemeral-sequential' });
    assert.equal(l2.path, '/apps/shop/locks/l-0000000001');
    await b.set('/apps/shop/data', Buffer.from('2'));
    await sync.caughtUp('events', 15_000);
    assert.deepEqual([await text(a, '/apps/shop/data'), await text(a, l2.path)], ['2', 'n2']);
    assert.notEqual((await a.get(l1.path)).stat.ephemeralOwner, 0n);
    await app1.remove(l1.path);
    await eventually('the copy goes', async () => (await b.exists(l1.path)) === null);
    await assertEqual(sync);

    // A lock of N1's that somebody breaks at N2 is lost at N1 too.
    await b.remove('/apps/shop/kept');
    await eventually('it is broken', async () => (await a.exists('/apps/shop/kept')) === null);
    await eventually('no copies are left', () => sync.status().draining === 0);

    await sync.turn('forward', 10_000);
    await a.set('/apps/shop/data', Buffer.from('3'));
    await sync.caughtUp('events', 15_000);
    assert.equal(await text(b, '/apps/shop/data'), '3');
    await app2.close();
    await eventually('the copy of an ephemeral of N2 goes', async () => (await a.exists(l2.path)) === null);
    assert.equal((await a.create('/apps/shop/locks/l-', null, { mode: 'persistent-sequential' })).path, '/apps/shop/locks/l-0000000002'); // prettier-ignore
    await sync.caughtUp('events', 15_000);
    await assertEqual(sync);
    await app1.close();
    assert.deepEqual(errors, []);
  });

  it('gives no number twice while both sides draw, also what N1 drew a moment ago and N2 has not heard of', async () => {
    await a.createRecursive('/apps/shop/queue');
    await a.createRecursive('/apps/shop/locks');
    const drawn = new Set<string>();
    const draw = async (zk: ZooKeeper, dir: string, count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const { path } = await zk.create(`/apps/shop/${dir}/n-`, null, { mode: 'persistent-sequential' });
        assert.ok(!drawn.has(path), `${path} was drawn twice`);
        drawn.add(path);
        // a lock that is released: nothing of it is left to see
        if (dir === 'locks') await zk.remove(path);
      }
    };
    await draw(a, 'locks', 5);
    const { sync } = await start();
    await sync.caughtUp('events', 15_000);
    await draw(a, 'queue', 5);
    await sync.prepareTurn(15_000);
    // what N1 draws from now on is not heard of
    sync.pause();
    for (const dir of ['queue', 'locks']) for (const zk of [a, b, a, b]) await draw(zk, dir, 20);
    sync.resume();
    for (const dir of ['queue', 'locks']) await draw(a, dir, 5);
    await sync.turn('reverse', 15_000);
    await sync.caughtUp('events', 15_000);
    for (const dir of ['queue', 'locks']) {
      assert.ok(((await next(a, `/apps/shop/${dir}`)) ?? 0) >= ((await next(b, `/apps/shop/${dir}`)) ?? Infinity));
      await draw(b, dir, 5);
    }
    // back the same way
    await sync.prepareTurn(15_000);
    sync.pause();
    for (const dir of ['queue', 'locks']) for (const zk of [b, a, b, a]) await draw(zk, dir, 20);
    sync.resume();
    await sync.turn('forward', 15_000);
    await assertEqual(sync);
  });

  it('keeps what N2 wrote before the turn, over a lost session and a restart, and ACLs that N1 changed before it', async () => {
    await a.createRecursive('/apps/shop/p');
    await a.create('/apps/shop/both', Buffer.from('n1'));
    const relay = await Relay.start(n1, '127.34.3.5');
    const { sync } = await start({ source: { ...superOf(n1), servers: relay.servers }, scrubNodesPerS: 5000 });
    await sync.caughtUp('events', 15_000);
    await a.setAcl('/apps/shop/p', BOB);
    await sync.prepareTurn(15_000);
    await b.create('/apps/shop/n2', null);
    await b.set('/apps/shop/both', Buffer.from('n2'));
    await a.create('/apps/shop/n1', null);
    const compares = sync.status().fullCompares;
    relay.break();
    relay.heal();
    await eventually('compared again', () => sync.status().fullCompares > compares);
    await sync.stop();
    const again = (await start({ scrubNodesPerS: 5000 })).sync;
    await again.caughtUp('events', 15_000);
    await again.turn('reverse', 15_000);
    await again.caughtUp('events', 15_000);
    for (const zk of [a, b]) {
      assert.deepEqual((await zk.children('/apps/shop')).names.sort(), ['both', 'n1', 'n2', 'p']);
      assert.equal(await text(zk, '/apps/shop/both'), 'n2');
      assert.deepEqual((await zk.getAcl('/apps/shop/p')).acl, BOB);
    }
    await relay.close();
  });

  it('keeps the direction over a restart, and releases copies whose owners never went', async () => {
    await a.createRecursive('/apps/shop');
    const first = await start();
    await a.create('/apps/shop/e', null, { mode: 'ephemeral' });
    await first.sync.turn('reverse', 10_000);
    await first.sync.stop();
    const { sync } = await start();
    await b.create('/apps/shop/x', null);
    await sync.caughtUp('events', 15_000);
    assert(await a.exists('/apps/shop/x'));
    assert.deepEqual([sync.status().direction, sync.status().draining], ['reverse', 1]);
    assert.equal(await sync.releaseCopies(), 1);
    assert.equal(await b.exists('/apps/shop/e'), null);
  });
});
