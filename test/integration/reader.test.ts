import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LogRecord, LogRow } from '@nxnw/platform/shards/entry';
import { decodeEntry, encodeEntry } from '@nxnw/platform/shards/entry';
import { countRows } from '@nxnw/platform/shards/replica';
import { StateReader } from '@nxnw/platform/shards/reader';
import { ShardState } from '@nxnw/platform/shards/state';
import type { IndexKey } from '@nxnw/platform/shards/types';
import { openStore } from '@nxnw/platform/stores/index';
import type { Store } from '@nxnw/platform/stores/port';
import { seeded } from '../support/random.js';

const SHARD = { app: 'shop', index: 0 };
const PART = Buffer.from('value');
const KEYS = 60;
const VALUES = 4;
const ROUNDS = 60;
/** Changes that a state remembers. */
const WINDOW = 30;
const NOW = Number.MAX_SAFE_INTEGER;

/** One index row: the value, then the entity's name (an entity is `value:name`). */
const indexer = (entity: Buffer): IndexKey[] => [{ part: PART, key: entity }];

/** One entity as a reader sees it: its name and value. */
type Seen = readonly [name: string, value: string];

/** What was committed, with the time of each change. */
class Naive {
  private readonly changes: { readonly us: number; readonly name: string; readonly value: string | null }[] = [];

  add(us: number, name: string, value: string | null): void {
    this.changes.push({ us, name, value });
  }

  at(us: number): Map<string, string> {
    const now = new Map<string, string>();
    for (const c of this.changes) {
      if (c.us > us) break;
      if (c.value === null) now.delete(c.name);
      else now.set(c.name, c.value);
    }
    return now;
  }
}

