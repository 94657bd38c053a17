import assert from 'node:assert/strict';
import { hasCode, NxnwError } from '@nxnw/platform/errors';
import { CallStream, addCalls } from '@nxnw/platform/wire/calls';
import { RpcClient, RpcServer } from '@nxnw/platform/wire/rpc';
import { until } from '../support/handover.js';
import { seeded } from '../support/random.js';
import { Relay } from './cache-support.js';

const HOST = '127.31.9.1';
const soon = (ms = 10_000): number => Date.now() + ms;

type Serve = (path: string, body: unknown) => Promise<unknown>;

describe('many calls on one stream', function () {
  this.timeout(30_000);
  const servers: RpcServer[] = [];
  const clients: RpcClient[] = [];

  /** Answers the port. */
  const start = async (serve: Serve, port = 0): Promise<{ port: number; server: RpcServer }> => {
    const server = new RpcServer();
    addCalls(server, serve);
    servers.push(server);
    return { port: await server.listen(`${HOST}:${port}`, null), server };
  };
  const streamTo = (port: number): CallStream => {
    const client = new RpcClient(`${HOST}:${port}`, null);
    clients.push(client);
    return new CallStream(client);
  };
  afterEach(async () => {
    for (const c of clients.splice(0)) c.close();
    await Promise.all(servers.splice(0).map((s) => s.close(0)));
  });

  it('gives each call its own answer, in whatever order they come, and errors with their code and fields', async () => {
    const gates = new Map<number, () => void>();
    const { port } = await start(async (path, body) => {
      const n = body as number;
      if (path === 'fail') throw new NxnwError('MOVED', `call ${n}`, { n });
      if (path === 'broken') throw new Error('a fault of our own');
      await new Promise<void>((ok) => gates.set(n, ok));
      return { path, n, bytes: Buffer.from([n]) };
    });
    const stream = streamTo(port);
    const calls = Array.from({ length: 50 }, (_, n) => stream.call('wait', n, soon()));
    await assert.rejects(stream.call('fail', 7, soon()), (e: unknown) => hasCode(e, 'MOVED') && e.fields['n'] === 7);
    await assert.rejects(stream.call('broken', 1, soon()), (e) => hasCode(e, 'INTERNAL'));
    assert.equal(gates.size, 50, 'a later call is not kept waiting by earlier ones');
    for (const open of [...gates.values()].reverse()) open();
    const bytes = (n: number): Buffer => Buffer.from([n]);
    assert.deepEqual(
      await Promise.all(calls),
      calls.map((_, n) => ({ path: 'wait', n, bytes: bytes(n) })),
    );
  });

  it('ends a call at its deadline, and takes no harm from an answer that comes later', async () => {
    let open = (): void => undefined;
    const { port } = await start(async (path) => {
      if (path === 'late') await new Promise<void>((ok) => (open = ok));
      return { path };
    });
    const stream = streamTo(port);
    await stream.call('first', null, soon());
    await assert.rejects(stream.call('late', null, soon(50)), (e) => hasCode(e, 'DEADLINE_EXCEEDED'));
    open();
    assert.deepEqual(await stream.call('next', null, soon()), { path: 'next' });
  });

  it('speaks with a process of an earlier version by calls of their own', async () => {
    const server = new RpcServer();
    servers.push(server);
    server.add('shards', { unary: { status: (body) => Promise.resolve({ told: body }) } });
    const stream = streamTo(await server.listen(`${HOST}:0`, null));
    const answers = await Promise.all([1, 2, 3].map((n) => stream.call('shards.status', n, soon())));
    assert.deepEqual(
      answers,
      [1, 2, 3].map((told) => ({ told })),
    );
    assert.deepEqual(await stream.call('shards.status', 4, soon()), { told: 4 });
  });

  it('tells that a callee does not know a feature, and goes on by the stream', async () => {
    let asked = 0;
    const { port } = await start((path) => {
      asked++;
      if (path === 'unknown') throw new NxnwError('UNIMPLEMENTED', 'no such feature');
      return Promise.resolve({ path });
    });
    const stream = streamTo(port);
    await assert.rejects(stream.call('unknown', null, soon()), (e) => hasCode(e, 'UNIMPLEMENTED'));
    // a call of its own would find nobody: the server answers streams only
    assert.deepEqual(await stream.call('known', null, soon()), { path: 'known' });
    assert.equal(asked, 2);
  });

  it('lets calls end when the process closes, and does not wait for the stream', async () => {
    let open = (): void => undefined;
    const { port, server } = await start(async (path) => {
      if (path === 'slow') await new Promise<void>((ok) => (open = ok));
      return { path };
    });
    const stream = streamTo(port);
    await stream.call('first', null, soon());
    const slow = stream.call('slow', null, soon());
    await stream.call('second', null, soon());
    const closed = server.close(20_000);
    open();
    assert.deepEqual(await slow, { path: 'slow' });
    await closed;
    await assert.rejects(stream.call('third', null, soon()), (e) => hasCode(e, 'UNAVAILABLE'));
  });

  for (const seed of [1, 2, 3])
    it(`does each call at most once, and tells when that is not known, while connections are cut (seed ${seed})`, async () => {
      const rnd = seeded(seed);
      const done = new Map<number, number>();
      const { port } = await start(async (_, body) => {
        const n = body as number;
        done.set(n, (done.get(n) ?? 0) + 1);
        if (rnd() < 0.5) await new Promise<void>((ok) => setImmediate(ok));
        return { n };
      });
      const relay = await Relay.open(HOST, { host: HOST, port });
      const stream = streamTo(relay.at.port);
      const outcomes: string[] = [];
      for (let n = 0, round = 0; round < 30; round++) {
        const calls = Array.from({ length: 1 + Math.floor(rnd() * 20) }, () => {
          const id = n++;
          return stream.call<{ n: number }>('work', id, soon()).then(
            (a) => {
              assert.equal(a.n, id);
              assert.equal(done.get(id), 1);
              return 'answered';
            },
            (e: unknown) => (hasCode(e, 'UNAVAILABLE') ? 'not known' : Promise.reject(e as Error)),
          );
        });
        if (rnd() < 0.5) {
          for (let turns = Math.floor(rnd() * 6); turns > 0; turns--) await new Promise<void>((ok) => setImmediate(ok));
          relay.cut();
        }
        outcomes.push(...(await Promise.all(calls)));
        await until('an answer again', 10_000, () => stream.call('work', -1, soon()));
        done.delete(-1);
      }
      await relay.close();
      assert.ok([...done.values()].every((times) => times === 1));
      assert.ok(outcomes.includes('answered') && outcomes.includes('not known'), outcomes.join(' '));
    });
});
