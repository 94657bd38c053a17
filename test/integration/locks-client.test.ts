import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { hasCode } from '@nxnw/platform/errors';
import { ZooKeeper, nextSequence, nodeKind } from '@nxnw/platform/locks/client';
import { startZooKeeper } from '../support/servers.js';
import type { TestServer } from '../support/servers.js';
import { Relay, eventually } from './locks-support.js';

const IP = '127.34.1.1';

describe('the ZooKeeper client', () => {
  let server: TestServer;
  let zk: ZooKeeper;

  before(async () => {
    server = await startZooKeeper({ ip: IP });
    zk = await ZooKeeper.connect({ servers: `${IP}:2181` });
  });
  after(async () => {
    await zk.close();
    await server.stop();
  });

  const code = (c: string) => (e: unknown) => hasCode(e, c);

  it('names the errors of ZooKeeper', async () => {
    await zk.createRecursive('/errors/a');
    await assert.rejects(zk.get('/errors/none'), code('NO_NODE'));
    await assert.rejects(zk.create('/errors', null), code('NODE_EXISTS'));
    await assert.rejects(zk.set('/errors', null, 9), code('BAD_VERSION'));
    await assert.rejects(zk.remove('/errors'), code('NOT_EMPTY'));
    await assert.rejects(zk.create('/errors/acl', null, { acl: [{ perms: 31, scheme: 'none', id: 'x' }] }), code('INVALID_ACL')); // prettier-ignore
    await zk.create('/errors/e', null, { mode: 'ephemeral' });
    await assert.rejects(zk.create('/errors/e/child', null), code('NO_CHILDREN_FOR_EPHEMERALS'));
    assert.equal(await zk.tryGet('/errors/none'), null);
    assert.equal(await zk.exists('/errors/none'), null);
  });

  it('keeps binary data, and tells no data from empty data', async () => {
    await zk.createRecursive('/data');
    for (const data of [Buffer.from([0, 1, 0xfe, 0xff]), Buffer.alloc(0), null, Buffer.alloc(1_048_000, 7)]) {
      await zk.create('/data/x', data);
      assert.deepEqual((await zk.get('/data/x')).data, data);
      await zk.remove('/data/x');
    }
  });

  it('does all operations of a multi or none, and names the one that failed', async () => {
    await zk.createRecursive('/multi');
    const failing = zk.multi([
      { op: 'create', path: '/multi/a', data: null },
      { op: 'set', path: '/multi/none', data: null },
    ]);
    await assert.rejects(failing, (e) => hasCode(e, 'NO_NODE') && e.fields['index'] === 1);
    assert.equal(await zk.exists('/multi/a'), null);
    const done = await zk.multi([
      { op: 'check', path: '/multi', version: 0 },
      { op: 'create', path: '/multi/s-', data: null, mode: 'persistent-sequential' },
      { op: 'create', path: '/multi/e', data: null, mode: 'ephemeral' },
      { op: 'set', path: '/multi/e', data: Buffer.from('1') },
    ]);
    assert.deepEqual(done.map((r) => r.op), ['check', 'create', 'create', 'set']); // prettier-ignore
    const [, created, ephemeral] = done;
    assert(created?.op === 'create' && created.path === '/multi/s-0000000000');
    assert(ephemeral?.op === 'create' && nodeKind(ephemeral.stat) === 'ephemeral');
  });

  it('computes the next sequence number without touching the node', async () => {
    await zk.createRecursive('/seq');
    for (let i = 0; i < 20; i++) {
      const stat = await zk.exists('/seq');
      assert(stat);
      const { path } = await zk.create('/seq/n-', null, { mode: 'persistent-sequential' });
      assert.equal(Number(path.slice('/seq/n-'.length)), nextSequence(stat));
      if (i % 3 === 0) await zk.remove(path);
      if (i % 4 === 0) await zk.create(`/seq/other${i}`, null);
    }
  });

  it('hides the chroot in paths and events', async () => {
    await zk.createRecursive('/apps/shop');
    const inside = await ZooKeeper.connect({ servers: `${IP}:2181/apps/shop` });
    const seen: string[] = [];
    const stop = await inside.watch('/', 'subtree', { event: (e) => seen.push(`${e.type} ${e.path}`) });
    assert.equal((await inside.create('/a', null)).path, '/a');
    await inside.multi([{ op: 'set', path: '/a', data: Buffer.from('x') }]);
    await zk.sync();
    assert.equal((await zk.get('/apps/shop/a')).data?.toString(), 'x');
    await inside.exists('/');
    assert.deepEqual(seen, ['created /a', 'dataChanged /a']);
    stop();
    await inside.close();
  });

  it('gives up on a server that accepts connections and never answers', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((ok) => silent.listen(2181, '127.34.1.2', ok));
    const began = Date.now();
    const failing = ZooKeeper.connect({ servers: '127.34.1.2:2181', connectTimeoutMs: 500 });
    await assert.rejects(failing, code('UNAVAILABLE'));
    assert(Date.now() - began < 3000);
    silent.close();
  });

  it('sets a watch again after the server restarts, and has calls wait for it', async () => {
    const own = await startZooKeeper({ ip: '127.34.1.3' });
    const client = await ZooKeeper.connect({ servers: '127.34.1.3:2181', sessionTimeoutMs: 10_000 });
    await client.createRecursive('/w/x');
    const log: string[] = [];
    await client.watch('/w', 'subtree', {
      event: (e) => log.push(e.type),
      armed: () => log.push('armed'),
      lost: () => log.push('lost'),
    });
    await own.kill();
    // Sent or not when the server died: either way the answer says which.
    const waiting = client.set('/w/x', Buffer.from('late')).then(
      () => 'done',
      (e: unknown) => hasCode(e, 'CONNECTION_LOSS'),
    );
    await own.restart();
    assert(await waiting);
    await eventually('armed again', () => log.at(-1) === 'armed' || log.at(-2) === 'armed');
    await client.create('/w/y', null);
    await client.exists('/');
    assert(log.includes('lost') && log.at(-1) === 'created', log.join());
    await client.close();
    await own.stop();
  });

  it('opens a new session after expiry, without the ephemerals of the old one', async () => {
    const relay = await Relay.start(server, '127.34.1.4');
    const client = await ZooKeeper.connect({ servers: relay.servers, sessionTimeoutMs: 1000 });
    const events: string[] = [];
    for (const e of ['connected', 'disconnected', 'expired'] as const) client.on(e, () => events.push(e));
    const first = client.sessionId;
    await client.createRecursive('/expiry');
    await client.create('/expiry/e', null, { mode: 'ephemeral' });
    relay.break();
    await eventually('the ephemeral goes', async () => (await zk.exists('/expiry/e')) === null);
    relay.heal();
    await eventually('a new session', () => client.isConnected && client.sessionId !== first);
    assert.deepEqual(events, ['disconnected', 'expired', 'connected']);
    await client.create('/expiry/e', null, { mode: 'ephemeral' });
    await client.close();
    assert.equal(await zk.exists('/expiry/e'), null);
    await relay.close();
  });

  it('notices a connection on which nothing comes any more, and calls end by their deadline', async () => {
    const relay = await Relay.start(server, '127.34.1.5');
    const client = await ZooKeeper.connect({ servers: relay.servers, sessionTimeoutMs: 3000, callTimeoutMs: 500 });
    relay.stall();
    await assert.rejects(client.get('/'), (e) => hasCode(e, 'DEADLINE_EXCEEDED') && e.fields['sent'] === true);
    await eventually('reconnected through a fresh connection', async () => {
      return client.get('/').then(
        () => true,
        () => false,
      );
    });
    await client.close();
    await relay.close();
  });

  it('keeps the session of a client that only receives events', async () => {
    const listener = await ZooKeeper.connect({ servers: `${IP}:2181`, sessionTimeoutMs: 1000 });
    const events: string[] = [];
    for (const e of ['disconnected', 'expired'] as const) listener.on(e, () => events.push(e));
    await zk.createRecursive('/busy');
    let seen = 0;
    await listener.watch('/busy', 'subtree', { event: () => seen++ });
    for (let i = 0; i < 120; i++) {
      await zk.set('/busy', null);
      await new Promise((ok) => setTimeout(ok, 25));
    }
    await listener.exists('/busy');
    assert.deepEqual(events, []);
    assert.equal(seen, 120);
    await listener.close();
  });

  it('follows a node: its value at once, then the newest after changes, absence too', async () => {
    await zk.createRecursive('/follow');
    const abort = new AbortController();
    const values = zk.follow('/follow/x', abort.signal)[Symbol.asyncIterator]();
    const next = async () => ((await values.next()).value as { data: Buffer } | null)?.data.toString() ?? null;
    assert.equal(await next(), null);
    await zk.create('/follow/x', Buffer.from('1'));
    assert.equal(await next(), '1');
    for (const v of ['2', '3', '4']) await zk.set('/follow/x', Buffer.from(v));
    assert.equal(await next(), '4');
    await zk.remove('/follow/x');
    let last = await next();
    if (last !== null) last = await next();
    assert.equal(last, null);
    abort.abort();
    assert.equal((await values.next()).done, true);
  });

  it('refuses calls beyond its bound, and after close', async () => {
    const client = await ZooKeeper.connect({ servers: `${IP}:2181`, maxOutstanding: 10 });
    const calls = await Promise.allSettled(Array.from({ length: 12 }, () => client.exists('/')));
    assert.equal(calls.filter((c) => c.status === 'rejected' && hasCode(c.reason, 'RESOURCE_EXHAUSTED')).length, 2);
    await client.close();
    await assert.rejects(client.get('/'), code('CLIENT_CLOSED'));
  });
});
