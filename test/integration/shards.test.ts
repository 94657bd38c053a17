import assert from 'node:assert/strict';
import { NxnwError } from '@nxnw/platform/errors';
import type { HandoverResult } from '@nxnw/platform/shards/control';
import { RemoteShardControl } from '@nxnw/platform/shards/control-client';
import { issueCertificate } from '@nxnw/platform/wire/ca';
import type { TestPlatform } from '../support/platforms.js';
import { joinPlatforms, mutation, rootKey, shardOfKey, startPlatform } from '../support/platforms.js';

const APP = 'shop';
const SHARDS = 4;
const deadline = () => Date.now() + 20_000;
const NO_READS = { keys: [], ranges: [] };

async function until<T>(what: string, ask: () => Promise<T | null> | T | null, ms = 30_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const v = await ask();
    if (v !== null) return v;
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((ok) => setTimeout(ok, 50));
  }
}

describe('a shard log between two platforms', function () {
  this.timeout(120_000);
  let n1: TestPlatform;
  let n2: TestPlatform;
  let c1: RemoteShardControl;
  let c2: RemoteShardControl;

  before(async () => {
    n1 = await startPlatform({
      id: 'blue',
      ip: '127.38.0.1',
      processes: 2,
      app: APP,
      shards: SHARDS,
      origin: 'self',
      verbose: !!process.env['VERBOSE'],
    });
    n2 = await startPlatform({
      id: 'green',
      ip: '127.38.0.2',
      processes: 2,
      app: APP,
      shards: SHARDS,
      origin: 'peer',
      verbose: !!process.env['VERBOSE'],
    });
    c1 = new RemoteShardControl(n1.endpoints, await issueCertificate(n1.authority, { name: 'test', hosts: [] }));
    c2 = new RemoteShardControl(n2.endpoints, await issueCertificate(n2.authority, { name: 'test', hosts: [] }));
  });

  after(async () => {
    c1.close();
    c2.close();
    await n2.stop();
    await n1.stop();
  });

  const put = async (platform: TestPlatform, name: string, n: number, process = 0) => {
    const m = mutation('upsert', rootKey(APP, 'Item', name), { n });
    const shard = shardOfKey(APP, m.key, SHARDS);
    const client = platform.processes[process]?.router;
    assert.ok(client);
    return client.commit(
      { app: APP, tx: null, beganUs: 0, shards: [{ shard, mutations: [m], reads: NO_READS }] },
      deadline(),
    );
  };
  const get = async (platform: TestPlatform, name: string, process = 0) => {
    const key = mutation('upsert', rootKey(APP, 'Item', name)).key;
    const a = await platform.processes[process]?.router.lookup(shardOfKey(APP, key, SHARDS), [key], null, deadline());
    return a?.rows[0] ?? null;
  };

  it('commits and reads through either process, whichever owns the shard', async () => {
    for (let i = 0; i < 40; i++) await put(n1, `i${i}`, i, i % 2);
    for (let i = 0; i < 40; i++) assert.ok(await get(n1, `i${i}`, (i + 1) % 2));
    assert.equal(await get(n1, 'absent'), null);
  });

  it('refuses an insert of what exists and an update of what does not', async () => {
    const key = rootKey(APP, 'Item', 'i1');
    const m = mutation('insert', key, { n: 1 });
    const commit = (x: typeof m) =>
      n1.processes[0]?.router.commit(
        {
          app: APP,
          tx: null,
          beganUs: 0,
          shards: [{ shard: shardOfKey(APP, x.key, SHARDS), mutations: [x], reads: NO_READS }],
        },
        deadline(),
      );
    await assert.rejects(
      async () => commit(m),
      (e: NxnwError) => e.code === 'ALREADY_EXISTS',
    );
    await assert.rejects(
      async () => commit(mutation('update', rootKey(APP, 'Item', 'nope'), {})),
      (e: NxnwError) => e.code === 'NOT_FOUND',
    );
  });

  it('commits a cross-group transaction in all its shards, and answers a repeat the same', async () => {
    const ms = Array.from({ length: 12 }, (_, i) => mutation('upsert', rootKey(APP, 'Pair', `p${i}`), { nonce: 7 }));
    const shards = new Map<number, typeof ms>();
    for (const m of ms) {
      const s = shardOfKey(APP, m.key, SHARDS).index;
      shards.set(s, [...(shards.get(s) ?? []), m]);
    }
    assert.ok(shards.size > 1);
    const request = {
      app: APP,
      tx: 'aa'.repeat(16),
      beganUs: Date.now() * 1000,
      shards: [...shards].map(([index, mutations]) => ({ shard: { app: APP, index }, mutations, reads: NO_READS })),
    };
    const first = await n1.processes[0]?.router.commit(request, deadline());
    const again = await n1.processes[1]?.router.commit(request, deadline());
    assert.deepEqual(again?.answers, first?.answers);
  });

  it('never gives an id twice, not even by two processes', async () => {
    const ids = (
      await Promise.all(
        [0, 1].map((i) => n1.processes[i]?.router.allocateIds(APP, 1500, deadline()) ?? Promise.resolve([])),
      )
    ).flat();
    assert.equal(new Set(ids).size, 3000);
    assert.ok(ids.every((id) => id > 0 && id < 2 ** 53));
  });

  it('loads and follows on the other platform until the digests are equal at one position', async () => {
    await joinPlatforms(n1, n2);
    await c2.setIntent(APP, { follow: true, load: 'on', entitiesPerS: null, sourceLatencyRatio: 1.1, serving: false });
    let stop = false;
    const load = (async () => {
      for (let i = 0; !stop; i++) await put(n1, `i${i % 60}`, i, i % 2);
    })();
    await until('following', async () => {
      const all = await c2.status(APP);
      if (process.env['VERBOSE']) for (const s of all) console.log(JSON.stringify(s));
      return all.every((s) => s.replica?.phase === 'following') ? true : null;
    });
    const checks = await c2.compareDigests(APP, deadline());
    stop = true;
    await load;
    assert.equal(checks.length, SHARDS);
    for (const c of checks) assert.ok(c.equal, `${c.shard.index}: ${c.here} ${c.there}`);
  });

  const moveAll = async (control: RemoteShardControl, to: string) => {
    const results: HandoverResult[] = [];
    for (let index = 0; index < SHARDS; index++) {
      results.push(
        await until(`hand-over of ${index}`, async () => {
          const r = await control.handOver({ app: APP, index }, to, 1000, deadline());
          return r.outcome === 'moved' ? r : null;
        }),
      );
    }
    return results;
  };

  it('hands every shard over under load, without a failed request, and back again', async () => {
    await c2.setIntent(APP, { follow: true, load: 'on', entitiesPerS: null, sourceLatencyRatio: 1.1, serving: true });
    let stop = false;
    const seen = new Map<string, number>();
    const client = async (me: number) => {
      for (let i = 0; !stop; i++) {
        const name = `c${me}-${i % 20}`;
        await put(n1, name, i, me % 2);
        seen.set(name, i);
      }
    };
    const clients = Promise.all([0, 1, 2, 3].map(client));
    const forth = await moveAll(c2, 'green');
    for (const r of forth) assert.equal(r.outcome, 'moved');
    const back = await moveAll(c2, 'blue');
    for (const r of back) assert.equal(r.outcome, 'moved');
    await moveAll(c2, 'green');
    stop = true;
    await clients;
    const slots = await until('both stores to hold START', async () => {
      const all = await c2.handoverSlots(APP, deadline());
      return all.every((x) => x.read.length === 2 && x.read.every((r) => r.start !== null)) ? all : null;
    });
    assert.equal(slots.length, SHARDS);
    for (const { read } of slots) {
      assert.match(read[0]?.move ?? '', /^move [0-9a-f]{16}$/);
      assert.equal(read[0]?.move, read[1]?.move);
      assert.match(read[0]?.start ?? '', /^start [0-9a-f]{16}$/);
      assert.equal(read[0]?.start, read[1]?.start);
    }
    for (const [name] of seen) assert.ok(await get(n2, name), name);
    const checks = await c2.compareDigests(APP, deadline());
    for (const c of checks) assert.ok(c.equal);
  });

  /** One write in each of two shards. */
  const putPair = (platform: TestPlatform, n: number) => {
    const ms = Array.from({ length: 12 }, (_, i) => mutation('upsert', rootKey(APP, 'Pair', `p${i}`), { n }));
    const [first, other] = ms.map((m) => ({ shard: shardOfKey(APP, m.key, SHARDS), mutations: [m], reads: NO_READS })).filter((w, i, all) => all.findIndex((x) => x.shard.index === w.shard.index) === i); // prettier-ignore
    assert.ok(first && other);
    return platform.processes[0]?.router.commit({ app: APP, tx: null, beganUs: 0, shards: [first, other] }, deadline());
  };

  // as a virtual machine sees it that was moved or suspended: its wall clock is set, its monotonic one goes on
  for (const [way, offMs, to] of [
    ['forward', 30_000, 'blue'],
    ['back', -30_000, 'green'],
  ] as const)
    it(`goes on when the wall clock is set ${way} by half a minute`, async () => {
      const now = Date.now;
      Date.now = () => now() + offMs;
      try {
        for (let i = 0; i < 8; i++) await put(n1, `step${i}`, i, i % 2);
        for (let n = 0; n < 5; n++) await putPair(n1, n);
        await moveAll(c2, to);
        for (let n = 0; n < 5; n++) await putPair(n2, n);
        for (let i = 0; i < 8; i++) assert.ok(await get(n2, `step${i}`, i % 2), `step${i}`);
        for (const c of await c2.compareDigests(APP, deadline())) assert.ok(c.equal);
      } finally {
        Date.now = now;
      }
    });
});
