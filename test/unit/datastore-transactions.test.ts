import assert from 'node:assert/strict';
import { DOOR_LIMITS } from '@nxnw/platform/datastore/limits';
import { decodeToken, encodeToken } from '@nxnw/platform/datastore/tokens';
import { TransactionTable, readSetsOf } from '@nxnw/platform/datastore/transactions';
import type { Attempt } from '@nxnw/platform/datastore/transactions';
import { NxnwError } from '@nxnw/platform/errors';
import type { Authority } from '@nxnw/platform/shards/types';

const home = { platform: 'n1', process: 'ds-1', boot: 'b' };
const SECOND = 1_000_000;

class Clock {
  us = 1000 * SECOND;
  nowUs = (): number => this.us;
}

function table(clock: Clock, limits = {}): TransactionTable {
  return new TransactionTable(home, { ...DOOR_LIMITS, ...limits }, clock.nowUs);
}

const answers =
  (text: string): Attempt =>
  () =>
    Promise.resolve(Buffer.from(text));
const fails =
  (code: string): Attempt =>
  () =>
    Promise.reject(new NxnwError(code, code));
const authority = (index: number, slot: number): Authority => ({
  platform: 'n1',
  shard: { app: 'shop', index },
  at: { epoch: 1, slot },
});

describe('datastore transactions at their home', () => {
  it('expire 60 s after their last use and 270 s after they began, and are ABORTED then', async () => {
    const clock = new Clock();
    const t = table(clock);
    const [idle, long] = [t.begin(false), t.begin(false)];
    for (let s = 0; s < 270; s += 50) {
      clock.us += 50 * SECOND;
      if (s < 220) t.forRead(long);
    }
    assert.throws(() => t.forRead(idle), { code: 'ABORTED' });
    await assert.rejects(
      t.commit(long, 'd', 0, () => Promise.resolve(answers('x'))),
      { code: 'ABORTED' },
    );
    assert.equal(t.openCount, 0);
  });

  it('are bounded: no more are begun than allowed, until others have ended or expired', () => {
    const clock = new Clock();
    const t = table(clock, { maxOpenTransactions: 2 });
    const first = t.begin(false);
    t.begin(true);
    assert.throws(() => t.begin(false), { code: 'RESOURCE_EXHAUSTED' });
    t.rollback(first);
    t.begin(false);
    clock.us += 61 * SECOND;
    t.begin(false);
    assert.equal(t.openCount, 1);
  });

  it('keep the earliest position of each key and range that they have read', () => {
    const t = table(new Clock());
    const tx = t.forRead(t.begin(false));
    const key = Buffer.from('k');
    t.noteKeys(tx, [key], authority(3, 9));
    t.noteKeys(tx, [key, Buffer.from('l')], authority(3, 5));
    t.noteRange(tx, null, 'City', authority(1, 7));
    t.noteRange(tx, null, 'City', authority(1, 8));
    t.noteRange(tx, key, 'City', authority(1, 8));
    const at = (slot: number) => ({ epoch: 1, slot });
    assert.deepEqual(readSetsOf(tx), [
      {
        shard: { app: 'shop', index: 3 },
        reads: {
          keys: [
            { key, at: at(5) },
            { key: Buffer.from('l'), at: at(5) },
          ],
          ranges: [],
        },
      },
      {
        shard: { app: 'shop', index: 1 },
        reads: {
          keys: [],
          ranges: [
            { group: null, kind: 'City', at: at(7) },
            { group: key, kind: 'City', at: at(8) },
          ],
        },
      },
    ]);
  });

  it('answer a repeated Commit as the first, and refuse another one', async () => {
    const t = table(new Clock());
    const token = t.begin(false);
    const prepares: string[] = [];
    const commit = (digest: string) =>
      t.commit(token, digest, 0, () => {
        prepares.push(digest);
        return Promise.resolve(answers('first'));
      });
    const [a, b] = await Promise.all([commit('d'), commit('d')]);
    assert.deepEqual([a, b, await commit('d')].map(String), ['first', 'first', 'first']);
    await assert.rejects(commit('other'), { code: 'INVALID_ARGUMENT', message: /other mutations/ });
    assert.throws(() => t.rollback(token), { code: 'INVALID_ARGUMENT' });
    assert.throws(() => t.forRead(token), { code: 'INVALID_ARGUMENT' });
    assert.deepEqual(prepares, ['d']);
  });

  it('ask again with the same request when the outcome is unknown, and settle at the first definite answer', async () => {
    const t = table(new Clock());
    const token = t.begin(false);
    const outcomes = ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'ABORTED', 'UNAVAILABLE'];
    let prepared = 0;
    const commit = () =>
      t.commit(token, 'd', 0, () => {
        prepared++;
        return Promise.resolve(() => fails(outcomes.shift() ?? '')(0));
      });
    await assert.rejects(commit(), { code: 'UNAVAILABLE' });
    assert.equal(t.openCount, 1);
    await assert.rejects(commit(), { code: 'DEADLINE_EXCEEDED' });
    await assert.rejects(commit(), { code: 'ABORTED' });
    await assert.rejects(commit(), { code: 'ABORTED' });
    assert.deepEqual([prepared, outcomes, t.openCount], [1, ['UNAVAILABLE'], 0]);
  });

  it('stay open when a Commit is refused before anything was sent', async () => {
    const t = table(new Clock());
    const token = t.begin(false);
    const refused = () => Promise.reject(new NxnwError('INVALID_ARGUMENT', 'bad mutation'));
    await assert.rejects(t.commit(token, 'd', 0, refused), { code: 'INVALID_ARGUMENT' });
    assert.equal(String(await t.commit(token, 'e', 0, () => Promise.resolve(answers('ok')))), 'ok');
  });

  it('forget what ended first when too much is kept, and say then that they do not know', async () => {
    const clock = new Clock();
    const t = table(clock, { maxKeptAnswers: 2 });
    const tokens = Array.from({ length: 4 }, () => t.begin(false));
    for (const token of tokens) await t.commit(token, 'd', 0, () => Promise.resolve(answers('ok')));
    clock.us += 2 * SECOND;
    t.begin(false);
    const again = (i: number) => t.commit(tokens[i] ?? t.begin(false), 'd', 0, () => Promise.resolve(answers('new')));
    await assert.rejects(again(0), { code: 'TRANSACTION_UNKNOWN' });
    assert.equal(String(await again(3)), 'ok');
  });

  it('read no more than allowed', () => {
    const t = table(new Clock(), { maxReadSet: 2 });
    const tx = t.forRead(t.begin(false));
    t.noteKeys(tx, [Buffer.from('a'), Buffer.from('b')], authority(0, 1));
    assert.throws(() => t.noteRange(tx, null, null, authority(0, 1)), { code: 'INVALID_ARGUMENT' });
  });
});

describe('datastore transaction bytes', () => {
  it('carry home, id, mode and begin, and refuse anything else', () => {
    const token = { home, tx: '00112233445566778899aabbccddeeff', readOnly: true, beganUs: 1_700_000_000_000_000 };
    const bytes = encodeToken(token);
    assert.deepEqual(decodeToken(bytes), token);
    for (const bad of [
      Buffer.alloc(0),
      Buffer.from('abc'),
      bytes.subarray(0, -1),
      Buffer.concat([Buffer.of(9), bytes]),
    ])
      assert.throws(() => decodeToken(bad), { code: 'INVALID_ARGUMENT' });
  });
});
