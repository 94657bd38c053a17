import assert from 'node:assert/strict';
import { JuteReader, JuteWriter } from '@nxnw/platform/locks/jute';
import { OPEN_ACL, multiOpBytes, nextSequence } from '@nxnw/platform/locks/client';
import type { Acl, MultiOp, Stat } from '@nxnw/platform/locks/client';
import { writeMulti } from '@nxnw/platform/locks/records';
import { designate, ranked } from '@nxnw/platform/locks/ownership';
import { DirtySet } from '@nxnw/migration/locks/dirty';
import type { NodeImage } from '@nxnw/migration/locks/nodes';
import { MAX_BATCHED_BYTES, planDrain, planNode } from '@nxnw/migration/locks/plan';

const STAT: Stat = {
  czxid: 1n,
  mzxid: 1n,
  pzxid: 1n,
  ctimeMs: 0,
  mtimeMs: 0,
  version: 3,
  cversion: 0,
  aversion: 2,
  ephemeralOwner: 0n,
  dataBytes: 0,
  numChildren: 0,
};

function node(data: string | Buffer | null, o: { owner?: bigint; acl?: readonly Acl[]; children?: number } = {}): NodeImage {
  return {
    data: typeof data === 'string' ? Buffer.from(data) : data,
    acl: o.acl ?? OPEN_ACL,
    stat: { ...STAT, ephemeralOwner: o.owner ?? 0n, numChildren: o.children ?? 0 },
    kind: o.owner ? 'ephemeral' : 'persistent',
  };
} // prettier-ignore

/** Marks of the paths given, with readable operations. */
function marks(owners: Record<string, string> = {}) {
  return {
    owner: (path: string) => owners[path],
    markOps: (path: string, owner: string): MultiOp[] => [{ op: 'create', path: `/mark${path}`, data: Buffer.from(owner) }],
    unmarkOps: (path: string): MultiOp[] => (path in owners ? [{ op: 'remove', path: `/mark${path}` }] : []),
  };
} // prettier-ignore

const ops = (change: { ops: readonly MultiOp[] } | null) => change?.ops.map((o) => `${o.op} ${o.path}`) ?? null;

describe('jute', () => {
  it('reads back what it writes, and refuses a record that ends early', () => {
    const bytes = new JuteWriter(4).int(-7).long(1n << 62n).bool(true).text('ä€').bytes(null).bytes(Buffer.from([0, 255]))
      .list([1, 2], (w, v) => w.int(v)).done(); // prettier-ignore
    const r = new JuteReader(bytes);
    assert.deepEqual(
      [r.int(), r.long(), r.bool(), r.text(), r.bytes(), r.bytes(), r.list((x) => x.int())],
      [-7, 1n << 62n, true, 'ä€', null, Buffer.from([0, 255]), [1, 2]],
    );
    assert.throws(() => r.int(), /ends early/);
  });

  it('never estimates an operation of a multi smaller than it is', () => {
    const acl = [{ perms: 1, scheme: 'digest', id: 'bob:äöü' }];
    const all: MultiOp[] = [
      { op: 'create', path: '/ä/b', data: Buffer.alloc(100), acl, mode: 'ephemeral' },
      { op: 'create', path: '/x', data: null },
      { op: 'set', path: '/ä', data: Buffer.alloc(7) },
      { op: 'remove', path: '/ä' },
      { op: 'check', path: '/ä', version: 1 },
    ];
    for (const o of all) assert(writeMulti([o]).length <= multiOpBytes(o) + 16);
  });
});

describe('the next sequence number', () => {
  it('counts creates, also where the shown cversion has run over', () => {
    assert.equal(nextSequence({ ...STAT, cversion: 7, numChildren: 3 }), 5);
    const creates = 1_500_000_000;
    assert.equal(nextSequence({ ...STAT, cversion: (creates * 2 - 4) | 0, numChildren: 4 }), creates);
  });
});

describe('who should own a shard', () => {
  it('is spread evenly and named alike by every process, in whatever order it knows the members', () => {
    for (const members of [['a'], ['a', 'b'], ['a', 'b', 'c'], ['n1', 'n2', 'n3', 'n4', 'n5']]) {
      const by = designate('shop', 16, members);
      assert.deepEqual(by, designate('shop', 16, [...members].reverse()));
      for (const m of members) {
        const n = [...by.values()].filter((x) => x === m).length;
        assert(n <= Math.ceil(16 / members.length), `${m} has ${n}`);
      }
      assert.equal(by.size, 16);
    }
    assert.equal(designate('shop', 8, []).size, 0);
    assert.deepEqual(ranked({ app: 'shop', index: 1 }, ['b', 'a']), ranked({ app: 'shop', index: 1 }, ['a', 'b']));
  });
});

