import assert from 'node:assert/strict';
import { applyRows } from '@nxnw/platform/shards/apply';
import { decodeEntry, encodeEntry, ZERO_HASH } from '@nxnw/platform/shards/entry';
import { RowCache } from '@nxnw/platform/shards/row-cache';
import { Tail } from '@nxnw/platform/shards/tail';
import type { IndexKey, RowImage } from '@nxnw/platform/shards/types';
import { Waiters, onAbort, pauseFor, unlessAborted, within } from '@nxnw/platform/waiting';

const entry = (epoch: number, slot: number) =>
  decodeEntry(encodeEntry({ prev: ZERO_HASH, tsUs: slot, records: [{ t: 'ids', upTo: slot }] }), { epoch, slot });

describe("a log's tail in memory", () => {
  const tail = (...at: (readonly [number, number])[]) => {
    const t = new Tail();
    for (const [epoch, slot] of at) t.push(entry(epoch, slot));
    return t;
  };
  const behind = (t: Tail, epoch: number, slot: number, limit = 10) =>
    t.behind({ epoch, slot }, limit)?.map((p) => `${p.at.epoch}.${p.at.slot}`) ?? null;

  it('gives what lies right behind a position, across a segment, at most as much as is asked for', () => {
    const t = tail([1, 5], [1, 6], [2, 0], [2, 1]);
    assert.deepEqual(behind(t, 1, 5), ['1.6', '2.0', '2.1']);
    assert.deepEqual(behind(t, 1, 5, 2), ['1.6', '2.0']);
    assert.deepEqual(behind(t, 1, 6), ['2.0', '2.1']);
    assert.deepEqual(behind(t, 1, 4), ['1.5', '1.6', '2.0', '2.1']);
  });

  it('gives nothing where a gap may lie between the position and what it has', () => {
    const t = tail([1, 5], [1, 6], [2, 0]);
    assert.equal(behind(t, 1, 3), null);
    assert.equal(behind(tail([2, 0], [2, 1]), 1, 9), null);
    assert.equal(behind(t, 2, 0), null);
    assert.equal(behind(new Tail(), 1, 0), null);
  });

  it('keeps the newest entries only, without a gap', () => {
    const t = tail(...Array.from({ length: 2000 }, (_, i) => [1, i] as const));
    assert.equal(behind(t, 1, 1000), null);
    assert.deepEqual(behind(t, 1, 1996), ['1.1997', '1.1998', '1.1999']);
    assert.equal(behind(t, 1, 1600, 1000)?.length, 399);
  });
});

describe('the rows lately read', () => {
  const row = (name: string, bytes: number): RowImage => ({
    key: Buffer.from(name),
    version: 1,
    createdUs: 1,
    updatedUs: 1,
    entity: Buffer.alloc(bytes),
  });

  it('knows absent rows from rows that were not asked for, and forgets what was written', () => {
    const c = new RowCache(10_000);
    c.put(Buffer.from('gone'), null);
    c.put(Buffer.from('a'), row('a', 1));
    assert.equal(c.get(Buffer.from('gone')), null);
    assert.equal(c.get(Buffer.from('other')), undefined);
    c.forget(Buffer.from('a'));
    assert.equal(c.get(Buffer.from('a')), undefined);
  });

  it('gives up what was used least lately when it is full', () => {
    const c = new RowCache(2000);
    for (const name of ['a', 'b']) c.put(Buffer.from(name), row(name, 600));
    c.get(Buffer.from('a'));
    c.put(Buffer.from('c'), row('c', 600));
    assert.deepEqual(
      ['a', 'b', 'c'].map((n) => c.get(Buffer.from(n)) !== undefined),
      [true, false, true],
    );
  });
});

