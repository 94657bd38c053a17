import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import type { Door } from '@nxnw/platform/datastore/door';
import type { HomeForwarder } from '@nxnw/platform/datastore/homes';
import { keyMessage } from '@nxnw/platform/datastore/messages';
import type { EntityMessage } from '@nxnw/platform/datastore/proto';
import { NxnwError } from '@nxnw/platform/errors';
import { K, NON_TRANSACTIONAL, TRANSACTIONAL, entity, fails } from '../support/datastore-answers.js';
import type { Commit, Lookup } from '../support/datastore-answers.js';
import { key } from '../support/datastore-values.js';
import { openDoor } from '../support/datastore-door.js';
import type { OpenDoor } from '../support/datastore-door.js';

const HOST = '127.33.0.4';

describe('a transaction of the Datastore API whose home is another process', function () {
  this.timeout(30_000);
  let open: OpenDoor;
  const put = (...mutations: object[]) => open.call<Commit>('Commit', { mode: NON_TRANSACTIONAL, mutations });
  const begin = async () => (await open.call<{ transaction: Buffer }>('BeginTransaction', {})).transaction;

  let other: OpenDoor;
  const homes = new Map<string, Door>();
  const forwarder: HomeForwarder = {
    forward: (home, method, request, deadlineMs) => {
      const door = homes.get(home.process);
      if (!door) throw new NxnwError('HOME_GONE', 'gone');
      return door.handleForwarded(method, request, deadlineMs);
    },
  };

  beforeEach(async () => {
    open = await openDoor(HOST);
    other = await openDoor(HOST, { shards: open.shards, processId: 'ds-2', forwarder });
    homes.set('ds-1', open.door);
  });
  afterEach(async () => {
    await other.close();
    assert.deepEqual(open.errors.events, []);
    await open.close();
  });

  it('is read, committed and rolled back through any door', async () => {
    await put({ upsert: entity('f', 1) });
    const transaction = await begin();
    const read = await other.call<Lookup>('Lookup', { keys: [K('f')], readOptions: { transaction } });
    assert.equal(read.found.length, 1);
    const query = { kind: [{ name: 'Other' }] };
    await other.call('RunQuery', { partitionId: {}, query, readOptions: { transaction } });
    await put({ upsert: entity('f', 2) });
    const commit = { mode: TRANSACTIONAL, transaction, mutations: [{ upsert: entity('f', 3) }] };
    await fails(other.call('Commit', commit), status.ABORTED, /changed/);
    await fails(open.call('Commit', commit), status.ABORTED, /changed/);
    await other.call('Rollback', { transaction: await begin() });
  });

  it('is ABORTED for reads when the home is gone, and for Commit only if it is known that nothing was committed', async () => {
    const transaction = await begin();
    homes.clear();
    const commit = { mode: TRANSACTIONAL, transaction, mutations: [{ upsert: entity('h', 1) }] };
    const read = { keys: [K('h')], readOptions: { transaction } };
    await fails(other.call('Lookup', read), status.ABORTED, /retry the whole transaction/);
    await fails(other.call('Commit', commit), status.UNAVAILABLE, /unknown/);
    await other.call('Rollback', { transaction });
    forwarder.lostCommit = () => Promise.resolve('aborted');
    await fails(other.call('Commit', commit), status.ABORTED, /retry/);
    forwarder.lostCommit = () => Promise.resolve('committed');
    await fails(other.call('Commit', commit), status.UNAVAILABLE, /was committed/);
    delete forwarder.lostCommit;
  });

  it('whose process was started anew is gone too', async () => {
    const again = await openDoor(HOST, { shards: open.shards });
    homes.set('ds-1', again.door);
    const transaction = await begin();
    await fails(again.call('Lookup', { keys: [K('h')], readOptions: { transaction } }), status.ABORTED, /retry/);
    await fails(other.call('Lookup', { keys: [K('h')], readOptions: { transaction } }), status.ABORTED, /retry/);
    await again.close();
  });

  it('gives out cursors that every process understands', async () => {
    await put(
      ...Array.from({ length: 9 }, (_, i) => ({
        upsert: { key: keyMessage(key('', { kind: 'C', id: BigInt(i + 1) })), properties: {} },
      })),
    );
    interface Run {
      batch: { entityResults: { entity: EntityMessage }[]; endCursor: Buffer };
    }
    const query = { kind: [{ name: 'C' }], limit: { value: 4 } };
    const first = await open.call<Run>('RunQuery', { query });
    const second = await other.call<Run>('RunQuery', { query: { ...query, startCursor: first.batch.endCursor } });
    const ids = [...first.batch.entityResults, ...second.batch.entityResults].map((r) => r.entity.key?.path[0]?.id.low);
    assert.deepEqual(ids, [1, 2, 3, 4, 5, 6, 7, 8]);
  });
  it('of another project is not answered by a door of this one, even when it is forwarded', async () => {
    await assert.rejects(
      open.door.handleForwarded('Rollback', Buffer.from([0x42, 4, ...Buffer.from('bank')]), Date.now() + 1000),
      { code: 'PERMISSION_DENIED' },
    );
  });
});
