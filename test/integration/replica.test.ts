import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import type { LogRecord } from '@nxnw/platform/shards/entry';
import { ZERO_HASH, decodeEntry, encodeEntry } from '@nxnw/platform/shards/entry';
import { ShardLog } from '@nxnw/platform/shards/log';
import { Replica } from '@nxnw/platform/shards/replica';
import { Source } from '@nxnw/platform/shards/source';
import { PROTOCOL } from '@nxnw/platform/shards/takeover';
import { openStore } from '@nxnw/platform/stores/index';
import type { Store } from '@nxnw/platform/stores/port';

const SHARD = { app: 'shop', index: 0 };
const NEVER = new AbortController().signal;
const INTENT = { follow: true, load: 'on', entitiesPerS: null, sourceLatencyRatio: 1.1, serving: true } as const;
const START: LogRecord = {
  t: 'start', platform: 'blue', process: 'p', nonce: 'n', prev: null, checkpoint: null, prepares: [], decided: [],
  idFloor: 0, reserved: [], protocol: PROTOCOL,
}; // prettier-ignore

describe('the copy of a shard', function () {
  this.timeout(30_000);
  let dir: string;
  let store: Store;
  let log: ShardLog;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nxnw-replica-'));
    store = await openStore({ kind: 'lmdb', dir });
    await store.ensureApp(SHARD.app, 1);
    log = new ShardLog(SHARD, store, store.capabilities.chunkBytes);
  });

  afterEach(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /** A copy on platform blue; the other platform answers nothing, which is told to `asked`. */
  const copy = (signal: AbortSignal, asked: (what: string) => void, failed: () => unknown = () => undefined) => {
    const silent = (what: string) => () => {
      asked(what);
      return Promise.reject(new NxnwError('UNAVAILABLE', 'the other platform is not there'));
    };
    return new Replica(
      {
        state: { shard: SHARD, store, indexer: () => [], historyMs: 60_000, maxRecentBytes: 1 << 20, maxPendingBytes: 1 << 20, maxCacheBytes: 1 << 20, nowUs: () => 1 },
        log, platform: 'blue', signal, shards: 1,
        peer: { loadBegin: silent('loadBegin'), scan: silent('scan'), pull: silent('pull') },
        intent: () => INTENT, slot: (run) => run(), nowMs: () => 0, tell: failed,
      },
      null,
    ); // prettier-ignore
  };

  /** The log of a shard that blue founded and moved to green. */
  const foundedAndMoved = async (): Promise<void> => {
    let prev: Buffer = ZERO_HASH;
    const records: LogRecord[] = [
      START,
      { t: 'ids', upTo: 100 },
      { t: 'move', platform: 'green', epoch: 2, nonce: 'm' },
    ];
    for (const [slot, record] of records.entries()) {
      const at = { epoch: 1, slot };
      const bytes = encodeEntry({ prev, tsUs: slot + 1, records: [record] });
      await log.append(at, await log.wrap(bytes), NEVER);
      prev = decodeEntry(bytes, at).hash;
    }
  };

  it('goes on from its own log where the shard began here, without asking the other platform for a load', async () => {
    await foundedAndMoved();
    const stop = new AbortController();
    const asked: string[] = [];
    const replica = copy(stop.signal, (what) => {
      asked.push(what);
      stop.abort();
    });
    await assert.rejects(replica.run(), /not there|stopped/);
    assert.deepEqual(asked, ['pull']);
    assert.deepEqual(replica.state?.end, { epoch: 1, slot: 2 });
    assert.equal(replica.state?.idFloor, 100);
    await replica.state?.close();
  });

  it('gives its log out while it has no state', async () => {
    await foundedAndMoved();
    const source = new Source(log, store, SHARD, () => 0, () => 0); // prettier-ignore
    const from = { epoch: 1, slot: 1 };
    const pulled = await source.pull(
      { shard: SHARD, deadlineMs: 1000, epoch: 0, hops: 0, platform: 'green', from, durable: from },
      await source.bareLog(),
    );
    assert.deepEqual(
      pulled.images.map((i) => i.at),
      [{ epoch: 1, slot: 2 }],
    );
    assert.equal(pulled.reload, false);
  });

  it('ends when it is given up while it waits to try again', async () => {
    const stop = new AbortController();
    let tries = 0;
    let failures = 0;
    const replica = copy(
      stop.signal,
      () => tries++,
      // told right before the pause begins
      () => ++failures === 2 && queueMicrotask(() => stop.abort()),
    );
    await assert.rejects(replica.run(), /stopped/);
    assert.deepEqual([tries, failures], [2, 2]);
  });
});