describe('all rows of a store in memory', () => {
  const row = (name: string): RowImage => ({
    ...{ key: Buffer.from(name), version: 1, createdUs: 1, updatedUs: 1, entity: Buffer.alloc(100) },
  });
  const scanned = (maxBytes: number, ...names: string[]): RowCache => {
    const c = new RowCache(maxBytes);
    const scan = c.keepScan((key) => key.toString() === 'elsewhere');
    for (const name of names) scan.seen(row(name));
    assert.equal(c.whole, false);
    scan.done();
    return c;
  };

  it('is whole when there was room for all, whatever is written later', () => {
    const c = scanned(10_000, 'a', 'elsewhere', 'b');
    assert.equal(c.whole, true);
    assert.equal(c.get(Buffer.from('elsewhere')), undefined);
    c.forget(Buffer.from('a'));
    assert.equal(c.whole, true);
  });

  it('is not whole where something was given up, in the scan or after it', () => {
    assert.equal(scanned(600, 'a', 'b').whole, false);
    const c = scanned(700, 'a', 'b');
    assert.equal(c.whole, true);
    c.put(Buffer.from('c'), row('c'));
    assert.equal(c.whole, false);
  });

  it('keeps no more of a page than the row', () => {
    const page = Buffer.alloc(1000, 'x');
    const c = new RowCache(10_000);
    c.put(Buffer.from('a'), { ...row('a'), entity: page.subarray(0, 3) });
    page.fill('y');
    assert.equal(c.get(Buffer.from('a'))?.entity?.toString(), 'xxx');
  });
});

describe('rows and index rows of log entries', () => {
  const indexer = (entity: Buffer): IndexKey[] =>
    entity
      .toString()
      .split(',')
      .map((v) => ({ part: Buffer.from('p'), key: Buffer.from(v) }));
  const at = (version: number, value: string | null): RowImage => ({
    key: Buffer.from('k'),
    version,
    createdUs: 1,
    updatedUs: version,
    entity: value === null ? null : Buffer.from(value),
  });
  const shown = (log: RowImage[], stored: RowImage | null) =>
    applyRows(log, new Map([['k', stored]]), indexer).index.map(
      (i) => `${i.key.toString()} ${i.present ? 'present' : 'absent'} ${i.version}`,
    );

  it('leaves an index row that stays, and writes those that come and go', () => {
    assert.deepEqual(shown([at(2, 'a,c')], at(1, 'a,b')), ['b absent 2', 'c present 2']);
    assert.deepEqual(shown([at(2, 'a,b')], at(1, 'a,b')), []);
    assert.deepEqual(shown([at(2, null)], at(1, 'a')), ['a absent 2']);
  });

  it('writes an index row again that went and came back between two entries', () => {
    assert.deepEqual(shown([at(2, 'b'), at(3, 'a')], at(1, 'a')), ['a present 3', 'b absent 3']);
  });

  it('writes nothing for an entry that is older than the stored row', () => {
    assert.deepEqual(shown([at(2, 'b')], at(3, 'a')), []);
  });
});

describe('waiting', () => {
  it('keeps nobody who has waited long enough', async () => {
    const w = new Waiters();
    await w.next(0);
    assert.equal(w.size, 0);
    const next = w.next();
    assert.equal(w.size, 1);
    w.wake();
    await next;
    assert.equal(w.size, 0);
  });

  it('ends at once for a signal that has aborted before', async () => {
    let called = 0;
    onAbort(AbortSignal.abort(), () => called++);
    assert.equal(called, 1);
    await pauseFor(60_000, AbortSignal.abort());
  });

  it('answers with the work, or says that it is late', async () => {
    const late = () => new Error('late');
    assert.equal(await within(60_000, Promise.resolve(1), late), 1);
    await assert.rejects(within(0, new Promise(() => undefined), late), /late/);
  });

  it('waits for work no longer than until the signal aborts', async () => {
    const abort = new AbortController();
    assert.equal(await unlessAborted(Promise.resolve(1), abort.signal), 1);
    await assert.rejects(unlessAborted(Promise.reject(new Error('bad')), abort.signal), /bad/);
    const work = unlessAborted(new Promise<number>(() => undefined), abort.signal);
    abort.abort();
    assert.equal(await work, null);
  });
});
