import assert from 'node:assert/strict';
import { decodeKey, encodeKey } from '@nxnw/platform/datastore/keys';
import type { Key, PathElement } from '@nxnw/platform/datastore/keys';
import { keyOf } from '@nxnw/platform/datastore/messages';
import { requestCodec } from '@nxnw/platform/datastore/proto';
import { encodeCursor } from '@nxnw/platform/datastore/query/cursor';
import { nextStretch } from '@nxnw/platform/datastore/query/merge';
import { planQuery } from '@nxnw/platform/datastore/query/plan';
import { OPERATOR } from '@nxnw/platform/datastore/query/request';
import type { QueryMessage } from '@nxnw/platform/datastore/query/request';
import { PROJECT, key, mutation, value, writesOf } from '../support/datastore-values.js';
import { MemoryShards } from '../support/memory-shards.js';
import { pick, seeded } from '../support/random.js';

/** A value of the test's own: rank of its type and something comparable. */
type Plain = readonly [rank: number, of: number | string];
interface Doc {
  readonly key: Key;
  readonly values: Readonly<Record<string, readonly Plain[]>>;
}
type Op = 'EQUAL' | 'LESS_THAN' | 'LESS_THAN_OR_EQUAL' | 'GREATER_THAN' | 'GREATER_THAN_OR_EQUAL';
type Test =
  | { readonly property: string; readonly op: Op | 'NOT_EQUAL'; readonly to: Plain }
  | { readonly property: string; readonly op: 'IN' | 'NOT_IN'; readonly of: readonly Plain[] }
  | { readonly key: Op; readonly to: Key }
  | { readonly ancestor: Key }
  | { readonly all: readonly Test[] }
  | { readonly any: readonly Test[] };
/** One atom of a clause: what a single index row or key must satisfy. */
type Atom =
  | { readonly property: string; readonly op: Op; readonly to: Plain }
  | { readonly key: Op | 'HAS_ANCESTOR'; readonly to: Key };
interface Sort {
  readonly property: string;
  readonly descending: boolean;
}

const INT = 2;
const TEXT = 4;

function message([rank, of]: Plain): object {
  return rank === INT ? value.int(Number(of)) : rank === TEXT ? value.text(String(of)) : value.null();
}

function compare(a: Plain, b: Plain): number {
  if (a[0] !== b[0]) return a[0] - b[0];
  return a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0;
}

function holds(op: Op, c: number): boolean {
  return op === 'EQUAL'
    ? c === 0
    : op === 'LESS_THAN'
      ? c < 0
      : op === 'LESS_THAN_OR_EQUAL'
        ? c <= 0
        : op === 'GREATER_THAN'
          ? c > 0
          : c >= 0;
}

const compareKeys = (a: Key, b: Key): number => encodeKey(a).compare(encodeKey(b));

function clauses(t: Test): Atom[][] {
  if ('all' in t) return t.all.map(clauses).reduce((as, bs) => as.flatMap((a) => bs.map((b) => [...a, ...b])), [[]]);
  if ('any' in t) return t.any.flatMap(clauses);
  if ('ancestor' in t) return [[{ key: 'HAS_ANCESTOR', to: t.ancestor }]];
  if ('key' in t) return [[t]];
  const { property } = t;
  const differs = (to: Plain): Test => ({
    any: [
      { property, op: 'LESS_THAN', to },
      { property, op: 'GREATER_THAN', to },
    ],
  });
  if ('of' in t && t.op === 'IN') return t.of.map((to) => [{ property, op: 'EQUAL', to }]);
  if ('of' in t) return clauses({ all: t.of.map(differs) });
  if (t.op === 'NOT_EQUAL') return clauses(differs(t.to));
  return [[{ property, op: t.op, to: t.to }]];
}

