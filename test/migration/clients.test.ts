import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { status } from '@grpc/grpc-js';
import { indexer } from '@nxnw/platform/datastore/indexes';
import { encodeKey, groupOf } from '@nxnw/platform/datastore/keys';
import type { Key } from '@nxnw/platform/datastore/keys';
import { keyMessage, keyOf } from '@nxnw/platform/datastore/messages';
import type { EntityMessage, KeyMessage } from '@nxnw/platform/datastore/proto';
import { toBigInt } from '@nxnw/platform/datastore/proto';
import { shardOf } from '@nxnw/platform/datastore/token';
import type { IndexKey } from '@nxnw/platform/shards/types';
import { ensureTools } from '@nxnw/tools';
import { K, NON_TRANSACTIONAL, TRANSACTIONAL, entity, fails } from '../support/datastore-answers.js';
import type { Commit, Lookup } from '../support/datastore-answers.js';
import { callDoor } from '../support/datastore-door.js';
import type { DoorCalls } from '../support/datastore-door.js';
import { INT, TEXT, filter, message, naive } from '../support/datastore-naive.js';
import type { Doc, Plain, Sort, Test } from '../support/datastore-naive.js';
import { PROJECT, entityBytes, key, value } from '../support/datastore-values.js';
import { Fleet } from '../support/fleet.js';
import { following, intent, move } from '../support/handover.js';
import { pythonFeatures } from '../support/python-features.js';
import type { Damage } from '../support/store-damage.js';

const APP = PROJECT;
const SHARDS = 4;
const ALL = [0, 1, 2, 3];
const run = promisify(execFile);

const int = (n: number): readonly Plain[] => [[INT, n]];
const text = (...s: string[]): readonly Plain[] => s.map((x) => [TEXT, x] as const);
const COUNTRIES = ['DE', 'FR', 'IT'];
/** Places in many groups, some of them in one, with values that many share. */
const PLACES: readonly Doc[] = Array.from({ length: 150 }, (_, i) => ({
  key: i % 5 ? key('', { kind: 'Place', name: `p${i}` }) : key('', { kind: 'Land', name: 'DE' }, { kind: 'Place', id: BigInt(i + 1) }),
  values: { country: text(COUNTRIES[i % 3] ?? ''), population: int((i * 37) % 50), tags: text('all', `t${i % 7}`) },
})); // prettier-ignore

const eq = (property: string, to: Plain): Test => ({ property, op: 'EQUAL', to });
const from = (n: number): Test => ({ property: 'population', op: 'GREATER_THAN_OR_EQUAL', to: [INT, n] });
const by = (property: string, descending: boolean): Sort => ({ property, descending });
const ANY: Test = { all: [] };
const QUERIES: readonly { test: Test; sorts: readonly Sort[] }[] = [
  { test: ANY, sorts: [] },
  { test: eq('country', [TEXT, 'DE']), sorts: [] },
  { test: { all: [eq('tags', [TEXT, 'all']), eq('tags', [TEXT, 't3'])] }, sorts: [] },
  { test: { all: [eq('country', [TEXT, 'FR']), eq('tags', [TEXT, 't1'])] }, sorts: [by('population', true)] },
  { test: from(25), sorts: [by('population', false)] },
  { test: from(10), sorts: [by('population', true), by('country', false)] },
  { test: ANY, sorts: [by('country', false), by('population', true)] },
  { test: { property: 'country', op: 'IN', of: [[TEXT, 'DE'], [TEXT, 'IT']] }, sorts: [by('population', false)] },
  { test: { any: [{ all: [eq('country', [TEXT, 'IT']), from(40)] }, eq('population', [INT, 0])] }, sorts: [by('population', false)] },
  { test: { ancestor: key('', { kind: 'Land', name: 'DE' }) }, sorts: [] },
  { test: { key: 'GREATER_THAN', to: key('', { kind: 'Place', name: 'p7' }) }, sorts: [] },
]; // prettier-ignore

const property = (vs: readonly Plain[]): object =>
  vs.length === 1 && vs[0] ? message(vs[0]) : value.list(...vs.map(message));
