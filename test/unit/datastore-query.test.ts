import assert from 'node:assert/strict';
import { decodeKey, encodeKey } from '@nxnw/platform/datastore/keys';
import type { Key, PathElement } from '@nxnw/platform/datastore/keys';
import { keyOf } from '@nxnw/platform/datastore/messages';
import { requestCodec } from '@nxnw/platform/datastore/proto';
import { encodeCursor } from '@nxnw/platform/datastore/query/cursor';
import { nextStretch } from '@nxnw/platform/datastore/query/merge';
import { planQuery } from '@nxnw/platform/datastore/query/plan';
import type { QueryMessage } from '@nxnw/platform/datastore/query/request';
import { INT, TEXT, clauses, effective, filter, message, naive } from '../support/datastore-naive.js';
import type { Doc, Op, Plain, Sort, Test } from '../support/datastore-naive.js';
import { PROJECT, key, mutation, value, writesOf } from '../support/datastore-values.js';
import { MemoryShards } from '../support/memory-shards.js';
import { pick, seeded } from '../support/random.js';

const codec = requestCodec<QueryMessage>('Query');
const SHARDS = 4;

class Db {
  docs = new Map<string, Doc>();
  private now = 1_000_000;
  readonly client = new MemoryShards(SHARDS, () => this.now++, [PROJECT]);

  async put(k: Key, values: Record<string, readonly Plain[]> | null): Promise<void> {
    const properties =
      values &&
      Object.fromEntries(
        Object.entries(values).map(([name, vs]) => [
          name,
          vs.length === 1 && vs[0] ? message(vs[0]) : value.list(...vs.map(message)),
        ]),
      );
    const nested = properties && 'n.x' in properties;
    if (nested) {
      properties['n'] = value.entity({ x: properties['n.x'] ?? {} });
      delete properties['n.x'];
    }
    await this.client.commit({
      app: PROJECT,
      tx: null,
      beganUs: 0,
      shards: writesOf([mutation(k, properties)], SHARDS),
    });
    const name = encodeKey(k).toString('hex');
    if (values) this.docs.set(name, { key: k, values });
    else this.docs.delete(name);
  }

  /** All pages of a query at one time, `pageSize` results each; encoded keys in hex. */
  async run(query: object, atUs: number, pageSize: number, maxRows: number): Promise<string[]> {
    const partition = { project: PROJECT, database: '', namespace: '' };
    const found: string[] = [];
    let cursor: Buffer = Buffer.alloc(0);
    for (let pages = 0; ; pages++) {
      assert.ok(pages < 2000, 'the query makes no progress');
      const m = codec.decode(codec.encode({ ...query, startCursor: cursor }));
      const plan = planQuery(m, partition, { queryKey: (k) => keyOf(k), checkKey: () => undefined });
      if (plan.shard.anyOf.length === 0) return found;
      const stretch = await nextStretch(
        {
          shards: Array.from({ length: SHARDS }, (_, index) => ({ app: PROJECT, index })),
          query: { ...plan.shard, carry: 'key' },
          from: plan.from,
          to: plan.to,
          atUs,
          maxResults: pageSize,
          maxBytes: 1 << 20,
          expired: () => false,
        },
        (shard, q, at) => this.client.query(shard, q, at, Date.now() + 10_000),
        { minAsk: 2, maxAsk: 50, maxAskBytes: 1 << 20, maxRows },
      );
      for (const r of stretch.results) found.push(r.key?.toString('hex') ?? '');
      if (stretch.next === null) return found;
      cursor = encodeCursor(plan.shape, stretch.next);
    }
  }
}

const PLAINS: [Plain, ...Plain[]] = [
  [0, 0],
  [INT, -3],
  [INT, 0],
  [INT, 1],
  [INT, 2],
  [INT, 300],
  [TEXT, ''],
  [TEXT, 'a'],
  [TEXT, 'a\0'],
  [TEXT, 'ab'],
  [TEXT, 'b'],
];
const PROPERTIES: [string, ...string[]] = ['a', 'b', 't', 'n.x'];
const OPS: [Op, ...Op[]] = ['EQUAL', 'LESS_THAN', 'LESS_THAN_OR_EQUAL', 'GREATER_THAN', 'GREATER_THAN_OR_EQUAL'];

