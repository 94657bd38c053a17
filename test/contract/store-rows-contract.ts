import assert from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { RowImage, ShardId } from '@nxnw/platform/shards/types';
import { MAX_ENTITY_BYTES, MAX_KEY_BYTES } from '@nxnw/platform/stores/limits';
import type { IndexRow, RowRange, Store } from '@nxnw/platform/stores/port';

interface Context {
  store(): Store;
  shard(index?: number): ShardId;
}

const ALL: RowRange = { from: null, to: null, order: 'asc' };
const T0 = 1_700_000_000_000_000;

function row(key: Buffer | string, version: number, entity: Buffer | string | null): RowImage {
  const bytes = entity === null ? null : Buffer.from(entity);
  return { key: Buffer.from(key), version, createdUs: T0, updatedUs: version, entity: bytes };
}

function indexRow(part: string, key: Buffer | string, version: number, present = true): IndexRow {
  return { part: Buffer.from(part), key: Buffer.from(key), version, present };
}

/** Ordering traps: zero bytes, 0xff, prefixes of one another, and keys longer than a store's own keys may be. */
function trickyKeys(): Buffer[] {
  const ends = [[], [0], [0, 0], [0, 1], [1], [0x7f], [0x80], [0xff], [0xff, 0], [0xff, 0xff], [0xff, 0xff, 0xff]];
  const starts = [
    Buffer.from('k'),
    Buffer.from([0]),
    Buffer.from([0xff]),
    ...[1899, 1900, 3800, 6000].map((n) => Buffer.alloc(n, 'p')),
  ];
  return starts.flatMap((start) => ends.map((end) => Buffer.concat([start, Buffer.from(end)])));
}

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of from) all.push(one);
  return all;
}

/** Deterministic shuffles: a failing order can be run again. */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  const keyed = items.map((item, i) => ({ item, at: Math.imul(i + 1, 0x9e3779b1 + seed * 2) >>> 0 }));
  return keyed.sort((a, b) => a.at - b.at).map(({ item }) => item);
}

