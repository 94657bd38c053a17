import assert from 'node:assert/strict';
import { Datastore, PropertyFilter, and, or } from '@google-cloud/datastore';
import type { Entity, Query } from '@google-cloud/datastore';
import { status } from '@grpc/grpc-js';
import { PROJECT } from '../support/datastore-values.js';
import { openDoor } from '../support/datastore-door.js';
import type { OpenDoor } from '../support/datastore-door.js';

interface City {
  readonly name: string;
  readonly country: string;
  readonly population: number;
}

const CITIES: readonly City[] = Array.from({ length: 60 }, (_, i) => ({
  name: `city${String(i).padStart(2, '0')}`,
  country: ['DE', 'FR', 'IT'][i % 3] ?? '',
  population: (i * 37) % 50,
}));

describe('the unmodified npm client @google-cloud/datastore', function () {
  this.timeout(30_000);
  let open: OpenDoor;
  let ds: Datastore;
  let previous: string | undefined;

  before(async () => {
    open = await openDoor('127.33.0.1', { limits: { batchResults: 7 } });
    previous = process.env['DATASTORE_EMULATOR_HOST'];
    process.env['DATASTORE_EMULATOR_HOST'] = open.endpoint;
    process.env['METADATA_SERVER_DETECTION'] = 'none';
    ds = new Datastore({ projectId: PROJECT });
    for (let at = 0; at < CITIES.length; at += 20)
      await ds.save(CITIES.slice(at, at + 20).map((c) => ({ key: ds.key(['City', c.name]), data: { ...c } })));
  });

  after(async () => {
    if (previous === undefined) delete process.env['DATASTORE_EMULATOR_HOST'];
    else process.env['DATASTORE_EMULATOR_HOST'] = previous;
    assert.deepEqual(open.errors.events, []);
    await open.close();
  });

  const names = async (q: Query): Promise<string[]> => {
    const [entities] = (await ds.runQuery(q)) as [Entity[], unknown];
    return entities.map((e: City) => e.name);
  };
  const expected = (keep: (c: City) => boolean, by: (a: City, b: City) => number): string[] =>
    CITIES.filter(keep)
      .sort((a, b) => by(a, b) || (a.name < b.name ? -1 : 1))
      .map((c) => c.name);
  const fails = (work: Promise<unknown>, code: status, message?: RegExp) =>
    assert.rejects(work, (e: { code?: number; message: string }) => {
      assert.equal(e.code, code, e.message);
      if (message) assert.match(e.message, message);
      return true;
    });

  describe('entities', () => {
    it('come back with every type of value as they were put', async () => {
      const key = ds.key({ namespace: 'types', path: ['Root', 7, 'All', 'x'] });
      const data = {
        integer: ds.int('9007199254740993'),
        double: ds.double(2),
        text: 'ä\u0000ö',
        blob: Buffer.from([0, 1, 255]),
        when: new Date(1_700_000_000_123),
        nothing: null,
        yes: true,
        place: ds.geoPoint({ latitude: 52.5, longitude: 13.4 }),
        link: ds.key(['City', 'city00']),
        list: ['a', 1, null],
        empty: [],
        inner: { a: { b: [1, 2] } },
      };
      await ds.save({ key, data, excludeFromIndexes: ['text', 'inner.a'] });
      const [e] = await ds.get(key, { wrapNumbers: true });
      assert.equal(e.integer.value, '9007199254740993');
      assert.equal(e.double, 2);
      assert.equal(e.text, data.text);
      assert.deepEqual(e.blob, data.blob);
      assert.deepEqual(e.when, data.when);
      assert.equal(e.nothing, null);
      assert.equal(e.yes, true);
      assert.deepEqual({ ...e.place }, data.place.value);
      assert.equal(e.link.name, 'city00');
      assert.deepEqual([e.list[0], e.list[1].value, e.list[2]], ['a', '1', null]);
      assert.deepEqual(e.empty, []);
      assert.equal(e.inner.a.b[1].value, '2');
      assert.deepEqual(e[ds.KEY].path, ['Root', '7', 'All', 'x']);
    });

    it('are inserted once, updated only if they are there, deleted, and found missing', async () => {
      const key = ds.key(['Thing', 'once']);
      await ds.insert({ key, data: { n: 1 } });
      await fails(ds.insert({ key, data: { n: 2 } }), status.ALREADY_EXISTS);
      await fails(ds.update({ key: ds.key(['Thing', 'never']), data: {} }), status.NOT_FOUND);
      await ds.update({ key, data: { n: 3 } });
      assert.equal((await ds.get(key))[0].n, 3);
      await ds.delete(key);
      assert.equal((await ds.get(key))[0], undefined);
      await ds.delete(key);
    });

    it('get ids of their own when their keys have none, and ids can be allocated beforehand', async () => {
      const keys = [ds.key('Auto'), ds.key(['City', 'city01', 'Auto'])];
      await ds.save(keys.map((key) => ({ key, data: { v: 1 } })));
      const [allocated] = await ds.allocateIds(ds.key('Auto'), 10);
      const ids = new Set([...keys, ...allocated].map((k) => k.id));
      assert.equal(ids.size, 12);
      assert.equal((await ds.get(keys[1] ?? []))[0].v, 1);
    });

    it('are refused beyond the documented limits, with the limit in the message', async () => {
      const save = (data: object, excludeFromIndexes: string[] = []) =>
        ds.save({ key: ds.key(['Big', 'x']), data, excludeFromIndexes });
      await fails(save({ text: 'x'.repeat(1501) }), status.INVALID_ARGUMENT, /text is longer than 1500 bytes/);
      await save({ text: 'x'.repeat(1_000_000) }, ['text']);
      await fails(save({ text: 'x'.repeat(1_048_500) }, ['text']), status.INVALID_ARGUMENT, /1048487/);
      await fails(save({ __a__: 1 }), status.INVALID_ARGUMENT, /reserved/);
      await fails(ds.save({ key: ds.key(['__K__', 'x']), data: {} }), status.INVALID_ARGUMENT, /reserved/);
      await fails(
        ds.get(Array.from({ length: 1001 }, (_, i) => ds.key(['A', i + 1]))),
        status.INVALID_ARGUMENT,
        /1000/,
      );
      await fails(ds.save({ key: ds.key(['K'.repeat(1501), 'x']), data: {} }), status.INVALID_ARGUMENT, /1500/);
    });

    it('of one namespace are not seen in another', async () => {
      await ds.save({ key: ds.key({ namespace: 'other', path: ['City', 'elsewhere'] }), data: { name: 'elsewhere' } });
      assert.equal((await ds.get(ds.key(['City', 'elsewhere'])))[0], undefined);
      assert.deepEqual(await names(ds.createQuery('other', 'City')), ['elsewhere']);
    });
  });

  describe('queries', () => {
    it('by kind page through everything in key order', async () => {
      assert.deepEqual(
        await names(ds.createQuery('City')),
        CITIES.map((c) => c.name),
      );
      assert.deepEqual(
        await names(ds.createQuery('City').order('__key__', { descending: true })),
        CITIES.map((c) => c.name).reverse(),
      );
    });

    it('filter by equality, inequality, IN, NOT_IN, != and OR, in the given order', async () => {
      const q = () => ds.createQuery('City');
      const f = (name: string, op: '=' | '<' | '>=' | '>' | '!=', v: unknown) => new PropertyFilter(name, op, v);
      assert.deepEqual(
        await names(q().filter(f('country', '=', 'DE'))),
        expected(
          (c) => c.country === 'DE',
          () => 0,
        ),
      );
      assert.deepEqual(
        await names(
          q()
            .filter(and([f('country', '=', 'DE'), f('population', '>', 20)]))
            .order('population'),
        ),
        expected(
          (c) => c.country === 'DE' && c.population > 20,
          (a, b) => a.population - b.population,
        ),
      );
      assert.deepEqual(
        await names(q().filter(f('population', '<', 9))),
        expected(
          (c) => c.population < 9,
          (a, b) => a.population - b.population,
        ),
      );
      assert.deepEqual(
        await names(q().filter(new PropertyFilter('country', 'IN', ['DE', 'IT'] as never))),
        expected(
          (c) => c.country !== 'FR',
          () => 0,
        ),
      );
      assert.deepEqual(
        await names(
          q()
            .filter(f('country', '!=', 'FR'))
            .order('country'),
        ),
        expected(
          (c) => c.country !== 'FR',
          (a, b) => (a.country < b.country ? -1 : a.country > b.country ? 1 : 0),
        ),
      );
      assert.deepEqual(
        await names(q().filter(new PropertyFilter('country', 'NOT_IN', ['DE', 'FR'] as never))),
        expected(
          (c) => c.country === 'IT',
          () => 0,
        ),
      );
      assert.deepEqual(
        await names(q().filter(or([f('population', '=', 0), f('country', '=', 'IT')]))),
        expected(
          (c) => c.population === 0 || c.country === 'IT',
          () => 0,
        ),
      );
      assert.deepEqual(
        await names(q().order('country').order('population', { descending: true })),
        CITIES.toSorted((a, b) =>
          a.country < b.country
            ? -1
            : a.country > b.country
              ? 1
              : b.population - a.population || (a.name < b.name ? 1 : -1),
        ).map((c) => c.name),
      );
    });

    it('by ancestor find the ancestor and its descendants of any kind or of one', async () => {
      const root = ds.key(['Country', 'XX']);
      await ds.save([
        { key: root, data: { name: 'root' } },
        { key: ds.key(['Country', 'XX', 'Town', 1]), data: { name: 't1' } },
        { key: ds.key(['Country', 'XX', 'Town', 1, 'Street', 'a']), data: { name: 's' } },
        { key: ds.key(['Country', 'XXX', 'Town', 1]), data: { name: 'not' } },
      ]);
      assert.deepEqual(await names(ds.createQuery('Town').hasAncestor(root)), ['t1']);
      assert.deepEqual(await names(ds.createQuery().hasAncestor(root)), ['root', 't1', 's']);
    });

    it('skip, limit and go on from cursors, also over several batches', async () => {
      const all = CITIES.map((c) => c.name);
      assert.deepEqual(await names(ds.createQuery('City').offset(11).limit(20)), all.slice(11, 31));
      const seen: string[] = [];
      let cursor: string | undefined;
      for (let page = 0; page < 20; page++) {
        const q = ds.createQuery('City').limit(9);
        if (cursor) q.start(cursor);
        const [entities, info] = await ds.runQuery(q);
        seen.push(...(entities as Entity[]).map((e: City) => e.name));
        cursor = info.endCursor;
        if (info.moreResults === Datastore.NO_MORE_RESULTS) break;
      }
      assert.deepEqual(seen, all);
      const [, info] = await ds.runQuery(ds.createQuery('City').limit(30));
      assert.equal(info.moreResults, Datastore.MORE_RESULTS_AFTER_LIMIT);
      const [bounded, end] = await ds.runQuery(
        ds
          .createQuery('City')
          .offset(25)
          .end(info.endCursor ?? ''),
      );
      assert.deepEqual(
        (bounded as Entity[]).map((e: City) => e.name),
        all.slice(25, 30),
      );
      assert.equal(end.moreResults, Datastore.MORE_RESULTS_AFTER_CURSOR);
      await fails(
        ds.runQuery(ds.createQuery('Town').start(info.endCursor ?? '')),
        status.INVALID_ARGUMENT,
        /another query/,
      );
      await fails(ds.runQuery(ds.createQuery('City').start('bm9uc2Vuc2U=')), status.INVALID_ARGUMENT, /not a cursor/);
    });

    it('answer keys only, count, and name what is not there', async () => {
      const [keys] = await ds.runQuery(ds.createQuery('City').select('__key__').limit(2));
      assert.deepEqual(
        (keys as Entity[]).map((e) => [Object.keys(e), e[ds.KEY].name]),
        [
          [[], 'city00'],
          [[], 'city01'],
        ],
      );
      const [counted] = await ds.runAggregationQuery(
        ds.createAggregationQuery(ds.createQuery('City').filter(new PropertyFilter('country', '=', 'DE'))).count('n'),
      );
      assert.deepEqual(counted, [{ n: 20 }]);
      await fails(ds.runQuery(ds.createQuery('City').select('name')), status.UNIMPLEMENTED, /projection/);
      await fails(ds.runQuery(ds.createQuery('City').groupBy('name')), status.UNIMPLEMENTED, /distinct_on/);
      await fails(ds.runQuery(ds.createQuery('__kind__')), status.UNIMPLEMENTED, /metadata/);
    });
  });

  describe('transactions', () => {
    it('commit what was read and changed, and roll back', async () => {
      const key = ds.key(['Counter', 'a']);
      await ds.save({ key, data: { n: 1 } });
      const tx = ds.transaction();
      await tx.run();
      const [e] = await tx.get(key);
      tx.save({ key, data: { n: e.n + 1 } });
      tx.save({ key: ds.key(['Counter', 'b']), data: { n: 10 } });
      await tx.commit();
      const back = ds.transaction();
      await back.run();
      back.save({ key, data: { n: 99 } });
      await back.rollback();
      assert.equal((await ds.get(key))[0].n, 2);
    });

    it('are ABORTED when what they have read was changed: an entity, an absent one, a query', async () => {
      const a = ds.key(['Group', 'g', 'Item', 'a']);
      const b = ds.key(['Group', 'g', 'Item', 'b']);
      const reads = [
        (tx: ReturnType<typeof ds.transaction>) => tx.get(a),
        (tx: ReturnType<typeof ds.transaction>) =>
          tx
            .createQuery('Item')
            .hasAncestor(ds.key(['Group', 'g']))
            .run(),
        (tx: ReturnType<typeof ds.transaction>) =>
          tx
            .createQuery('Item')
            .filter(new PropertyFilter('n', '>', 5))
            .run(),
      ];
      for (const read of reads) {
        await ds.delete(a);
        const tx = ds.transaction();
        await tx.run();
        await read(tx);
        await ds.save({ key: a, data: { n: 1 } });
        tx.save({ key: b, data: { n: 2 } });
        await fails(tx.commit(), status.ABORTED);
        assert.equal((await ds.get(b))[0], undefined);
      }
    });

    it('that only read see one state, and cannot write', async () => {
      const [a, b] = [ds.key(['Pair', 'a']), ds.key(['Pair', 'b'])];
      await ds.save([
        { key: a, data: { n: 1 } },
        { key: b, data: { n: 1 } },
      ]);
      const tx = ds.transaction({ readOnly: true });
      await tx.run();
      const [first] = await tx.get(a);
      await ds.save([
        { key: a, data: { n: 2 } },
        { key: b, data: { n: 2 } },
      ]);
      const [second] = await tx.get(b);
      assert.deepEqual([first.n, second.n], [1, 1]);
      tx.save({ key: a, data: { n: 3 } });
      await fails(tx.commit(), status.INVALID_ARGUMENT, /read-only/);
    });

    it('can begin with their first read', async () => {
      const tx = ds.transaction();
      const [e] = await tx.get(ds.key(['City', 'city05']));
      tx.save({ key: ds.key(['Copy', e.name]), data: { from: e.name } });
      await tx.commit();
      assert.equal((await ds.get(ds.key(['Copy', 'city05'])))[0].from, 'city05');
    });
  });
});