/** Values of `property` that the clause's filters on it allow to place an entity, or null if a filter is not met. */
function allowed(doc: Doc, clause: readonly Atom[], property: string): readonly Plain[] | null {
  const values = doc.values[property] ?? [];
  const atoms = clause.flatMap((a) => ('property' in a && a.property === property ? [a] : []));
  const equals = atoms.filter((a) => a.op === 'EQUAL');
  const ranges = atoms.filter((a) => a.op !== 'EQUAL');
  if (!equals.every((a) => values.some((v) => compare(v, a.to) === 0))) return null;
  const inRange = values.filter((v) => ranges.every((a) => holds(a.op, compare(v, a.to))));
  if (ranges.length) return inRange.length ? inRange : null;
  return equals.length ? values.filter((v) => equals.some((a) => compare(v, a.to) === 0)) : values;
}

function naive(docs: readonly Doc[], test: Test, sorts: readonly Sort[], keyDescending: boolean): string[] {
  type Place = readonly Plain[];
  const order = (a: { place: Place; doc: Doc }, b: { place: Place; doc: Doc }): number => {
    for (const [i, s] of sorts.entries()) {
      const x = a.place[i];
      const y = b.place[i];
      const c = x && y ? compare(x, y) : 0;
      if (c) return s.descending ? -c : c;
    }
    return compareKeys(a.doc.key, b.doc.key) * (keyDescending ? -1 : 1);
  };
  const found = docs.flatMap((doc) => {
    const places = clauses(test).flatMap((clause) => {
      const keysFit = clause.every(
        (a) =>
          'property' in a ||
          (a.key === 'HAS_ANCESTOR'
            ? encodeKey(doc.key).subarray(0, encodeKey(a.to).length).equals(encodeKey(a.to))
            : holds(a.key, compareKeys(doc.key, a.to))),
      );
      const named = clause.flatMap((a) => ('property' in a ? [a.property] : []));
      if (!keysFit || named.some((p) => allowed(doc, clause, p) === null)) return [];
      const place: Plain[] = [];
      for (const s of sorts) {
        const values = [...(allowed(doc, clause, s.property) ?? [])].sort(compare);
        const v = s.descending ? values.at(-1) : values[0];
        if (!v) return [];
        place.push(v);
      }
      return [{ place, doc }];
    });
    const first = places.sort(order)[0];
    return first ? [first] : [];
  });
  return found.sort(order).map((f) => encodeKey(f.doc.key).toString('hex'));
}

function filter(t: Test): object {
  if ('all' in t) return { compositeFilter: { op: 1, filters: t.all.map(filter) } };
  if ('any' in t) return { compositeFilter: { op: 2, filters: t.any.map(filter) } };
  const of = (name: string, op: keyof typeof OPERATOR, v: object) => ({
    propertyFilter: { property: { name }, op: OPERATOR[op], value: v },
  });
  if ('ancestor' in t) return of('__key__', 'HAS_ANCESTOR', value.key(t.ancestor));
  if ('key' in t) return of('__key__', t.key, value.key(t.to));
  return 'of' in t ? of(t.property, t.op, value.list(...t.of.map(message))) : of(t.property, t.op, message(t.to));
}

const codec = requestCodec<QueryMessage>('Query');
const SHARDS = 4;

class Db {
  readonly docs = new Map<string, Doc>();
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