describe('a reader of a shard at T', function () {
  this.timeout(60_000);
  let dir: string;
  let store: Store;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nxnw-reader-'));
    store = await openStore({ kind: 'lmdb', dir });
    await store.ensureApp(SHARD.app, 1);
  });

  afterEach(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const newState = (from: Store = store, maxCacheBytes = 1 << 20, nowUs = () => 0) =>
    new ShardState({
      ...{ shard: SHARD, store: from, indexer, nowUs },
      ...{ historyMs: 1, maxRecentBytes: 1 << 20, maxPendingBytes: 1 << 20, maxCacheBytes },
    });

  const rowOf = (name: string, us: number, value: string | null): LogRow => ({
    key: Buffer.from(name),
    groupBytes: name.length,
    kind: 'K',
    version: us,
    createdUs: us,
    updatedUs: us,
    entity: value === null ? null : Buffer.from(`${value}:${name}`),
    was: null,
    wasBytes: 0,
  });

  const ingest = (state: ShardState, us: number, rows: readonly LogRow[]): void => {
    const commit: LogRecord = { t: 'commit', tx: `t${us}`, version: us, rows, answers: [] };
    const at = { epoch: 1, slot: us };
    state.ingest(decodeEntry(encodeEntry({ prev: state.endHash, tsUs: us, records: [commit] }), at));
  };

  /** Index candidates that hold at T, as a query finds them. */
  async function byIndex(reader: StateReader, order: 'asc' | 'desc', slow: () => Promise<void>): Promise<Seen[]> {
    const out: Seen[] = [];
    for await (const hit of reader.scanIndex(PART, null, null, order)) {
      await slow();
      const [value = '', name = ''] = hit.key.toString().split(':');
      const [row] = await reader.get([Buffer.from(name)]);
      if (row?.entity?.equals(hit.key)) out.push([name, value]);
    }
    return out;
  }

  async function byKey(reader: StateReader, order: 'asc' | 'desc', slow: () => Promise<void>): Promise<Seen[]> {
    const out: Seen[] = [];
    for await (const row of reader.scanEntities(null, null, order)) {
      await slow();
      const [value = '', name = ''] = (row.entity ?? Buffer.alloc(0)).toString().split(':');
      out.push([name, value]);
    }
    return out;
  }

  /** The store, and the names of the rows that it was asked for one by one. */
  const watched = () => {
    const asked: string[] = [];
    const getRows = (...args: Parameters<Store['getRows']>) => {
      asked.push(...args[2].map(String));
      return store.getRows(...args);
    };
    return { asked, store: Object.create(store, { getRows: { value: getRows } }) as Store };
  };

  /** Scans the store's rows into the state's memory. */
  const keepAll = async (state: ShardState): Promise<number> => {
    const kept = state.keepScan();
    const { entities } = await countRows(state, NOW, kept.seen);
    kept.done();
    return entities;
  };

  for (const [seed, memory, maxCacheBytes] of [
    [1, 'what it has read', 1 << 20],
    [2, 'what it has read', 1 << 20],
    [3, 'all rows', 1 << 20],
    [4, 'all rows', 1 << 20],
    [5, 'all rows, for which there is no room', 6000],
    [6, 'all rows, for which there is no room', 6000],
  ] as const)
    it(`sees what was committed at or below T, whatever is applied meanwhile; in memory: ${memory} (seed ${seed})`, async () => {
      const rnd = seeded(seed);
      const pick = (n: number) => Math.floor(rnd() * n);
      const naive = new Naive();
      let us = 0;
      const commit = (to: ShardState): void => {
        us++;
        const rows = Array.from({ length: 1 + pick(3) }, () => `k${pick(KEYS)}`);
        const list = [...new Set(rows)].map((name) => rowOf(name, us, rnd() < 0.3 ? null : `v${pick(VALUES)}`));
        for (const r of list) naive.add(us, r.key.toString(), r.entity?.toString().split(':')[0] ?? null);
        ingest(to, us, list);
      };
      const before = newState();
      for (let n = 0; n < KEYS; n++) commit(before);
      await before.whenApplied(before.end);
      await before.close();

      const from = watched();
      const state = newState(from.store, maxCacheBytes, () => us + 1000 - WINDOW);
      state.recent.floorUs = us;
      ingest(state, ++us, []);
      if (memory !== 'what it has read') assert.equal(await keepAll(state), naive.at(us).size);
      for (let round = 0; round < ROUNDS; round++) {
        for (let n = pick(4); n >= 0; n--) commit(state);
        // a part of the log is in the store
        if (rnd() < 0.5) await state.whenApplied({ epoch: 1, slot: Math.max(0, us - pick(6)) });
        const reader = new StateReader(state, Math.max(state.recent.floorUs, us - (rnd() < 0.5 ? 0 : pick(4))));
        const slow = async (): Promise<void> => {
          if (rnd() < 0.05) commit(state);
          if (rnd() < 0.05) await state.whenApplied(state.end);
          if (rnd() < 0.02) await state.checkpoint();
        };
        const order = rnd() < 0.5 ? 'asc' : 'desc';
        const sign = order === 'asc' ? 1 : -1;
        const text = ([name, value]: Seen) => `${value}:${name}`;
        const expected = [...naive.at(reader.atUs)] as Seen[];
        const sortedBy = (list: readonly Seen[], of: (s: Seen) => string) =>
          [...list].sort((a, b) => sign * Buffer.compare(Buffer.from(of(a)), Buffer.from(of(b))));
        const about = `round ${round}, T ${reader.atUs} of ${us}, ${order}`;
        assert.deepEqual(await byIndex(reader, order, slow), sortedBy(expected, text), `index, ${about}`);
        assert.deepEqual(
          await byKey(reader, order, slow),
          sortedBy(expected, ([name]) => name),
          `keys, ${about}`,
        );
      }
      assert.ok(state.recent.floorUs > ROUNDS, 'history was forgotten');
      assert.equal(from.asked.length > 0, memory !== 'all rows', from.asked.join(' '));
      await state.close();
    });

  it('has rows that a count has read in memory, and none that was written since', async () => {
    const first = newState();
    ingest(first, 1, [rowOf('a', 1, '1'), rowOf('b', 1, '1')]);
    await first.whenApplied(first.end);
    const { asked, store: counting } = watched();
    const copy = newState(counting);
    assert.equal(await keepAll(copy), 2);
    const values = async (...names: string[]): Promise<(string | undefined)[]> =>
      (await new StateReader(copy, NOW).get(names.map((n) => Buffer.from(n)))).map((row) => row?.entity?.toString());
    assert.deepEqual([await values('a', 'b'), asked], [['1:a', '1:b'], []]);
    ingest(copy, 2, [rowOf('a', 2, '2')]);
    copy.keepScan().seen(rowOf('a', 1, '1'));
    assert.deepEqual(await values('a', 'b', 'c'), ['2:a', '1:b', undefined]);
    await Promise.all([first, copy].map((state) => state.whenApplied(state.end)));
    assert.deepEqual(asked, []);
    await Promise.all([first, copy].map((state) => state.close()));
  });
});
