import assert from 'node:assert/strict';
import { checkEntity, checkKey } from '@nxnw/platform/datastore/checks';
import { indexer, kindPart, propertyPart, splitPropertyRow } from '@nxnw/platform/datastore/indexes';
import { encodeKey } from '@nxnw/platform/datastore/keys';
import type { Key } from '@nxnw/platform/datastore/keys';
import { keyMessage } from '@nxnw/platform/datastore/messages';
import { entityCodec, fromBigInt, requestCodec, valueCodec } from '@nxnw/platform/datastore/proto';
import type { KeyMessage } from '@nxnw/platform/datastore/proto';
import { decodeCursor, encodeCursor, shapeOf } from '@nxnw/platform/datastore/query/cursor';
import { encodeValue, valueLength } from '@nxnw/platform/datastore/values';
import { PROJECT, entityBytes, key, value } from '../support/datastore-values.js';

const encoded = (v: object): Buffer => encodeValue(valueCodec.decode(valueCodec.encode(v))) ?? Buffer.alloc(0);
const time = (seconds: number, nanos = 0): object => ({
  timestampValue: { seconds: fromBigInt(BigInt(seconds)), nanos },
});
const geo = (latitude: number, longitude: number): object => ({ geoPointValue: { latitude, longitude } });

describe('datastore values', () => {
  it('sort as documented: null, fixed-point, boolean, bytes, double, geo point, key', () => {
    const ascending = [
      value.null(),
      time(-62_135_596_800),
      value.int(Number.MIN_SAFE_INTEGER),
      value.int(-1),
      value.int(0),
      value.int(5),
      time(1, 1000),
      { integerValue: fromBigInt((1n << 63n) - 1n) },
      value.bool(false),
      value.bool(true),
      value.text(''),
      { blobValue: Buffer.of(0) },
      value.text('a'),
      { blobValue: Buffer.from('a\0') },
      value.text('ab'),
      value.text('ä'),
      { blobValue: Buffer.of(255) },
      value.double(NaN),
      value.double(-Infinity),
      value.double(-1.5),
      value.double(0),
      value.double(1e-300),
      value.double(Infinity),
      geo(-90, 0),
      geo(1, -2),
      geo(1, 3),
      value.key(key('', { kind: 'A', id: 1n })),
      value.key(key('', { kind: 'A', id: 1n }, { kind: 'B', id: 1n })),
      value.key(key('', { kind: 'A', name: 'x' })),
      value.key(key('ns', { kind: 'A', id: 1n })),
    ].map(encoded);
    ascending.forEach((v, i) => {
      assert.equal(valueLength(Buffer.concat([v, Buffer.from('rest')])), v.length);
      const next = ascending[i + 1];
      if (next) assert.equal(v.compare(next), -1, `value ${i} is not below the next`);
    });
    assert.deepEqual(encoded(time(0, 5000)), encoded(value.int(5)));
    assert.deepEqual(encoded({ blobValue: Buffer.from('x') }), encoded(value.text('x')));
    assert.equal(encodeValue(valueCodec.decode(valueCodec.encode(value.list()))), null);
  });
});

describe('datastore indexes', () => {
  it('hold the kind, a row for each distinct element, embedded properties, and nothing that is excluded', () => {
    const k = key('ns', { kind: 'Country', name: 'DE' }, { kind: 'City', id: 7n });
    const rows = indexer(
      entityBytes(k, {
        name: value.text('Köln'),
        hidden: { ...value.text('x'), excludeFromIndexes: true },
        tags: value.list(value.text('b'), value.text('a'), value.text('b'), {
          ...value.text('c'),
          excludeFromIndexes: true,
        }),
        none: value.list(),
        at: value.entity({ x: value.int(1), deep: value.entity({ y: value.list(value.int(2), value.int(3)) }) }),
        dark: { ...value.entity({ x: value.int(1) }), excludeFromIndexes: true },
        people: value.list(value.entity({ age: value.int(4) }), value.entity({ age: value.int(5) })),
      }),
    );
    const bytes = encodeKey(k);
    const row = (property: string, v: object) => ({
      part: propertyPart('ns', 'City', property),
      key: Buffer.concat([encoded(v), bytes]),
    });
    const expected = [
      { part: kindPart('ns', 'City'), key: bytes },
      row('name', value.text('Köln')),
      row('tags', value.text('a')),
      row('tags', value.text('b')),
      row('at.x', value.int(1)),
      row('at.deep.y', value.int(2)),
      row('at.deep.y', value.int(3)),
      row('people.age', value.int(4)),
      row('people.age', value.int(5)),
    ].sort((a, b) => a.part.compare(b.part) || a.key.compare(b.key));
    assert.deepEqual(rows, expected);
    for (const r of rows.slice(1)) if (r.part.length > 12) assert.deepEqual(splitPropertyRow(r.key).key, bytes);
  });
});