describe('the plan for one node', () => {
  it('does nothing for equal nodes', () => {
    assert.equal(planNode('/a', node('x'), node('x'), marks()), null);
    assert.equal(planNode('/a', null, null, marks()), null);
    assert.equal(planNode('/a', node('x', { owner: 5n }), node('x'), marks({ '/a': '5' })), null);
  });

  it('creates, writes and removes, each conditional on what was read', () => {
    assert.deepEqual(ops(planNode('/a', node('x'), null, marks())), ['create /a']);
    const write = planNode('/a', node('x'), node('y'), marks());
    assert.deepEqual(write?.ops, [{ op: 'set', path: '/a', data: Buffer.from('x'), version: 3 }]);
    assert.equal(planNode('/a', null, node('y'), marks())?.remove, 'subtree');
    const acl = [{ perms: 1, scheme: 'world', id: 'anyone' }];
    assert.deepEqual(planNode('/a', node('x', { acl }), node('x'), marks())?.acl, { acl, version: 2 });
  });

  it('tells no data from empty data', () => {
    assert.deepEqual(ops(planNode('/a', node(null), node(''), marks())), ['set /a']);
  });

  it('marks a copy of an ephemeral in the multi that makes it, and follows its owner', () => {
    assert.deepEqual(ops(planNode('/a', node('', { owner: 255n }), null, marks())), ['create /a', 'create /mark/a']);
    const other = planNode('/a', node('', { owner: 255n }), node(''), marks({ '/a': '1' }));
    assert.deepEqual(other?.mark, { owner: 'ff' });
    assert.deepEqual(ops(planNode('/a', node(''), node(''), marks({ '/a': '1' }))), ['remove /mark/a']);
  });

  it("keeps the receiver's own ephemerals, unless the source has a node there", () => {
    assert.equal(planNode('/a', null, node('', { owner: 9n }), marks()), null);
    assert.deepEqual(ops(planNode('/a', node('x'), node('', { owner: 9n }), marks())), ['remove /a', 'create /a']);
  });

  it('writes what is too big for a multi by itself, afterwards', () => {
    const big = Buffer.alloc(MAX_BATCHED_BYTES + 1);
    const created = planNode('/a', node(big), null, marks());
    assert(created?.ops[0]?.op === 'create' && created.ops[0].data === null);
    assert.equal(created.data?.version, 0);
    assert.deepEqual(ops(planNode('/a', node(big), node('x'), marks())), []);
  });

  it('drains only copies whose owner is gone', () => {
    assert.equal(planDrain('/a', null, node(''), marks()), null);
    assert.equal(planDrain('/a', node('', { owner: 5n }), node(''), marks({ '/a': '5' })), null);
    assert.deepEqual(ops(planDrain('/a', null, node(''), marks({ '/a': '5' }))), ['remove /a', 'remove /mark/a']);
    const withChildren = planDrain('/a', null, node('', { children: 1 }), marks({ '/a': '5' }));
    assert.deepEqual(ops(withChildren), ['remove /mark/a']);
  });
});

describe('the set of changed paths', () => {
  it('merges events of a path, keeps its age, and counts children that may be created', () => {
    const dirty = new DirtySet(10);
    dirty.add('/p/a', true, 100);
    dirty.add('/p/b', false, 101);
    dirty.add('/p/a', false, 102);
    assert.equal(dirty.size, 2);
    assert.equal(dirty.createsUnder('/p'), 1);
    assert.equal(dirty.oldestMs(), 100);
    const [a] = dirty.take(1);
    assert.deepEqual([a?.path, a?.sinceMs, a?.created], ['/p/a', 100, true]);
    assert.equal(dirty.createsUnder('/p'), 0);
    if (a) dirty.restore(a);
    assert.equal(dirty.createsUnder('/p'), 1);
    assert(dirty.hasUpTo(1));
    assert.equal(dirty.oldestMs(), 100);
  });

  it('says when an event had to be dropped', () => {
    const dirty = new DirtySet(1);
    dirty.add('/a', true, 0);
    dirty.add('/a', true, 1);
    assert.equal(dirty.overflowed, false);
    dirty.add('/b', true, 2);
    assert.equal(dirty.overflowed, true);
    dirty.clear();
    assert.deepEqual([dirty.size, dirty.overflowed, dirty.createsUnder('/')], [0, false, 0]);
  });
});
