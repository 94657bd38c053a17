import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import {
  decodeBytes,
  encodeBytes,
  encodeDouble,
  encodeInt64,
  decodeInt64,
  prefixSuccessor,
} from '@nxnw/platform/datastore/bytes';
import { ancestorRange, decodeKey, encodeKey, groupOf, kindOf } from '@nxnw/platform/datastore/keys';
import type { Key, PathElement } from '@nxnw/platform/datastore/keys';
import { normalise, shardOf, tokenOf } from '@nxnw/platform/datastore/token';
import { seeded } from '../support/random.js';

const load = createRequire(__filename);

const at = (...path: PathElement[]): Key => ({ project: 'p', database: '', namespace: '', path });

function randomText(random: () => number): string {
  const alphabet = ['\0', '\u0001', 'a', 'b', 'ä', '\u{1F600}', '\uffff'];
  return Array.from({ length: 1 + Math.floor(random() * 4) }, () => alphabet[Math.floor(random() * 7)]).join('');
}

function randomKey(random: () => number): Key {
  const path = Array.from({ length: 1 + Math.floor(random() * 3) }, (): PathElement => {
    const kind = randomText(random);
    return random() < 0.5
      ? { kind, name: randomText(random) }
      : { kind, id: BigInt(Math.floor((random() - 0.3) * 1e15)) };
  });
  return { project: 'p', database: '', namespace: random() < 0.5 ? '' : 'n', path };
}

/** The order that Datastore documents, written naively. */
function compareKeys(a: Key, b: Key): number {
  const text = (x: string, y: string) => Buffer.compare(Buffer.from(x), Buffer.from(y));
  const first = text(a.project, b.project) || text(a.namespace, b.namespace);
  if (first) return first;
  for (let i = 0; i < Math.min(a.path.length, b.path.length); i++) {
    const x = a.path[i];
    const y = b.path[i];
    if (!x || !y) break;
    const kind = text(x.kind, y.kind);
    if (kind) return kind;
    if (x.id !== undefined && y.id !== undefined) {
      if (x.id !== y.id) return x.id < y.id ? -1 : 1;
    } else if (x.id !== undefined) return -1;
    else if (y.id !== undefined) return 1;
    else {
      const name = text(x.name, y.name);
      if (name) return name;
    }
  }
  return a.path.length - b.path.length;
}