const placeMessage = (d: Doc): object => ({
  key: keyMessage(d.key),
  properties: Object.fromEntries(Object.entries(d.values).map(([name, vs]) => [name, property(vs)])),
});
const shardOfKey = (k: Key): number => shardOf(groupOf(encodeKey(k)), SHARDS);

interface RunQuery {
  readonly batch: { readonly entityResults: { readonly entity: { readonly key: KeyMessage } }[]; readonly endCursor: Buffer; readonly moreResults: string | number }; // prettier-ignore
}

/** The whole result of a query, in its order, as encoded keys in hex. */
async function results(door: DoorCalls, q: (typeof QUERIES)[number]): Promise<string[]> {
  const found: string[] = [];
  for (let startCursor: Buffer = Buffer.alloc(0), pages = 0; ; pages++) {
    assert.ok(pages < 500, 'the query makes no progress');
    const query = {
      kind: [{ name: 'Place' }],
      ...(q.test === ANY ? {} : { filter: filter(q.test) }),
      order: q.sorts.map((s) => ({ property: { name: s.property }, direction: s.descending ? 2 : 1 })),
      startCursor,
      limit: { value: 60 },
    };
    const { batch } = await door.call<RunQuery>('RunQuery', { partitionId: {}, query });
    found.push(...batch.entityResults.map((r) => encodeKey(keyOf(r.entity.key)).toString('hex')));
    if (batch.entityResults.length === 0) return found;
    startCursor = batch.endCursor;
  }
}