function randomKey(random: () => number): Key {
  const element = (): PathElement => {
    const kind = pick(random, ['K', 'K', 'L']);
    return random() < 0.5
      ? { kind, id: BigInt(1 + Math.floor(random() * 12)) }
      : { kind, name: pick(random, ['x', 'y\0', 'z']) };
  };
  return key(random() < 0.9 ? '' : 'other', ...Array.from({ length: 1 + Math.floor(random() * 2.5) }, element));
}

function randomValues(random: () => number): Record<string, readonly Plain[]> {
  const values: Record<string, readonly Plain[]> = {};
  for (const p of PROPERTIES) {
    if (random() < 0.15) continue;
    const n = p === 't' ? Math.floor(random() * 4) : 1;
    if (p === 't' ? random() < 0.9 : true) values[p] = Array.from({ length: n }, () => pick(random, PLAINS));
  }
  return values;
}

async function write(db: Db, random: () => number, writes: number): Promise<void> {
  for (let i = 0; i < writes; i++) await db.put(randomKey(random), random() < 0.25 ? null : randomValues(random));
}

function randomTest(random: () => number, depth = 0): Test {
  const dice = random();
  if (depth < 2 && dice < 0.45) {
    const parts = Array.from({ length: 1 + Math.floor(random() * 3) }, () => randomTest(random, depth + 1));
    return dice < 0.25 ? { all: parts } : { any: parts };
  }
  const property = pick(random, PROPERTIES);
  if (dice < 0.55) return { key: pick(random, OPS), to: { ...randomKey(random), namespace: '' } };
  if (dice < 0.62) return { property, op: 'IN', of: [pick(random, PLAINS), pick(random, PLAINS)] };
  if (dice < 0.67) return { property, op: 'NOT_EQUAL', to: pick(random, PLAINS) };
  if (dice < 0.7) return { property, op: 'NOT_IN', of: [pick(random, PLAINS), pick(random, PLAINS)] };
  return { property, op: random() < 0.5 ? 'EQUAL' : pick(random, OPS), to: pick(random, PLAINS) };
}

/** A random query: its meaning, and the message without its kind. */
function randomQuery(random: () => number): {
  test: Test;
  sorts: readonly Sort[];
  keyDescending: boolean;
  message: object;
} {
  const ancestor = random() < 0.3 ? [{ ancestor: { ...randomKey(random), namespace: '' } }] : [];
  const test = { all: [...(random() < 0.85 ? [randomTest(random)] : []), ...ancestor] };
  const sorts = Array.from({ length: 1 + Math.floor(random() * 2.4) }, () => ({
    property: pick(random, PROPERTIES),
    descending: random() < 0.5,
  })).filter((s, i, all) => all.findIndex((x) => x.property === s.property) === i);
  const keyDescending = random() < 0.5;
  const order = [...sorts, { property: '__key__', descending: keyDescending }].map((s) => ({
    property: { name: s.property },
    direction: s.descending ? 2 : 1,
  }));
  return { test, sorts, keyDescending, message: { order, ...(test.all.length ? { filter: filter(test) } : {}) } };
}

const shown = (x: unknown): string => JSON.stringify(x, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v));
const shownKeys = (hexes: readonly string[]): string[] =>
  hexes.map((h) => shown(decodeKey(Buffer.from(h, 'hex')).path.map((e) => [e.kind, e.id ?? e.name])));

/** Results of a page, and index rows that a shard may read at once. */
const PAGING: [readonly [number, number], ...(readonly [number, number])[]] = [
  [1, 1000],
  [3, 5],
  [7, 40],
  [1000, 1],
  [1000, 10_000],
];

/** Reproduces a run: NXNW_SEED=n. */
const SEED = Number(process.env['NXNW_SEED'] ?? 7);