describe('datastore keys', () => {
  it('the bytes of keys sort as the keys do, and decode to the same keys', () => {
    const random = seeded(1);
    const keys = Array.from({ length: 400 }, () => randomKey(random));
    const bytes = keys.map(encodeKey);
    keys.forEach((a, i) => {
      const encoded = encodeKey(a);
      assert.deepEqual(decodeKey(encoded), a);
      keys.forEach((b, j) => {
        const order = Math.sign(encoded.compare(bytes[j] ?? encoded));
        if (order !== Math.sign(compareKeys(a, b))) assert.fail(`keys ${i} and ${j} of the seed`);
      });
    });
  });

  it('an ancestor range holds the ancestor and its descendants and nothing else', () => {
    const random = seeded(2);
    const keys = Array.from({ length: 300 }, () => randomKey(random));
    for (const ancestor of keys) {
      const { from, to } = ancestorRange(encodeKey(ancestor));
      const child = { ...ancestor, path: [...ancestor.path, { kind: '\0', id: -5n }] };
      for (const k of [...keys, child, ancestor]) {
        const descends =
          k.namespace === ancestor.namespace &&
          ancestor.path.every((e, i) => JSON.stringify(show(e)) === JSON.stringify(show(k.path[i])));
        const bytes = encodeKey(k);
        assert.equal(bytes.compare(from) >= 0 && (to === null || bytes.compare(to) < 0), descends);
      }
    }
    function show(e: PathElement | undefined): unknown {
      return e && [e.kind, e.id?.toString(), e.name];
    }
  });

  it('the group key is the prefix through the root element, and the kind is that of the last element', () => {
    const root = at({ kind: 'Country', name: 'D\0E' });
    const child = at({ kind: 'Country', name: 'D\0E' }, { kind: 'City', id: 5n });
    assert.deepEqual(groupOf(encodeKey(child)), encodeKey(root));
    assert.deepEqual(groupOf(encodeKey(root)), encodeKey(root));
    assert.equal(kindOf(encodeKey(child)), 'City');
  });

  it('bytes that are not a key are refused by name', () => {
    for (const bad of [Buffer.alloc(0), Buffer.from('abc'), encodeKey(at({ kind: 'a', id: 1n })).subarray(0, 12)])
      assert.throws(() => decodeKey(bad), { code: 'INVALID_KEY' });
  });

  it('escaped bytes, integers and doubles keep their order and come back', () => {
    const random = seeded(3);
    const raws = Array.from({ length: 200 }, () =>
      Buffer.from(
        Array.from({ length: Math.floor(random() * 6) }, () => [0, 1, 254, 255][Math.floor(random() * 4)] ?? 0),
      ),
    );
    for (const a of raws) {
      assert.deepEqual(decodeBytes(Buffer.concat([Buffer.of(7), encodeBytes(a), Buffer.of(9)]), 1).raw, a);
      for (const b of raws) assert.equal(encodeBytes(a).compare(encodeBytes(b)), a.compare(b));
    }
    const ints = [-(1n << 63n), -2n, -1n, 0n, 1n, 255n, 256n, (1n << 63n) - 1n];
    ints.forEach((n, i) => {
      assert.equal(decodeInt64(encodeInt64(n), 0), n);
      const next = ints[i + 1];
      if (next !== undefined) assert.equal(encodeInt64(n).compare(encodeInt64(next)), -1);
    });
    const doubles = [NaN, -Infinity, -1e300, -1, -5e-324, 0, 5e-324, 1, 1.5, Infinity];
    doubles.forEach((n, i) => {
      const next = doubles[i + 1];
      if (next !== undefined) assert.equal(encodeDouble(n).compare(encodeDouble(next)), -1);
    });
    assert.deepEqual(encodeDouble(-0), encodeDouble(0));
    assert.deepEqual(prefixSuccessor(Buffer.of(1, 255, 255)), Buffer.of(2));
    assert.equal(prefixSuccessor(Buffer.of(255)), null);
  });
});

describe('datastore tokens', () => {
  it('are those of the vectors that the DataStax drivers publish', () => {
    const vectors: [Buffer, bigint][] = [
      [Buffer.from('123'), -7468325962851647638n],
      [Buffer.from('00ff10fa99'.repeat(10), 'hex'), 5837342703291459765n],
      [Buffer.alloc(8, 0xfe), -8927430733708461935n],
      [Buffer.alloc(8, 0x10), 1446172840243228796n],
      [Buffer.from('9223372036854775807'), 7162290910810015547n],
    ];
    for (const [data, token] of vectors) assert.equal(tokenOf(data), token);
    assert.equal(normalise(-(1n << 63n)), (1n << 63n) - 1n);
  });

  it('agree with the Cassandra driver on random bytes of every length', () => {
    interface Tokenizer {
      hash(value: Buffer): { getValue(): { toString(): string } };
    }
    const { Murmur3Tokenizer } = load('cassandra-driver/lib/tokenizer.js') as { Murmur3Tokenizer: new () => Tokenizer };
    const theirs = new Murmur3Tokenizer();
    const random = seeded(4);
    for (let n = 0; n < 3000; n++) {
      const data = Buffer.from(Array.from({ length: n % 70 }, () => Math.floor(random() * 256)));
      assert.equal(tokenOf(data).toString(), theirs.hash(data).getValue().toString(), data.toString('hex'));
    }
  });

  it('fall into equal slices of the token range, the lowest first', () => {
    const random = seeded(5);
    const seen = new Set<number>();
    for (let n = 0; n < 500; n++) {
      const data = Buffer.from(Array.from({ length: 20 }, () => Math.floor(random() * 256)));
      const slice = Number((tokenOf(data) + (1n << 63n)) / (1n << 61n));
      assert.equal(shardOf(data, 8), slice);
      assert.equal(shardOf(data, 1), 0);
      seen.add(slice);
    }
    assert.equal(seen.size, 8);
  });
});