export function rowsContract({ store, shard }: Context): void {
  it('keeps the newest version of a row, in whatever order versions arrive', async () => {
    const versions = [row('k', T0 + 1, 'one'), row('k', T0 + 2, null), row('k', T0 + 3, 'three'), row('k', T0 + 4, null), row('k', T0 + 5, 'five')]; // prettier-ignore
    for (let seed = 0; seed < 6; seed++) {
      const g = seed + 1;
      for (const image of shuffled(versions, seed)) await store().putRows(shard(), g, [image], []);
      assert.deepEqual(await store().getRows(shard(), g, [Buffer.from('k')]), [row('k', T0 + 5, 'five')]);
    }
    await store().putRows(shard(), 7, shuffled(versions, 9), []);
    assert.deepEqual(
      await store().getRows(shard(), 7, [Buffer.from('k')]),
      [row('k', T0 + 5, 'five')],
      'also within one call',
    );
  });

  it('keeps a record of a deleted entity, which no older version brings back', async () => {
    await store().putRows(shard(), 1, [row('k', T0 + 1, 'one')], []);
    await store().putRows(shard(), 1, [row('k', T0 + 9, null)], []);
    await store().putRows(shard(), 1, [row('k', T0 + 1, 'one'), row('k', T0 + 8, 'eight')], []);
    assert.deepEqual(await store().getRows(shard(), 1, [Buffer.from('k')]), [row('k', T0 + 9, null)]);
    assert.deepEqual(await collect(store().scanRows(shard(), 1, ALL)), [row('k', T0 + 9, null)]);
    await store().putRows(shard(), 1, [row('k', T0 + 10, 'ten')], []);
    assert.deepEqual(await store().getRows(shard(), 1, [Buffer.from('k')]), [row('k', T0 + 10, 'ten')]);
  });

  it('takes the same row twice without a change', async () => {
    for (const image of [row('a', T0, 'a'), row('d', T0, null), row('e', T0, '')]) {
      for (let i = 0; i < 2; i++) await store().putRows(shard(), 1, [image], []);
      assert.deepEqual(await store().getRows(shard(), 1, [image.key]), [image]);
    }
  });

  it('answers rows in the order of the keys asked for, null where there is none', async () => {
    const images = Array.from({ length: 60 }, (_, i) => row(`key ${i}`, T0 + i, `entity ${i}`));
    await store().putRows(shard(), 1, images, []);
    const asked = shuffled(images, 3).flatMap((image) => [image.key, Buffer.concat([image.key, Buffer.from([0])])]);
    const got = await store().getRows(shard(), 1, [...asked, ...asked.slice(0, 2)]);
    got.forEach((image, i) =>
      assert.equal(image?.key.toString(), i % 2 ? undefined : asked[i % asked.length]?.toString()),
    );
    assert.deepEqual(await store().getRows(shard(), 1, []), []);
    assert.deepEqual(await store().getRows(shard(1), 1, [Buffer.from('key 1')]), [null], 'another shard');
    assert.deepEqual(await store().getRows(shard(), 2, [Buffer.from('key 1')]), [null], 'another generation');
  });

  it('scans rows in the byte order of their keys, both directions and every range', async () => {
    const keys = trickyKeys();
    await store().putRows(shard(), 1, shuffled(keys, 1).map((key, i) => row(key, T0 + i, key.subarray(-8))), []); // prettier-ignore
    const sorted = [...keys].sort(Buffer.compare);
    const hex = (bs: readonly Buffer[]): string[] => bs.map((b) => `${b.length}:${b.subarray(0, 1).toString('hex')}..${b.subarray(-4).toString('hex')}`); // prettier-ignore
    const bounds = [null, ...sorted.filter((_, i) => i % 9 === 4), Buffer.alloc(5000, 'p'), Buffer.alloc(1900, 'p')];
    for (const from of bounds) {
      for (const to of bounds) {
        const expected = sorted.filter(
          (k) => (from === null || k.compare(from) >= 0) && (to === null || k.compare(to) < 0),
        );
        for (const order of ['asc', 'desc'] as const) {
          const got = (await collect(store().scanRows(shard(), 1, { from, to, order }))).map((r) => r.key);
          assert.deepEqual(hex(got), hex(order === 'asc' ? expected : expected.reverse()));
        }
      }
    }
  });

  it('goes on with a scan behind the last key that was read', async () => {
    const images = Array.from({ length: 1200 }, (_, i) =>
      row(`key ${String(i).padStart(5, '0')}`, T0 + i, 'x'.repeat(i)),
    );
    await store().putRows(shard(), 1, images, []);
    const seen: string[] = [];
    for (let from: Buffer | null = null, more = true; more;) {
      let n = 0;
      more = false;
      for await (const image of store().scanRows(shard(), 1, { ...ALL, from })) {
        if (n++ === 333) {
          more = true;
          break;
        }
        seen.push(image.key.toString());
        from = Buffer.concat([image.key, Buffer.from([0])]);
      }
    }
    assert.deepEqual(seen, images.map((image) => image.key.toString())); // prettier-ignore
  });

  it('shows every row that is there for the whole scan exactly once, while others come and go', async () => {
    const stays = Array.from({ length: 900 }, (_, i) => row(`k${String(i * 2).padStart(6, '0')}`, T0, `stays ${i}`));
    await store().putRows(shard(), 1, stays, []);
    const seen: string[] = [];
    let i = 0;
    for await (const image of store().scanRows(shard(), 1, ALL)) {
      seen.push(image.key.toString());
      if (++i % 50 !== 0) continue;
      const others = Array.from({ length: 5 }, (_, j) =>
        row(`k${String((i * 7 + j * 301) * 2 + 1).padStart(6, '0')}`, T0 + i, 'new'),
      );
      await store().putRows(shard(), 1, others, []);
    }
    assert.deepEqual(seen, [...new Set(seen)].sort(), 'in order, none twice');
    const kept = new Set(stays.map((image) => image.key.toString()));
    assert.equal(seen.filter((key) => kept.has(key)).length, stays.length);
  });

  it('stores entities of every size up to the largest, whole after each replacement', async () => {
    const sizes = [0, 1, 32767, 32768, 32769, 65536, 300_000, 1_048_572, MAX_ENTITY_BYTES];
    const images = sizes.map((size, i) => row(`size ${i}`, T0, Buffer.alloc(size, i + 1)));
    await store().putRows(shard(), 1, images, []);
    const check = async (expected: readonly RowImage[]): Promise<void> => {
      const forward = await collect(store().scanRows(shard(), 1, ALL));
      assert.ok(forward.every((image, i) => same(image, expected[i])) && forward.length === expected.length);
      const backward = await collect(store().scanRows(shard(), 1, { ...ALL, order: 'desc' }));
      assert.ok(backward.reverse().every((image, i) => same(image, expected[i])));
      assert.ok((await store().getRows(shard(), 1, expected.map((e) => e.key))).every((image, i) => same(image, expected[i]))); // prettier-ignore
    };
    await check(images);
    const shrunk = sizes.map((size, i) =>
      row(`size ${i}`, T0 + 1, Buffer.alloc(sizes[sizes.length - 1 - i] ?? size, i + 9)),
    );
    await store().putRows(shard(), 1, shrunk, []);
    await check(shrunk);
    await store().prune(shard(), 1, T0);
    await check(shrunk);
    await store().putRows(shard(), 1, images, []);
    await check(shrunk);
  });

  it('refuses keys and entities above its limits with a clear error, before anything is written', async () => {
    const good = row('good', T0, 'x');
    const bad = [
      row(Buffer.alloc(MAX_KEY_BYTES + 1, 'k'), T0, 'x'),
      row(Buffer.alloc(0), T0, 'x'),
      row('k', T0, Buffer.alloc(MAX_ENTITY_BYTES + 1)),
    ];
    for (const image of bad) {
      await assert.rejects(store().putRows(shard(), 1, [good, image], []), {
        code: 'INVALID_ARGUMENT',
        message: /bytes/,
      });
    }
    assert.deepEqual(await store().getRows(shard(), 1, [good.key]), [null]);
    const longest = row(Buffer.alloc(MAX_KEY_BYTES, 'k'), T0, 'x');
    await store().putRows(shard(), 1, [longest], [indexRow('p'.repeat(5000), Buffer.alloc(MAX_KEY_BYTES, 'k'), T0)]);
    assert.deepEqual(await store().getRows(shard(), 1, [longest.key]), [longest]);
    assert.equal((await collect(store().scanAllIndexes(shard(), 1))).length, 1);
  });

  it('answers values that later writes do not change', async () => {
    await store().putRows(shard(), 1, [row('k', T0, 'before')], []);
    const [got] = await store().getRows(shard(), 1, [Buffer.from('k')]);
    const [scanned] = await collect(store().scanRows(shard(), 1, ALL));
    for (let i = 1; i < 50; i++) await store().putRows(shard(), 1, [row('k', T0 + i, `after ${i}`)], []);
    await collect(store().scanRows(shard(), 1, ALL));
    assert.deepEqual([got?.entity?.toString(), scanned?.entity?.toString()], ['before', 'before']);
  });

  it('keeps the newest version of an index row, absent ones included', async () => {
    const history = [indexRow('p', 'k', T0 + 1), indexRow('p', 'k', T0 + 2, false), indexRow('p', 'k', T0 + 3), indexRow('p', 'k', T0 + 4, false)]; // prettier-ignore
    for (let seed = 0; seed < 4; seed++) {
      for (const image of shuffled(history, seed)) await store().putRows(shard(), seed + 1, [], [image]);
      assert.deepEqual(await collect(store().scanIndex(shard(), seed + 1, Buffer.from('p'), ALL)), [history[3]]);
    }
  });

  it('scans one index part in key order, both directions and every range, and nothing of another', async () => {
    const keys = trickyKeys();
    const parts = ['p', 'p\0', 'pp', '', 'q'].map((p) => `part${p}`);
    const rows = parts.flatMap((part, p) => keys.map((key, i) => indexRow(part, key, T0 + i, (i + p) % 3 !== 0)));
    await store().putRows(shard(), 1, [], shuffled(rows, 5));
    const sorted = [...keys].sort(Buffer.compare);
    for (const from of [null, sorted[20] ?? null, Buffer.alloc(4500, 'p')]) {
      for (const to of [null, sorted[50] ?? null, Buffer.alloc(6002, 'p')]) {
        for (const order of ['asc', 'desc'] as const) {
          const expected = rows.filter((r) => r.part.equals(Buffer.from('partp')) && (from === null || r.key.compare(from) >= 0) && (to === null || r.key.compare(to) < 0)).sort((a, b) => Buffer.compare(a.key, b.key)); // prettier-ignore
          const got = await collect(store().scanIndex(shard(), 1, Buffer.from('partp'), { from, to, order }));
          assert.deepEqual(got, order === 'asc' ? expected : expected.reverse());
        }
      }
    }
    const name = (r: IndexRow): string =>
      `${r.part.toString('hex')} ${r.key.toString('hex')} ${r.version} ${r.present}`;
    assert.deepEqual((await collect(store().scanAllIndexes(shard(), 1))).map(name).sort(), rows.map(name).sort());
    assert.deepEqual(await collect(store().scanAllIndexes(shard(1), 1)), []);
  });

  it('prunes records of deleted entities and absent index rows that are old enough, and only those', async () => {
    const old = T0 + 1;
    const images = [row('old deleted', old, null), row('old live', old, 'x'), row('new deleted', T0 + 100, null), row(Buffer.alloc(4000, 'd'), old, null)]; // prettier-ignore
    const index = [indexRow('p', 'old absent', old, false), indexRow('p', 'old present', old), indexRow('p', 'new absent', T0 + 100, false)]; // prettier-ignore
    await store().putRows(shard(), 1, images, index);
    await store().putRows(shard(1), 1, images, index);
    assert.equal(await store().prune(shard(), 1, T0 + 50), 3);
    assert.deepEqual(
      (await collect(store().scanRows(shard(), 1, ALL))).map((r) => r.key.toString()),
      ['new deleted', 'old live'],
    );
    assert.deepEqual((await collect(store().scanAllIndexes(shard(), 1))).map((r) => r.key.toString()), ['new absent', 'old present']); // prettier-ignore
    assert.equal((await collect(store().scanRows(shard(1), 1, ALL))).length, 4, 'another shard keeps its own');
    assert.equal(await store().prune(shard(), 1, T0 + 50), 0);
    await store().putRows(shard(), 1, [row('old deleted', T0 + 200, 'again')], []);
    assert.equal((await store().getRows(shard(), 1, [Buffer.from('old deleted')]))[0]?.version, T0 + 200);
  });

  it('drops one generation of one shard, until the last shard has dropped it', async () => {
    const everything = async (index: number, g: number): Promise<number> =>
      (await collect(store().scanRows(shard(index), g, ALL))).length + (await collect(store().scanAllIndexes(shard(index), g))).length; // prettier-ignore
    for (const [index, g] of [[0, 1], [0, 2], [1, 1]] as const) await store().putRows(shard(index), g, [row('k', T0, 'x'), row(Buffer.alloc(5000), T0, 'x')], [indexRow('p', 'k', T0), indexRow('q', 'k', T0)]); // prettier-ignore
    await store().dropGeneration(shard(0), 1);
    assert.deepEqual([await everything(0, 1), await everything(0, 2), await everything(1, 1)], [0, 4, 4]);
    await store().dropGeneration(shard(0), 1);
    for (const index of [1, 2, 3]) await store().dropGeneration(shard(index), 1);
    assert.equal(await everything(0, 2), 4);
  });

  it('lets cells only rise', async () => {
    const name = 'checkpoint';
    assert.equal(await store().getCell(shard(), name), null);
    for (const version of [5, 3, 9, 9, 1, 8])
      await store().putCell(shard(), { name, version, value: Buffer.from(`at ${version}`) });
    assert.deepEqual(await store().getCell(shard(), name), { name, version: 9, value: Buffer.from('at 9') });
    assert.equal(await store().getCell(shard(), 'other'), null);
    assert.equal(await store().getCell(shard(1), name), null);
  });

  it('scans in bounded memory, whatever the sizes of entities', async () => {
    const total = 64;
    for (let i = 0; i < total; i++) await store().putRows(shard(), 1, [row(`big ${String(i).padStart(4, '0')}`, T0, Buffer.alloc(1_000_000, i))], []); // prettier-ignore
    setFlagsFromString('--expose-gc');
    const gc: unknown = runInNewContext('gc');
    const used = (): number => {
      if (typeof gc === 'function') gc();
      const { heapUsed, external } = process.memoryUsage();
      return (heapUsed + external) / 1e6;
    };
    const before = used();
    let peak = 0;
    let n = 0;
    for await (const image of store().scanRows(shard(), 1, ALL)) {
      assert.equal(image.entity?.[999_999], n++ % 256);
      if (n % 4 === 0) peak = Math.max(peak, used() - before);
    }
    assert.equal(n, total);
    assert.ok(peak < 32, `a scan of 64 MB holds ${peak.toFixed(1)} MB`);
  });
}

function same(a: RowImage | null | undefined, b: RowImage | undefined): boolean {
  return !!a && !!b && a.key.equals(b.key) && a.version === b.version && a.updatedUs === b.updatedUs && a.entity !== null && b.entity !== null && a.entity.equals(b.entity); // prettier-ignore
}