describe('clients of a running platform that moves', function () {
  this.timeout(240_000);
  let n1: Fleet;
  let n2: Fleet;
  let doors: readonly DoorCalls[];
  /** Doors of N1's and N2's two processes. */
  const at = (platform: 1 | 2, i = 0): DoorCalls => doors[(platform - 1) * 2 + i] as DoorCalls;
  const put = (door: DoorCalls, ...mutations: object[]) =>
    door.call<Commit>('Commit', { mode: NON_TRANSACTIONAL, mutations });
  const number = (e: EntityMessage | undefined): number | null => {
    const v = e?.properties['n'];
    return v?.valueType === 'integerValue' ? Number(toBigInt(v.integerValue)) : null;
  };
  const read = async (door: DoorCalls, name: string, options: object = {}): Promise<number | null> =>
    number((await door.call<Lookup>('Lookup', { keys: [K(name)], readOptions: options })).found[0]?.entity);
  const python = async (platform: 1 | 2, name: string): Promise<void> => {
    const fleet = platform === 1 ? n1 : n2;
    const failure = await pythonFeatures(fleet.doors()[0] ?? '', name);
    assert.equal(failure, null, failure ?? '');
  };
  const queriesAreExact = async (): Promise<void> => {
    for (const q of QUERIES) {
      const expected = naive(PLACES, q.test, q.sorts, false);
      for (const [i, door] of [at(1), at(2)].entries())
        assert.deepEqual(await results(door, q), expected, `door ${i}: ${JSON.stringify(q, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v))}`); // prettier-ignore
    }
  }; // prettier-ignore

  before(async () => {
    await ensureTools(['py', 'zookeeper']);
    n1 = await Fleet.start({ id: 'blue', ip: '127.41.0.1', app: APP, shards: SHARDS, processes: 2 });
    n2 = await Fleet.start({ id: 'green', ip: '127.41.0.2', app: APP, shards: SHARDS, processes: 2, join: n1 });
    doors = [...n1.doors(), ...n2.doors()].map(callDoor);
    await put(at(1), ...PLACES.map((d) => ({ upsert: placeMessage(d) })));
    assert.equal(new Set(PLACES.map((d) => shardOfKey(d.key))).size, SHARDS);
  });
  after(async () => {
    for (const d of doors ?? []) d.close();
    await n2?.stop();
    await n1?.stop();
  });

  it('use every feature on N1 before, with the unmodified Python client', () => python(1, 'before'));

  it('read through N2 while it is in standby, and are told why they may not write', async () => {
    await put(at(1), { upsert: entity('standby', 1) });
    assert.equal(await read(at(2), 'standby'), 1);
    await queriesAreExact();
    const why = /standby on platform green.*writes are refused until the switch/;
    await fails(put(at(2), { upsert: entity('standby', 2) }), status.FAILED_PRECONDITION, why);
    await fails(put(at(2), { delete: K('standby') }), status.FAILED_PRECONDITION, why);
    await fails(at(2).call('AllocateIds', { keys: [{ path: [{ kind: 'K' }] }] }), status.FAILED_PRECONDITION, why);
    assert.equal(await read(at(1), 'standby'), 1);
  });

  it('use every feature on N1 while N2 loads and follows', async () => {
    await n2.control.setIntent(APP, intent(false));
    await python(1, 'loading');
    await following(n2, APP);
    await python(1, 'following');
    assert.equal(await read(at(2, 1), 'standby'), 1);
    await fails(put(at(2), { upsert: entity('standby', 3) }), status.FAILED_PRECONDITION, /standby/);
  });

  it('are shown by a deep verification what was changed behind the back of N2, and nothing that only changes', async () => {
    const rest = (name: string): Key => key('', { kind: 'Rest', name });
    const names = ['flip', 'gone', 'extra', 'lacks', 'sound'];
    await put(at(1), ...names.map((name) => ({
      upsert: {
        key: keyMessage(rest(name)),
        properties: { n: value.int(1), text: { ...value.text('x'.repeat(50)), excludeFromIndexes: true } },
      },
    }))); // prettier-ignore
    const verify = async (): Promise<string[]> => {
      const found: string[] = [];
      for await (const d of n2.control.deepVerify(APP, 50, Date.now() + 60_000)) found.push(`${d.what} ${d.key}`);
      return found.sort();
    };
    const load = new AbortController();
    const writing = (async () => {
      for (let i = 0; !load.signal.aborted; i++)
        await put(at(1, i % 2),
          ...[0, 1, 2].map((j) => ({ upsert: entity(`load${(i * 3 + j) % 200}`, i) })),
          { delete: K(`load${(i * 3 + 100) % 200}`) },
        ); // prettier-ignore
    })();
    try {
      for (let i = 0; i < 3; i++) assert.deepEqual(await verify(), []);
      const all = await n2.control.compareDigests(APP, Date.now() + 30_000);
      assert.ok(all.every((c) => c.equal));
      const shards = await n2.control.status(APP);
      const hex = (name: string, index: number) => {
        const k = rest(name);
        return shardOfKey(k) === index ? [encodeKey(k).toString('hex')] : [];
      };
      /** The index row of another value of the entity's `n` than the one that it has. */
      const wrongIndex = indexer(entityBytes(rest('extra'), { n: value.int(7) })).at(-1);
      const rightIndex = indexer(entityBytes(rest('lacks'), { n: value.int(1) })).at(-1);
      assert.ok(wrongIndex && rightIndex);
      const place = (i: IndexKey) => ({ part: i.part.toString('hex'), key: i.key.toString('hex') });
      for (const index of ALL) {
        const damage: Damage = {
          path: join(n2.dir, 'lmdb', APP, String(index)),
          generation: shards[index]?.replica?.generation ?? 0,
          flip: hex('flip', index),
          remove: hex('gone', index),
          index: hex('extra', index).map(() => ({ ...place(wrongIndex), version: 1_000_000 })),
          unindex: hex('lacks', index).map(() => place(rightIndex)),
        };
        await run(process.execPath, [join(__dirname, '../support/store-damage.js'), JSON.stringify(damage)]);
      }
      const named = [
        `content ${APP}!/Rest:"flip"`,
        `index-extra ${APP}!/Rest:"extra"`,
        `index-extra ${APP}!/Rest:"gone"`,
        `index-missing ${APP}!/Rest:"lacks"`,
        `missing ${APP}!/Rest:"gone"`,
      ];
      for (let i = 0; i < 3; i++) assert.deepEqual(await verify(), named);
    } finally {
      load.abort();
      await writing;
    }
  });

  it('see shards of both platforms as one in the middle of the hand-over', async () => {
    await n2.control.setIntent(APP, intent(true));
    await move(n2, APP, [0, 1], 'green');
    await queriesAreExact();
    await Promise.all([python(1, 'half1'), python(2, 'half2')]);
  });

  it('commit on either platform what they began on N1 before the hand-over; what conflicts is ABORTED', async () => {
    /** A name of which the group lies in this shard. */
    const nameIn = (shard: number, like: string): string => {
      for (let i = 0; ; i++)
        if (shardOfKey(key('', { kind: 'K', name: `${like}${i}` })) === shard) return `${like}${i}`;
    };
    const pair = (like: string): readonly string[] => [nameIn(2, like), nameIn(3, like)];
    const begin = async (names: readonly string[]): Promise<Buffer> => {
      const { transaction } = await at(1).call<{ transaction: Buffer }>('BeginTransaction', {});
      for (const name of names) assert.equal(await read(at(1, 1), name, { transaction }), 1);
      return transaction;
    };
    const [viaN1, viaN2, early, late] = [pair('n1-'), pair('n2-'), pair('early-'), pair('late-')];
    const all = [viaN1, viaN2, early, late];
    await put(at(1), ...all.flat().map((name) => ({ upsert: entity(name, 1) })));
    const commits: object[] = [];
    for (const names of all) {
      const mutations = names.map((name) => ({ upsert: entity(name, 10) }));
      commits.push({ mode: TRANSACTIONAL, transaction: await begin(names), mutations });
    }
    const commit = (door: DoorCalls, i: number) => door.call<Commit>('Commit', commits[i] ?? {});
    const conflict = /changed|before what this shard remembers/;

    // one conflict comes before the hand-over at N1, the other one after it at N2
    await put(at(1), { upsert: entity(early[1] ?? '', 2) });
    await move(n2, APP, [2, 3], 'green');
    await put(at(2), { upsert: entity(late[0] ?? '', 2) });
    const first = await commit(at(1), 0);
    const second = await commit(at(2, 1), 1);
    await fails(commit(at(1), 2), status.ABORTED, conflict);
    await fails(commit(at(2), 3), status.ABORTED, conflict);

    for (const door of doors) {
      assert.deepEqual(await commit(door, 0), first);
      assert.deepEqual(await commit(door, 1), second);
      await fails(commit(door, 2), status.ABORTED, conflict);
      await fails(commit(door, 3), status.ABORTED, conflict);
      const held: (number | null)[] = [];
      for (const name of all.flat()) held.push(await read(door, name));
      assert.deepEqual(held, [10, 10, 10, 10, 1, 2, 2, 1]);
    }
  });

  it('use every feature at both platforms after the hand-over, and queries stay exact', async () => {
    await queriesAreExact();
    await Promise.all([python(1, 'after1'), python(2, 'after2')]);
  });

  it('go on at N2 with a transaction of N1 and at N1 with one of N2', async () => {
    await put(at(2), { upsert: entity('x', 1) });
    const ways: readonly (readonly [DoorCalls, DoorCalls])[] = [
      [at(1), at(2)],
      [at(2), at(1)],
    ];
    for (const [began, ends] of ways) {
      const { transaction } = await began.call<{ transaction: Buffer }>('BeginTransaction', {});
      const n = (await read(ends, 'x', { transaction })) ?? 0;
      await ends.call('Commit', { mode: TRANSACTIONAL, transaction, mutations: [{ upsert: entity('x', n + 1) }] });
    }
    assert.equal(await read(at(1), 'x'), 3);
  });

  it('work on at both platforms when the shards have gone back', async () => {
    await move(n2, APP, [0, 1], 'blue');
    await queriesAreExact();
    await n2.control.setIntent(APP, intent(false));
    await move(n2, APP, [2, 3], 'blue');
    await queriesAreExact();
    await python(1, 'back');
    assert.equal(await read(at(2), 'x'), 3);
    await fails(put(at(2), { upsert: entity('x', 9) }), status.FAILED_PRECONDITION, /standby/);
    const checks = await n2.control.compareDigests(APP, Date.now() + 30_000);
    assert.deepEqual(checks.filter((c) => !c.equal), []);
  }); // prettier-ignore
});