  /** All pages of a query, `pageSize` results each; keys in hex. */
  async run(query: object, pageSize: number, maxRows: number, namespace = ''): Promise<string[]> {
    const partition = { project: PROJECT, database: '', namespace };
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
          atUs: null,
          maxResults: pageSize,
          maxBytes: 1 << 20,
          expired: () => false,
        },
        (shard, q, atUs) => this.client.query(shard, q, atUs, Date.now() + 10_000),
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

async function randomDb(random: () => number, writes: number): Promise<Db> {
  const db = new Db();
  for (let i = 0; i < writes; i++) await db.put(randomKey(random), random() < 0.25 ? null : randomValues(random));
  return db;
}

function randomTest(random: () => number, ancestor: Key | null, depth = 0): Test {
  const dice = random();
  if (depth < 2 && dice < 0.45) {
    const parts = Array.from({ length: 1 + Math.floor(random() * 3) }, () => randomTest(random, null, depth + 1));
    return dice < 0.25 ? { all: parts } : { any: parts };
  }
  const property = pick(random, PROPERTIES);
  if (dice < 0.55) return { key: pick(random, OPS), to: { ...randomKey(random), namespace: '' } };
  if (dice < 0.62) return { property, op: 'IN', of: [pick(random, PLAINS), pick(random, PLAINS)] };
  if (dice < 0.67) return { property, op: 'NOT_EQUAL', to: pick(random, PLAINS) };
  if (dice < 0.7) return { property, op: 'NOT_IN', of: [pick(random, PLAINS), pick(random, PLAINS)] };
  return { property, op: random() < 0.5 ? 'EQUAL' : pick(random, OPS), to: pick(random, PLAINS) };
}

describe('datastore queries', function () {
  this.timeout(120_000);

  it('answer what a naive evaluation answers, in its order, whatever the page size', async () => {
    const seed = Number(process.env['NXNW_SEED'] ?? 7);
    const random = seeded(seed);
    let compared = 0;
    for (let round = 0; round < 6; round++) {
      const db = await randomDb(random, 250);
      const docs = [...db.docs.values()];
      for (let n = 0; n < 40; n++) {
        const kind = pick(random, ['K', 'L']);
        const ancestor = random() < 0.3 ? { ...randomKey(random), namespace: '' } : null;
        const test: Test = {
          all: [...(random() < 0.85 ? [randomTest(random, ancestor)] : []), ...(ancestor ? [{ ancestor }] : [])],
        };
        const sorts = Array.from({ length: 1 + Math.floor(random() * 2.4) }, () => ({
          property: pick(random, PROPERTIES),
          descending: random() < 0.5,
        }));
        const unique = sorts.filter((s, i) => sorts.findIndex((x) => x.property === s.property) === i);
        const keyDescending = random() < 0.5;
        const order = [...unique, { property: '__key__', descending: keyDescending }].map((s) => ({
          property: { name: s.property },
          direction: s.descending ? 2 : 1,
        }));
        const cs = clauses(test);
        const fixed = (p: string) => {
          const eq = cs.map((c) =>
            c.flatMap((a) => ('property' in a && a.property === p && a.op === 'EQUAL' ? [a.to] : [])),
          );
          const first = eq[0]?.[0];
          return first !== undefined && eq.every((e) => e.length > 0 && e.every((v) => compare(v, first) === 0));
        };
        if (cs.length > 30) continue;
        const live = unique.filter((s) => !fixed(s.property));
        const expected = naive(
          docs.filter((d) => d.key.namespace === '' && d.key.path.at(-1)?.kind === kind),
          test,
          live,
          keyDescending,
        );
        const query = { kind: [{ name: kind }], order, ...(test.all.length ? { filter: filter(test) } : {}) };
        const pageSize = pick(random, [1, 3, 7, 1000]);
        const maxRows = pick(random, [1, 5, 40, 10_000]);
        let actual: string[];
        try {
          actual = await db.run(query, pageSize, maxRows);
        } catch (e) {
          throw new Error(`seed ${seed}: ${JSON.stringify(query)}`, { cause: e });
        }
        const show = (hexes: string[]) =>
          hexes.map((h) =>
            JSON.stringify(
              decodeKey(Buffer.from(h, 'hex'))
                .path.map((e) => `${e.kind}:${e.id ?? JSON.stringify(e.name)}`)
                .join('/'),
            ),
          );
        assert.deepEqual(
          show(actual),
          show(expected),
          `seed ${seed}, round ${round}, query ${n}, page ${pageSize}, rows ${maxRows}: ${JSON.stringify({ test, unique, keyDescending }, (_, v) => (typeof v === 'bigint' ? String(v) : v))}`,
        );
        compared += expected.length ? 1 : 0;
      }
    }
    assert.ok(compared > 80, `only ${compared} queries had results`);
  });
});
