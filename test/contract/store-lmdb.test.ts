import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { openStore } from '@nxnw/platform/stores/index';
import { storeContract } from './store-contract.js';
import { Writer } from './store-processes.js';

const dir = mkdtempSync(join(tmpdir(), 'nxnw-store-'));
const config = { kind: 'lmdb', dir: join(dir, 'data'), writeTimeoutMs: 5000 };

storeContract({
  kind: 'lmdb',
  config,
  start: async () => undefined,
  stop: async () => rmSync(dir, { recursive: true, force: true }),
  crash: async (writer) => {
    writer.child.kill('SIGKILL');
    await writer.ended();
  },
});

describe('store lmdb with a process stopped inside a write', function () {
  this.timeout(60_000);
  const here = mkdtempSync(join(tmpdir(), 'nxnw-store-'));
  const stuck = { app: 'shop', index: 0 };
  const free = { app: 'shop', index: 1 };
  const at = { epoch: 1, slot: 0 };
  after(() => rmSync(here, { recursive: true, force: true }));

  it('answers UNAVAILABLE in time, reads on, serves other shards, and goes on when the process is killed', async () => {
    const store = await openStore({ kind: 'lmdb', dir: here, writeTimeoutMs: 700 });
    await store.ensureApp('shop', 2);
    await store.append(stuck, at, Buffer.from('START'));
    const holder = new Writer({ hold: join(here, 'shop', '0') });
    await holder.ready();
    await stopped(holder.child.pid ?? 0);

    const began = Date.now();
    await assert.rejects(store.append(stuck, { epoch: 1, slot: 1 }, Buffer.from('x')), {
      code: 'UNAVAILABLE',
      message: /writer lock/,
    });
    assert.ok(Date.now() - began < 5000);
    assert.equal((await store.read(stuck, at))?.toString(), 'START');
    assert.deepEqual(await store.append(free, at, Buffer.from('START')), { won: true });

    const opener = new Writer({
      config: { kind: 'lmdb', dir: here, writeTimeoutMs: 700 },
      shard: stuck,
      epoch: 1,
      slots: 1,
      mark: 'W',
    });
    await opener.ready();
    opener.go();
    await assert.rejects(opener.finished(), /cannot open the LMDB environment .*writer lock/);

    holder.child.kill('SIGKILL');
    await once(holder.child, 'close');
    const outcome = await store.append(stuck, { epoch: 1, slot: 1 }, Buffer.from('x'));
    assert.ok(outcome.won || outcome.held.toString() === 'x', 'the unknown append may have landed in between');
    await store.close();
  });
});

/** Waits until the system says that the process is stopped. */
async function stopped(pid: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!/^State:\s+T/m.test(await readFile(`/proc/${pid}/status`, 'utf8'))) {
    assert.ok(Date.now() < deadline, 'the process did not stop');
    await new Promise((later) => setTimeout(later, 20));
  }
}

describe('store lmdb without room for more', function () {
  this.timeout(60_000);
  it('answers UNAVAILABLE, keeps what it acknowledged, and goes on', () => {
    const here = mkdtempSync(join(tmpdir(), 'nxnw-store-'));
    const limited = [
      '-c',
      'ulimit -f 3000; exec "$0" "$@"',
      process.execPath,
      join(__dirname, 'store-writer.js'),
      'fill',
      here,
    ];
    const { status, stdout, stderr } = spawnSync('bash', limited, { encoding: 'utf8', timeout: 50_000 });
    assert.equal(status, 0, stderr);
    const said = z.object({ code: z.string(), acknowledged: z.number(), last: z.number() }).parse(JSON.parse(stdout));
    assert.match(said.code, /^UNAVAILABLE .*disk full/);
    assert.ok(said.acknowledged > 5);
    assert.equal(said.last, said.acknowledged - 1);
    rmSync(here, { recursive: true });
  });
});

describe('store lmdb and the event loop', function () {
  this.timeout(60_000);
  it('lets other work run between the chunks of a scan and of a large put', async () => {
    const here = mkdtempSync(join(tmpdir(), 'nxnw-store-'));
    const store = await openStore({ kind: 'lmdb', dir: here });
    const shard = { app: 'shop', index: 0 };
    await store.ensureApp('shop', 1);
    const rows = Array.from({ length: 30_000 }, (_, i) => ({ key: Buffer.from(`k${i}`), version: i, createdUs: 0, updatedUs: 0, entity: Buffer.alloc(300) })); // prettier-ignore
    let turns = 0;
    let counting = true;
    const turn = (): void => {
      turns++;
      if (counting) setImmediate(turn);
    };
    turn();
    await store.putRows(shard, 1, rows, []);
    const puts = turns;
    assert.ok(puts > 20, `${puts} turns of the event loop while rows were put`);
    let n = 0;
    for await (const _ of store.scanRows(shard, 1, { from: null, to: null, order: 'asc' })) n++;
    counting = false;
    assert.equal(n, rows.length);
    assert.ok(turns - puts > 100, `${turns - puts} turns of the event loop during the scan`);
    await store.close();
    rmSync(here, { recursive: true, force: true });
  });
});

describe('openStore', () => {
  it('names the kinds that there are when asked for another', async () => {
    await assert.rejects(openStore({ kind: 'mysql' }), {
      code: 'INVALID_ARGUMENT',
      message: /"mysql".*lmdb, cassandra/,
    });
    await assert.rejects(openStore({ kind: 'constructor' }), { code: 'INVALID_ARGUMENT' });
  });

  it('names every wrong key of a configuration', async () => {
    await assert.rejects(openStore({ kind: 'lmdb', dirr: 'x', writeTimeoutMs: -1 }), { code: 'INVALID_ARGUMENT', message: /store\.dir.*store\.writeTimeoutMs.*dirr/ }); // prettier-ignore
    await assert.rejects(openStore({}), { code: 'INVALID_ARGUMENT', message: /store\.kind/ });
  });
});