describe('datastore queries', function () {
  this.timeout(120_000);

  it('answer what a naive evaluation answers, in its order, now and at an earlier time, page by page', async () => {
    const random = seeded(SEED);
    let compared = 0;
    for (let round = 0; round < 4; round++) {
      const db = new Db();
      await write(db, random, 200);
      const earlier = { docs: [...db.docs.values()], atUs: db.client.latestUs };
      await write(db, random, 100);
      const now = { docs: [...db.docs.values()], atUs: db.client.latestUs };
      for (let n = 0; n < 40; n++) {
        const kind = pick(random, ['K', 'L']);
        const { test, sorts, keyDescending, message } = randomQuery(random);
        if (clauses(test).length > 30) continue;
        const { docs, atUs } = random() < 0.3 ? earlier : now;
        const candidates = docs.filter((d) => d.key.namespace === '' && d.key.path.at(-1)?.kind === kind);
        const expected = naive(candidates, test, effective(test, sorts), keyDescending);
        const [pageSize, maxRows] = pick(random, PAGING);
        const about = `seed ${SEED}, round ${round}, query ${n}, ${pageSize} results and ${maxRows} rows at once: ${shown({ test, sorts, keyDescending })}`;
        const actual = await db.run({ kind: [{ name: kind }], ...message }, atUs, pageSize, maxRows);
        assert.deepEqual(shownKeys(actual), shownKeys(expected), about);
        compared += expected.length ? 1 : 0;
      }
    }
    assert.ok(compared > 80, `only ${compared} queries had results`);
  });

  it('without an order answer the same entities, and without a kind those of every kind in key order', async () => {
    const random = seeded(SEED + 1);
    const db = new Db();
    await write(db, random, 300);
    const docs = [...db.docs.values()].filter((d) => d.key.namespace === '');
    for (let n = 0; n < 60; n++) {
      const test = randomTest(random);
      if (clauses(test).length > 30) continue;
      const ofKind = docs.filter((d) => d.key.path.at(-1)?.kind === 'K');
      const query = { kind: [{ name: 'K' }], filter: filter(test) };
      const actual = await db.run(query, db.client.latestUs, 5, 10_000);
      assert.deepEqual(shownKeys(actual).sort(), shownKeys(naive(ofKind, test, [], false)).sort(), shown(test));
      const ancestor: Test = { ancestor: { ...randomKey(random), namespace: '' } };
      const below = await db.run({ filter: filter(ancestor) }, db.client.latestUs, 3, 5);
      assert.deepEqual(shownKeys(below), shownKeys(naive(docs, ancestor, [], false)));
    }
    assert.deepEqual(await db.run({}, db.client.latestUs, 9, 1000), naive(docs, { all: [] }, [], false));
  });

  it('fetch about as many entities as they answer where an index or a small group allows it', async () => {
    const db = new Db();
    const at = (country: number, city: number) =>
      key('', { kind: 'Country', id: BigInt(country) }, { kind: 'City', id: BigInt(city) });
    for (let i = 0; i < 1200; i++) {
      const values = { country: [[TEXT, `c${i % 60}`]], size: [[INT, (i * 7) % 1200]] } as const;
      await db.put(at(i % 60, i + 1), values);
    }
    const order = [{ property: { name: 'size' }, direction: 2 }];
    const cost = async (filters: Test): Promise<number> => {
      const before = db.client.fetched;
      const query = { kind: [{ name: 'City' }], order, filter: filter(filters), limit: { value: 20 } };
      assert.equal((await db.run(query, db.client.latestUs, 20, 20_000)).length, 20);
      return db.client.fetched - before;
    };
    const ofGroup = await cost({ ancestor: key('', { kind: 'Country', id: 7n }) });
    assert.ok(ofGroup <= 120, `${ofGroup} entities fetched for 20 of one group`);
    const ofValue = await cost({ property: 'country', op: 'EQUAL', to: [TEXT, 'c3'] });
    assert.ok(ofValue <= 700, `${ofValue} entities fetched for 20 of one value`);
  });
});