describe('datastore checks', () => {
  const context = { project: PROJECT, database: '' };
  const check = (properties: Record<string, object>) => {
    const entity = entityCodec.decode(entityCodec.encode({ properties }));
    checkEntity(entity, context);
    return entity;
  };
  const nested = (depth: number): object => (depth === 0 ? value.int(1) : value.entity({ x: nested(depth - 1) }));

  it('allow the limits and refuse one more, by name', () => {
    check({ a: value.text('x'.repeat(1500)), b: nested(20) });
    check({ b: { ...value.text('x'.repeat((1 << 20) - 89)), excludeFromIndexes: true } });
    check({ l: value.list(...Array.from({ length: 20_000 }, (_, i) => value.int(i))) });
    const refused: [Record<string, object>, RegExp][] = [
      [{ a: value.text('ä'.repeat(751)) }, /property a is longer than 1500 bytes/],
      [{ a: { blobValue: Buffer.alloc(1501) } }, /1500/],
      [{ a: { ...value.text('x'.repeat((1 << 20) - 88)), excludeFromIndexes: true } }, /1048487/],
      [{ a: nested(21) }, /deeper than 20/],
      [{ l: value.list(...Array.from({ length: 20_001 }, (_, i) => value.int(i))) }, /20001 indexed/],
      [{ l: value.list(value.list()) }, /cannot contain a list_value/],
      [{ l: { ...value.list(), excludeFromIndexes: true } }, /exclude_from_indexes cannot be set on a list value/],
      [{ __x__: value.int(1) }, /reserved/],
      [{ '': value.int(1) }, /empty/],
      [{ [`${'n'.repeat(1501)}`]: value.int(1) }, /1500/],
      [{ a: value.entity({ __x__: value.int(1) }) }, /reserved/],
      [{ a: { ...value.int(1), meaning: 18 } }, /meaning 18/],
      [{ a: time(253_402_300_800) }, /years 1 to 9999/],
      [{ a: geo(91, 0) }, /latitude/],
      [{ a: {} }, /property a has no value/],
      [{ a: value.key({ ...key('', { kind: 'A', id: 1n }), project: 'another' }) }, /another/],
    ];
    for (const [properties, message] of refused)
      assert.throws(() => check(properties), { code: 'INVALID_ARGUMENT', message }, String(message));
  });

  it('round timestamps down to microseconds and complete the project of key values', () => {
    const link = { keyValue: { path: [{ kind: 'A', name: 'x' }] } };
    const entity = check({ when: time(1, 123_456_789), link });
    assert.equal(entity.properties['when']?.timestampValue?.nanos, 123_456_000);
    assert.equal(entity.properties['link']?.keyValue?.partitionId?.projectId, PROJECT);
  });

  it('refuse keys that are wrong, and reserved ones for writing', () => {
    const codec = requestCodec<KeyMessage>('Key');
    const use = (k: Key | object, what: 'read' | 'write' = 'write') =>
      checkKey(codec.decode(codec.encode('path' in k && 'project' in k ? keyMessage(k) : k)), context, 'the key', what);
    const element = { kind: 'K', id: 1n };
    use(key('', ...Array.from({ length: 100 }, () => element)));
    use(key('', { kind: '__Stat__', id: 1n }), 'read');
    const refused: [Key | object, RegExp][] = [
      [key('', ...Array.from({ length: 101 }, () => element)), /1 to 100/],
      [key(''), /0 path elements/],
      [key('', { kind: 'k'.repeat(1501), id: 1n }), /1500/],
      [key('', { kind: 'k', name: 'n'.repeat(1501) }), /1500/],
      [key('', ...Array.from({ length: 5 }, () => ({ kind: 'k', name: 'n'.repeat(1400) }))), /at most 6144/],
      [key('', { kind: '', id: 1n }), /empty/],
      [key('', { kind: 'k', id: 0n }), /must not be 0/],
      [key('', { kind: '__k__', id: 1n }), /reserved/],
      [key('', { kind: 'k', name: '__n__' }), /reserved/],
      [key('a/b', element), /namespace/],
      [{ path: [{ kind: 'K' }] }, /neither an id nor a name/],
      [{ path: [{ kind: 'K' }, { kind: 'L', name: 'x' }] }, /only the last/],
      [{ partitionId: { projectId: PROJECT, databaseId: 'db' }, path: [{ kind: 'K', name: 'x' }] }, /database/],
    ];
    for (const [k, message] of refused)
      assert.throws(() => use(k), { code: 'INVALID_ARGUMENT', message }, String(message));
  });
});

describe('datastore cursors', () => {
  it('come back, and are refused when they are damaged or of another query', () => {
    const shape = shapeOf(['', 'City', [], false]);
    const cursor = encodeCursor(shape, Buffer.from('position'));
    assert.equal(decodeCursor(shape, cursor, 'start_cursor')?.toString(), 'position');
    assert.equal(decodeCursor(shape, encodeCursor(shape, null), 'start_cursor'), null);
    const damaged = Buffer.from(cursor);
    damaged[damaged.length - 1] = 0;
    for (const bad of [damaged, cursor.subarray(0, 5), Buffer.from('x')])
      assert.throws(() => decodeCursor(shape, bad, 'start_cursor'), { message: /not a cursor/ });
    assert.throws(() => decodeCursor(shapeOf(['', 'Town', [], false]), cursor, 'start_cursor'), {
      message: /another query/,
    });
  });

  it('keep their bytes: a cursor given out by an earlier version still works', () => {
    const shape = shapeOf(['', 'City', [{ property: 'name', descending: true }], true]);
    assert.equal(encodeCursor(shape, Buffer.from('ab', 'hex')).toString('hex'), '016bbae0c8650f597cab');
  });
});
