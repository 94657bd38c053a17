import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installFaults } from '@nxnw/platform/fault';
import type { LoadBegin, ScanAnswer } from '@nxnw/platform/shards/api';
import { SnapshotLoad } from '@nxnw/platform/shards/load';
import { ShardLog } from '@nxnw/platform/shards/log';
import type { IndexKey, RowImage } from '@nxnw/platform/shards/types';
import { openStore } from '@nxnw/platform/stores/index';
import type { Store } from '@nxnw/platform/stores/port';

const SHARD = { app: 'shop', index: 0 };
const P0 = { epoch: 1, slot: 7 };
const INTENT = { follow: true, load: 'on', entitiesPerS: null, sourceLatencyRatio: 1.1, serving: false } as const;

const row = (name: string, version: number, value: string): RowImage => ({
  key: Buffer.from(name),
  version,
  createdUs: 1,
  updatedUs: version,
  entity: Buffer.from(value),
});

/** One index row: the entity's bytes, then its key. */
const indexer = (entity: Buffer): IndexKey[] => [{ part: Buffer.from('value'), key: entity }];

describe('a snapshot load', function () {
  this.timeout(30_000);
  let dir: string;
  let store: Store;
  let rows: RowImage[];

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nxnw-load-'));
    store = await openStore({ kind: 'lmdb', dir });
    await store.ensureApp(SHARD.app, 1);
    rows = Array.from({ length: 6 }, (_, i) => row(`k${i}`, 1, `old${i}`));
  });

  afterEach(async () => {
    installFaults(undefined);
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const begun = (): Promise<LoadBegin> =>
    Promise.resolve({
      p0: P0,
      p0Hash: Buffer.alloc(32),
      p0TsUs: 1,
      idFloor: 0,
      reserved: [],
      authority: 'blue',
      start: { at: P0, slot: Buffer.alloc(1), payload: Buffer.alloc(0) },
      entities: rows.length,
      bytes: 0,
    });

  /** A load of `rows` as they are at each call, `perPage` at once. */
  const loader = (perPage: number, loadBegin = begun) => {
    const log = new ShardLog(SHARD, store, store.capabilities.chunkBytes);
    return new SnapshotLoad({
      state: {
        shard: SHARD,
        store,
        indexer,
        historyMs: 30_000,
        maxRecentBytes: 1 << 20,
        maxPendingBytes: 1 << 20,
        maxCacheBytes: 1 << 20,
        nowUs: () => 1,
      },
      log,
      loadBegin,
      scan: (after): Promise<ScanAnswer> => {
        const left = rows.filter((r) => !after || Buffer.compare(r.key, after) > 0);
        const page = left.slice(0, perPage);
        const last = page.at(-1)?.key ?? null;
        return Promise.resolve({ rows: page, last, done: page.length === left.length, end: P0, commitMs: 0 });
      },
      intent: () => INTENT,
      changed: () => Promise.resolve(),
      slot: (run) => run(),
      shards: 1,
      nowMs: () => 0,
      signal: new AbortController().signal,
    });
  };

  const indexed = async (): Promise<string[]> => {
    const out: string[] = [];
    for await (const i of store.scanAllIndexes(SHARD, 1)) if (i.present) out.push(i.key.toString());
    return out.sort();
  };

  it('leaves no index row of what a killed load had read before, when the row changed in between', async () => {
    const first = loader(2);
    await first.begin(null);
    let pages = 0;
    installFaults((point) => {
      if (point === 'scan.stored' && ++pages === 2) throw new Error('killed');
      return undefined;
    });
    await assert.rejects(first.run(new AbortController().signal), /killed/);
    installFaults(undefined);
    assert.deepEqual(await indexed(), ['old0', 'old1', 'old2', 'old3']);
    rows = rows.map((r, i) => (i === 1 || i === 3 || i === 5 ? row(r.key.toString(), 2, `new${i}`) : r));
    const second = loader(4);
    await second.resume();
    await second.run(new AbortController().signal);
    assert.equal(second.progress?.done, true);
    assert.deepEqual(await indexed(), ['new1', 'new3', 'new5', 'old0', 'old2', 'old4']);
  });

  it('keeps the tables it has while the other platform does not answer', async () => {
    const l = loader(10);
    const old = await l.begin(null);
    await l.run(new AbortController().signal);
    const refused = loader(10, () => Promise.reject(new Error('not served here')));
    await assert.rejects(refused.begin(await refused.resume()), /not served here/);
    assert.equal((await indexed()).length, rows.length);
    assert.equal((await refused.resume())?.generation, old.generation);
  });

  it('that begins anew is never taken for the whole one before it, wherever it is killed', async () => {
    const l = loader(10);
    const old = await l.begin(null);
    await l.run(new AbortController().signal);
    const again = loader(10);
    const { dropGeneration } = store;
    store.dropGeneration = () => Promise.reject(new Error('killed'));
    await assert.rejects(again.begin(await again.resume()), /killed/);
    store.dropGeneration = dropGeneration;
    const now = await loader(10).resume();
    assert.deepEqual([now?.generation, now?.done], [old.generation + 1, false]);
  });
});
