import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import type { Method } from '@nxnw/platform/datastore/api';
import { keyMessage, microsOf } from '@nxnw/platform/datastore/messages';
import { toBigInt } from '@nxnw/platform/datastore/proto';
import type { KeyMessage } from '@nxnw/platform/datastore/proto';
import { NxnwError } from '@nxnw/platform/errors';
import { K, NON_TRANSACTIONAL, TRANSACTIONAL, entity, fails } from '../support/datastore-answers.js';
import type { Commit, Lookup } from '../support/datastore-answers.js';
import { key } from '../support/datastore-values.js';
import { openDoor } from '../support/datastore-door.js';
import type { OpenDoor } from '../support/datastore-door.js';

const HOST = '127.33.0.3';

describe('the Datastore API, call by call', function () {
  this.timeout(30_000);
  let open: OpenDoor;
  const put = (...mutations: object[]) => open.call<Commit>('Commit', { mode: NON_TRANSACTIONAL, mutations });
  const begin = async () => (await open.call<{ transaction: Buffer }>('BeginTransaction', {})).transaction;
  const numbers = async (...names: string[]) => {
    const { found } = await open.call<Lookup>('Lookup', { keys: names.map(K) });
    return Object.fromEntries(
      found.map((f) => [
        f.entity.key?.path[0]?.name,
        Number(toBigInt(f.entity.properties['n']?.integerValue ?? { high: 0, low: 0, unsigned: false })),
      ]),
    );
  };

  before(async () => {
    open = await openDoor(HOST);
  });
  after(async () => {
    assert.deepEqual(open.errors.events, []);
    await open.close();
  });

  describe('the port', () => {
    it('serves its own project and database only, and says which', async () => {
      await fails(
        open.call('Lookup', { projectId: 'bank', keys: [K('a')] }),
        status.PERMISSION_DENIED,
        /serves project shop, not "bank"/,
      );
      await fails(
        open.call('Lookup', { projectId: '', keys: [K('a')] }),
        status.INVALID_ARGUMENT,
        /project_id is missing/,
      );
      await fails(open.call('Lookup', { databaseId: 'x', keys: [K('a')] }), status.NOT_FOUND, /database "x"/);
      const foreign = keyMessage({ ...key('', { kind: 'K', name: 'a' }), project: 'bank' });
      await fails(
        open.call('Lookup', { keys: [foreign] }),
        status.INVALID_ARGUMENT,
        /keys\[0\] belongs to project "bank"/,
      );
    });

    it('refuses what comes above its bounds at once, and a request that is too big', async () => {
      const small = await openDoor(HOST, { limits: { maxInFlight: 1 } });
      let release: () => void = () => undefined;
      let reached: () => void = () => undefined;
      const held = new Promise<void>((ok) => (reached = ok));
      small.shards.before = () => (reached(), new Promise<void>((ok) => (release = ok)));
      const first = small.call('AllocateIds', { keys: [{ path: [{ kind: 'K' }] }] });
      await held;
      await fails(small.call('Lookup', { keys: [K('a')] }), status.RESOURCE_EXHAUSTED, /try again later/);
      release();
      await first;
      const big = {
        insert: { key: K('big'), properties: { x: { blobValue: Buffer.alloc(11 << 20), excludeFromIndexes: true } } },
      };
      await fails(
        small.call('Commit', { mode: NON_TRANSACTIONAL, mutations: [big] }),
        status.INVALID_ARGUMENT,
        /at most 10485760/,
      );
      await small.close();
    });

    it('answers by the deadline when a shard does not', async () => {
      const slow = await openDoor(HOST, { limits: { maxDeadlineMs: 100 } });
      slow.shards.before = () => new Promise<void>(() => undefined);
      await fails(slow.call('Lookup', { keys: [K('a')] }), status.DEADLINE_EXCEEDED, /Lookup: no answer/);
      await slow.close();
    });

    it('that is in use is named when a second one is opened', async () => {
      const second = await openDoor(HOST);
      await assert.rejects(second.door.listen(open.endpoint), {
        code: 'ADDRESS_IN_USE',
        message: new RegExp(open.endpoint),
      });
      await second.close();
    });

    it('tells nothing of an internal error but logs it', async () => {
      const broken = await openDoor(HOST);
      broken.shards.before = () => {
        throw new Error('secret detail');
      };
      await fails(broken.call('Lookup', { keys: [K('a')] }), status.INTERNAL, /^((?!secret).)*$/);
      assert.equal(broken.errors.events.length, 1);
      await broken.close();
    });

    it('names every part of the API that is not there', async () => {
      const refused: [Method, object, RegExp][] = [
        ['Lookup', { keys: [K('a')], propertyMask: { paths: ['n'] } }, /property_mask/],
        ['Lookup', { keys: [K('a')], readOptions: { readTime: { seconds: 1 } } }, /read_time/],
        ['RunQuery', { gqlQuery: { queryString: 'SELECT *' } }, /gql_query/],
        ['RunQuery', { query: {}, explainOptions: {} }, /explain_options/],
        ['RunQuery', { query: { kind: [{ name: 'K' }], findNearest: {} } }, /find_nearest/],
        [
          'Commit',
          { mode: NON_TRANSACTIONAL, mutations: [{ upsert: entity('a', 1), propertyMask: { paths: ['n'] } }] },
          /property_mask/,
        ],
        [
          'Commit',
          { mode: NON_TRANSACTIONAL, mutations: [{ upsert: entity('a', 1), propertyTransforms: [{ property: 'n' }] }] },
          /property_transforms/,
        ],
        ['BeginTransaction', { transactionOptions: { readOnly: { readTime: { seconds: 1 } } } }, /read_time/],
        [
          'RunAggregationQuery',
          {
            aggregationQuery: {
              nestedQuery: { kind: [{ name: 'K' }] },
              aggregations: [{ sum: { property: { name: 'n' } } }],
            },
          },
          /aggregation sum/,
        ],
      ];
      for (const [method, request, message] of refused)
        await fails(open.call(method, request), status.UNIMPLEMENTED, message);
    });
  });

  describe('Lookup', () => {
    it('defers what does not fit, reads each key once, and gives versions and times', async () => {
      const blob = { blobValue: Buffer.alloc(900_000), excludeFromIndexes: true };
      const names = ['b1', 'b2', 'b3', 'b4', 'b5'];
      await put(...names.map((n) => ({ upsert: { key: K(n), properties: { blob } } })));
      const first = await open.call<Lookup>('Lookup', { keys: [...names, 'b1', 'gone'].map(K) });
      assert.deepEqual([first.found.length, first.missing.length, first.deferred.length], [3, 1, 2]);
      const rest = await open.call<Lookup>('Lookup', { keys: first.deferred });
      assert.deepEqual([rest.found.length, rest.deferred.length], [2, 0]);
      const [f] = first.found;
      assert.ok(f?.createTime && f.updateTime);
      assert.equal(microsOf(f.updateTime), toBigInt(f.version));
      const [m] = first.missing;
      assert.ok(m && toBigInt(m.version) >= toBigInt(f.version) && m.updateTime === null);
    });
  });

  describe('Commit', () => {
    it('answers versions and times, and allocated keys', async () => {
      const first = await put({ insert: entity('v', 1) });
      const second = await put(
        { update: entity('v', 2) },
        { insert: { key: { path: [{ kind: 'K' }] }, properties: {} } },
      );
      const [a] = first.mutationResults;
      const [b, c] = second.mutationResults;
      assert.ok(a?.createTime && b?.createTime && b.updateTime && c?.key);
      assert.deepEqual(microsOf(b.createTime), microsOf(a.createTime));
      assert.ok(toBigInt(b.version) > toBigInt(a.version));
      assert.equal(c.key.path[0]?.idType, 'id');
      assert.equal(first.commitTime, null);
      const gone = await put({ delete: K('v') });
      assert.equal(gone.mutationResults[0]?.updateTime, null);
    });

    it('keeps the stored entity on a wrong base version, or fails as a whole if asked to', async () => {
      const { mutationResults } = await put({ upsert: entity('base', 1) });
      const version = mutationResults[0]?.version;
      const updateTime = mutationResults[0]?.updateTime;
      const right = await put({ update: entity('base', 2), baseVersion: version });
      assert.equal(right.mutationResults[0]?.conflictDetected, false);
      const wrong = await put({ update: entity('base', 3), baseVersion: version }, { upsert: entity('other', 3) });
      assert.deepEqual(
        wrong.mutationResults.map((r) => r.conflictDetected),
        [true, false],
      );
      const byTime = await put({ delete: K('base'), updateTime });
      assert.equal(byTime.mutationResults[0]?.conflictDetected, true);
      const failing = { update: entity('base', 4), baseVersion: version, conflictResolutionStrategy: 3 };
      await fails(put(failing), status.ABORTED, /version/);
      assert.deepEqual(await numbers('base', 'other'), { base: 2, other: 3 });
      await fails(
        put({ update: entity('base', 4), conflictResolutionStrategy: 3 }),
        status.INVALID_ARGUMENT,
        /without base_version/,
      );
    });

    it('applies several mutations of one entity in order where that is permitted', async () => {
      const single = (...mutations: object[]) =>
        open.call<Commit>('Commit', { mode: TRANSACTIONAL, singleUseTransaction: { readWrite: {} }, mutations });
      await single({ insert: entity('m', 1) }, { update: entity('m', 2) }, { upsert: entity('m', 3) });
      assert.deepEqual(await numbers('m'), { m: 3 });
      const swapped = await single(
        { delete: K('m') },
        { insert: entity('m', 4) },
        { upsert: entity('x', 1) },
        { delete: K('x') },
      );
      assert.equal(swapped.mutationResults.length, 4);
      assert.deepEqual(await numbers('m', 'x'), { m: 4 });
      const refused: [object, object][] = [
        [{ insert: entity('r', 1) }, { insert: entity('r', 1) }],
        [{ update: entity('r', 1) }, { insert: entity('r', 1) }],
        [{ upsert: entity('r', 1) }, { insert: entity('r', 1) }],
        [{ delete: K('r') }, { update: entity('r', 1) }],
      ];
      for (const pair of refused) await fails(single(...pair), status.INVALID_ARGUMENT, /not permitted/);
      await fails(
        put({ upsert: entity('r', 1) }, { upsert: entity('r', 2) }),
        status.INVALID_ARGUMENT,
        /second of one entity/,
      );
      await fails(
        single({ insert: entity('r', 1) }, { delete: K('r') }),
        status.UNIMPLEMENTED,
        /insert followed by delete/,
      );
    });

    it('without a transaction is split by shard, and with one is one commit', async () => {
      const entities = Array.from({ length: 12 }, (_, i) => ({ upsert: entity(`s${i}`, i) }));
      const before = open.shards.commits.length;
      await put(...entities);
      const split = open.shards.commits.slice(before);
      assert.ok(split.length > 1 && split.every((c) => c.tx === null && c.shards.length === 1));
      await open.call('Commit', { mode: TRANSACTIONAL, transaction: await begin(), mutations: entities });
      const whole = open.shards.commits.at(-1);
      assert.deepEqual([whole?.shards.length, whole?.tx?.length], [split.length, 32]);
    });

    it('refuses modes and selectors that do not go together', async () => {
      const mutations = [{ upsert: entity('a', 1) }];
      await fails(
        open.call('Commit', { mode: TRANSACTIONAL, mutations }),
        status.INVALID_ARGUMENT,
        /needs transaction/,
      );
      await fails(
        open.call('Commit', { mode: NON_TRANSACTIONAL, transaction: await begin(), mutations }),
        status.INVALID_ARGUMENT,
        /cannot name a transaction/,
      );
      await fails(
        open.call('Commit', { mode: TRANSACTIONAL, transaction: Buffer.from('x'), mutations }),
        status.INVALID_ARGUMENT,
        /transaction identifier/,
      );
      await fails(
        open.call('Commit', { mode: TRANSACTIONAL, singleUseTransaction: { readOnly: {} }, mutations }),
        status.INVALID_ARGUMENT,
        /read-write/,
      );
      await fails(
        put({ update: { key: { path: [{ kind: 'K' }] }, properties: {} } }),
        status.INVALID_ARGUMENT,
        /incomplete/,
      );
      await fails(put({}), status.INVALID_ARGUMENT, /no operation/);
    });

    it('repeated after its answer was lost gets the first answer and is made once', async () => {
      const transaction = await begin();
      const request = {
        mode: TRANSACTIONAL,
        transaction,
        mutations: [{ insert: { key: { path: [{ kind: 'Auto' }] }, properties: {} } }],
      };
      open.shards.afterCommit = () => {
        throw new NxnwError('UNAVAILABLE', 'the answer was lost');
      };
      await fails(open.call('Commit', request), status.UNAVAILABLE, /lost/);
      open.shards.afterCommit = () => undefined;
      const before = open.shards.commits.length;
      const [a, b] = [await open.call<Commit>('Commit', request), await open.call<Commit>('Commit', request)];
      assert.deepEqual(a, b);
      assert.ok(a.mutationResults[0]?.key);
      assert.equal(open.shards.commits.length, before);
      await fails(open.call('Rollback', { transaction }), status.INVALID_ARGUMENT, /cannot be rolled back/);
    });
  });

  describe('ids', () => {
    it('are allocated for incomplete keys, and reserved ones are not given', async () => {
      const incomplete = { path: [{ kind: 'P', name: 'p' }, { kind: 'K' }] };
      const { keys } = await open.call<{ keys: KeyMessage[] }>('AllocateIds', { keys: [incomplete, incomplete] });
      const ids = keys.map((k) => Number(toBigInt(k.path[1]?.id ?? { high: 0, low: 0, unsigned: false })));
      const next = (ids[1] ?? 0) + ((ids[1] ?? 0) - (ids[0] ?? 0));
      await open.call('ReserveIds', { keys: [keyMessage(key('', { kind: 'K', id: BigInt(next) }))] });
      const more = await open.call<{ keys: KeyMessage[] }>('AllocateIds', { keys: [incomplete] });
      assert.notEqual(Number(toBigInt(more.keys[0]?.path[1]?.id ?? { high: 0, low: 0, unsigned: false })), next);
      await fails(open.call('AllocateIds', { keys: [K('a')] }), status.INVALID_ARGUMENT, /complete/);
    });
  });
});
