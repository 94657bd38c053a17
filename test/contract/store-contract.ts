import assert from 'node:assert/strict';
import { hasCode } from '@nxnw/platform/errors';
import { openStore } from '@nxnw/platform/stores/index';
import type { Store } from '@nxnw/platform/stores/port';
import { Writer } from './store-processes.js';
import { rowsContract } from './store-rows-contract.js';
import { contentOf } from './store-writer.js';

/** A real store under the contract suite. */
export interface StoreFixture {
  readonly kind: string;
  /** For openStore, in this process and in others. */
  readonly config: unknown;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Kills without warning what an acknowledged append must survive, and brings the store back. */
  crash(writer: Writer): Promise<void>;
}

const SHARDS = 4;
const text = (s: string): Buffer => Buffer.from(s);

/** A client that was connected during the crash finds the store again by itself. */
async function reachable(store: Store, app: string): Promise<void> {
  for (const deadline = Date.now() + 20_000; ;) {
    try {
      await store.lastEpoch({ app, index: 0 });
      return;
    } catch (e) {
      if (!hasCode(e, 'UNAVAILABLE') || Date.now() > deadline) throw e;
      await new Promise((later) => setTimeout(later, 50));
    }
  }
}

/** What every store must do: one suite, run on each driver against the real thing. */
export function storeContract(fixture: StoreFixture): void {
  describe(`store ${fixture.kind}`, function () {
    this.timeout(120_000);
    let store: Store;
    let apps = 0;
    let app = '';

    before(async () => {
      await fixture.start();
      store = await openStore(fixture.config);
    });
    after(async () => {
      await store.close();
      await fixture.stop();
    });
    beforeEach(async () => {
      app = `contract-${++apps}`;
      await store.ensureApp(app, SHARDS);
    });
    const shard = (index = 0): { app: string; index: number } => ({ app, index });

    it('is accepted as safe', async () => {
      await store.checkSafety();
      assert.equal(store.capabilities.kind, fixture.kind);
    });

    it('can prepare an application twice, and from two clients at once, and keeps what is there', async () => {
      await store.append(shard(), { epoch: 1, slot: 0 }, text('START'));
      const other = await openStore(fixture.config);
      await Promise.all([store.ensureApp(app, SHARDS), other.ensureApp(app, SHARDS), other.ensureApp(`${app}-b`, 2), store.ensureApp(`${app}-b`, 2)]); // prettier-ignore
      assert.equal((await other.read(shard(), { epoch: 1, slot: 0 }))?.toString(), 'START');
      assert.deepEqual(await other.append({ app: `${app}-b`, index: 1 }, { epoch: 1, slot: 0 }, text('x')), {
        won: true,
      });
      await other.close();
    });

    it('says NOT_FOUND for an application that it was not prepared for', async () => {
      const stranger = { app: 'never-prepared', index: 0 };
      await assert.rejects(store.append(stranger, { epoch: 1, slot: 0 }, text('x')), { code: 'NOT_FOUND' });
    });

    it('gives a slot to the first append and shows its bytes to all later ones', async () => {
      const at = { epoch: 1, slot: 0 };
      assert.equal(await store.read(shard(), at), null);
      assert.deepEqual(await store.append(shard(), at, text('first')), { won: true });
      const again = await store.append(shard(), at, text('second'));
      assert.deepEqual(again, { won: false, held: text('first') });
      assert.deepEqual(await store.read(shard(), at), text('first'));
      assert.equal(await store.read(shard(1), at), null, 'another shard has slots of its own');
    });

    it('appends a run of slots in one round, and refuses it when one of them is held', async () => {
      const { app } = shard();
      const mine = { app, index: 0 };
      await store.append(mine, { epoch: 40, slot: 0 }, text('START'));
      const run = (...slots: number[]) => slots.map((slot) => ({ slot, bytes: text(`40.${slot}`) }));
      assert.equal(await store.appendRun(mine, 40, run(1, 2, 3)), true);
      assert.deepEqual(
        (await store.scan(mine, 40, 1, 10)).map((s) => s.slot),
        [1, 2, 3],
      );
      assert.equal(await store.appendRun(mine, 40, run(3, 4, 5)), false);
      assert.deepEqual(await store.read(mine, { epoch: 40, slot: 2 }), text('40.2'));
    });

    it('lets exactly one of many appends at once win a slot', async () => {
      const other = await openStore(fixture.config);
      for (let slot = 0; slot < 10; slot++) {
        const tries = Array.from({ length: 8 }, (_, i) =>
          (i % 2 ? store : other).append(shard(), { epoch: 1, slot }, text(`try ${i}`)),
        );
        // Contention may make Cassandra give up a try: unknown until the slot is read.
        const outcomes = await Promise.allSettled(tries);
        const held =
          (await store.read(shard(), { epoch: 1, slot }))?.toString() ?? assert.fail(`slot ${slot} is empty`);
        outcomes.forEach((o, i) => {
          if (o.status === 'rejected') assert.equal(o.reason.code, 'UNAVAILABLE');
          else if (o.value.won) assert.equal(held, `try ${i}`);
          else assert.equal(o.value.held.toString(), held);
        });
      }
      await other.close();
    });

    it('gives each slot to one of two processes, and all later readers agree', async () => {
      const slots = 150;
      await store.append(shard(), { epoch: 1, slot: 0 }, text('START'));
      const job = { config: fixture.config, shard: shard(), epoch: 1, slots };
      const writers = ['A', 'B'].map((mark) => new Writer({ ...job, mark }));
      await Promise.all(writers.map((w) => w.ready()));
      writers.forEach((w) => w.go());
      const [a = [], b = []] = await Promise.all(writers.map((w) => w.finished()));
      const seen = await store.scan(shard(), 1, 1, slots + 1);
      assert.equal(seen.length, slots);
      for (const { slot, bytes } of seen) {
        const [x, y] = [a[slot - 1], b[slot - 1]];
        assert.ok(x && y && x.won !== y.won, `slot ${slot} has one winner`);
        assert.equal(bytes.toString(), contentOf(x.won ? 'A' : 'B', slot));
        assert.equal(x.won ? y.held : x.held, bytes.toString(), 'the loser was shown the winner');
      }
    });

    it('has every acknowledged append after a kill -9 (500 appends)', async () => {
      await store.append(shard(), { epoch: 1, slot: 0 }, text('START'));
      const writer = new Writer({ config: fixture.config, shard: shard(), epoch: 1, slots: 100_000, mark: 'W' });
      await writer.ready();
      writer.go();
      await writer.answered(500);
      await fixture.crash(writer);
      const acknowledged = (await writer.ended()).filter((answer) => answer.won).map((answer) => answer.slot);
      assert.ok(acknowledged.length >= 500);
      const reader = await openStore(fixture.config);
      const held = new Map((await reader.scan(shard(), 1, 1, 200_000)).map((s) => [s.slot, s.bytes.toString()]));
      for (const slot of acknowledged) assert.equal(held.get(slot), contentOf('W', slot));
      assert.ok(((await reader.last(shard(), 1)) ?? 0) >= acknowledged.length);
      await reader.close();
      await reachable(store, app);
    });

    it('knows the last slot of a segment and the last segment with a START', async () => {
      assert.equal(await store.last(shard(), 1), null);
      assert.equal(await store.lastEpoch(shard()), null);
      for (const slot of [0, 1, 2, 5]) await store.append(shard(), { epoch: 1, slot }, text(`1.${slot}`));
      await store.append(shard(), { epoch: 7, slot: 0 }, text('7.0'));
      await store.append(shard(), { epoch: 300, slot: 4 }, text('a replica entry, its START is not here yet'));
      assert.equal(await store.last(shard(), 1), 5);
      assert.equal(await store.last(shard(), 2), null);
      assert.equal(await store.last(shard(), 300), 4);
      assert.equal(await store.lastEpoch(shard()), 7);
      assert.equal(await store.lastEpoch(shard(1)), null);
    });

    it('scans held slots in order, holes left out, up to the limit and within the segment', async () => {
      for (const slot of [0, 1, 2, 4, 130, 131]) await store.append(shard(), { epoch: 2, slot }, text(`2.${slot}`));
      await store.append(shard(), { epoch: 3, slot: 0 }, text('3.0'));
      const slots = async (from: number, limit: number): Promise<number[]> => (await store.scan(shard(), 2, from, limit)).map((s) => s.slot); // prettier-ignore
      assert.deepEqual(await slots(0, 100), [0, 1, 2, 4, 130, 131]);
      assert.deepEqual(await slots(2, 2), [2, 4]);
      assert.deepEqual(await slots(132, 10), []);
      assert.deepEqual(await slots(0, 0), []);
      assert.equal((await store.scan(shard(), 2, 130, 1))[0]?.bytes.toString(), '2.130');
    });

    it('scans more slots than a page', async () => {
      for (let slot = 0; slot < 300; slot++) await store.append(shard(), { epoch: 1, slot }, text(`${slot}`));
      const all = (await store.scan(shard(), 1, 0, 1000)).map((s) => s.bytes.toString());
      assert.deepEqual(all, Array.from({ length: 300 }, (_, i) => `${i}`)); // prettier-ignore
    });

    it('truncates below a slot and keeps START and everything else', async () => {
      for (let slot = 0; slot < 20; slot++) await store.append(shard(), { epoch: 1, slot }, text(`${slot}`));
      const held = async (): Promise<number[]> => (await store.scan(shard(), 1, 0, 100)).map((s) => s.slot);
      await store.truncate(shard(), 1, 0);
      await store.truncate(shard(), 1, 1);
      assert.equal((await held()).length, 20);
      await store.truncate(shard(), 1, 17);
      assert.deepEqual(await held(), [0, 17, 18, 19]);
      await store.truncate(shard(), 1, 17);
      await store.truncate(shard(), 1, 9);
      assert.deepEqual(await held(), [0, 17, 18, 19]);
      assert.equal(await store.lastEpoch(shard()), 1);
      assert.equal(await store.last(shard(), 1), 19);
      await store.append(shard(), { epoch: 2, slot: 3 }, text('a segment without START'));
      await store.append(shard(), { epoch: 2, slot: 4 }, text('its newest'));
      await store.truncate(shard(), 2, 4);
      assert.deepEqual(
        (await store.scan(shard(), 2, 0, 9)).map((s) => s.slot),
        [4],
      );
    });

    it('can fill a truncated slot again, as a hole behind the truncation (C3)', async () => {
      for (let slot = 0; slot < 6; slot++) await store.append(shard(), { epoch: 1, slot }, text(`${slot}`));
      await store.truncate(shard(), 1, 5);
      assert.deepEqual(await store.append(shard(), { epoch: 1, slot: 2 }, text('late END')), { won: true });
      assert.deepEqual(
        (await store.scan(shard(), 1, 0, 9)).map((s) => s.slot),
        [0, 2, 5],
      );
    });

    it('holds an entry of the largest size, and refuses a larger one', async () => {
      const { maxEntryBytes } = store.capabilities;
      const bytes = Buffer.alloc(maxEntryBytes, 7);
      assert.deepEqual(await store.append(shard(), { epoch: 1, slot: 1 }, bytes), { won: true });
      assert.ok((await store.read(shard(), { epoch: 1, slot: 1 }))?.equals(bytes));
      await assert.rejects(store.append(shard(), { epoch: 1, slot: 2 }, Buffer.alloc(maxEntryBytes + 1)), {
        code: 'INVALID_ARGUMENT',
      });
      assert.equal(await store.last(shard(), 1), 1);
    });

    it('keeps chunks apart by nonce and drops those of one', async () => {
      const bytes = Buffer.alloc(store.capabilities.chunkBytes, 1);
      for (const [nonce, i] of [['a', 0], ['a', 1], ['ab', 0]] as const) await store.putChunk(shard(), nonce, i, Buffer.concat([text(nonce), bytes.subarray(nonce.length)])); // prettier-ignore
      assert.equal((await store.getChunk(shard(), 'a', 1))?.length, bytes.length);
      assert.equal(await store.getChunk(shard(), 'a', 2), null);
      await store.dropChunks(shard(), 'a');
      assert.equal(await store.getChunk(shard(), 'a', 0), null);
      assert.equal((await store.getChunk(shard(), 'ab', 0))?.subarray(0, 2).toString(), 'ab');
      await assert.rejects(store.putChunk(shard(), 'a', 0, Buffer.alloc(bytes.length + 1)), {
        code: 'INVALID_ARGUMENT',
      });
    });

    rowsContract({ store: () => store, shard });
  });
}
