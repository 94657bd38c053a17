import { NxnwError, asError, hasCode } from '../errors.js';
import { fault } from '../fault.js';
import { Waiters, pauseFor } from '../waiting.js';
import type { Store } from '../stores/port.js';
import { applyRows } from './apply.js';
import type { LogRow, PlacedEntry } from './entry.js';
import type { Indexer, Position, RowImage, ShardId } from './types.js';
import { comparePositions, shardName } from './types.js';

export interface ApplierOptions {
  readonly shard: ShardId;
  readonly store: Store;
  readonly indexer: Indexer;
  readonly maxPendingBytes: number;
  readonly generation: () => number;
  /** Rows that entries make true, in log order. */
  readonly rowsOf: (batch: readonly PlacedEntry[]) => LogRow[];
  /** The stored row of a key, where that is known without asking. */
  readonly known: (key: Buffer) => RowImage | null | undefined;
  /** The stored row of a key, before it is replaced. */
  readonly before: (key: Buffer, row: RowImage | null) => void;
}

const APPLY_BATCH_ROWS = 500;
const APPLY_BATCH_BYTES = 1 << 20;
const GATHER_MS = 1000;
const GATHER_BYTES = 256 << 10;
const NEVER = new AbortController().signal;

/** Writes the rows of held entries to the store in the background, in log order, batch after batch (C8). */
export class Applier {
  /** Contiguous prefix of the log whose rows are in the store. */
  applied: Position = { epoch: 0, slot: 0 };
  pendingBytes = 0;
  failure: Error | null = null;
  private readonly pending: PlacedEntry[] = [];
  private waiters: { at: Position; ok: () => void; fail: (e: Error) => void }[] = [];
  private roomWaiters: (() => void)[] = [];
  private applying: Promise<void> | null = null;
  private closed = false;
  private readonly gathering = new Waiters();

  constructor(private readonly o: ApplierOptions) {}

  push(p: PlacedEntry): void {
    this.pending.push(p);
    this.pendingBytes += p.bytes.length;
    if (this.pendingBytes > GATHER_BYTES) this.gathering.wake();
    this.kick();
  }

  /** Waits until everything up to `p` is in the store. */
  whenApplied(p: Position): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    if (comparePositions(this.applied, p) >= 0) return Promise.resolve();
    this.gathering.wake();
    return new Promise((ok, fail) => this.waiters.push({ at: p, ok, fail }));
  }

  /** Waits while too much is not applied yet (C11: apply lag is bounded by back-pressure). */
  async room(): Promise<void> {
    while (this.pendingBytes > this.o.maxPendingBytes && !this.failure && !this.closed)
      await new Promise<void>((ok) => this.roomWaiters.push(ok));
    if (this.failure) throw this.failure;
  }

  /** Entries are gathered, so that one round in the store serves several: reads have them from memory. Who waits ends it. */
  private async gather(): Promise<void> {
    if (this.waiters.length === 0 && this.pendingBytes <= GATHER_BYTES) await this.gathering.next(GATHER_MS);
  }

  private kick(): void {
    if (this.applying || this.closed || this.failure) return;
    this.applying = this.applyAll().then(
      () => {
        this.applying = null;
        if (this.pending.length > 0) this.kick();
      },
      (e: unknown) => {
        this.applying = null;
        this.fail(asError(e));
      },
    );
  }

  private fail(e: Error): void {
    this.failure = e;
    for (const w of this.waiters.splice(0)) w.fail(e);
    for (const w of this.roomWaiters.splice(0)) w();
  }

  private async applyAll(): Promise<void> {
    while (this.pending.length > 0 && !this.closed) {
      await this.gather();
      const batch: PlacedEntry[] = [];
      let rows = 0;
      let bytes = 0;
      for (const p of this.pending) {
        if (batch.length > 0 && (rows >= APPLY_BATCH_ROWS || bytes >= APPLY_BATCH_BYTES)) break;
        batch.push(p);
        bytes += p.bytes.length;
        rows += p.entry.records.reduce((n, r) => n + ('rows' in r ? r.rows.length : 0), 0);
      }
      const made = this.o.rowsOf(batch);
      if (made.length > 0) await this.applyBatch(made);
      this.pending.splice(0, batch.length);
      this.pendingBytes -= bytes;
      const last = batch.at(-1);
      if (last) this.applied = last.at;
      const due = this.waiters.filter((w) => comparePositions(w.at, this.applied) <= 0);
      this.waiters = this.waiters.filter((w) => comparePositions(w.at, this.applied) > 0);
      for (const w of due) w.ok();
      for (const w of this.roomWaiters.splice(0)) w();
    }
  }

  /** Doing it again is harmless, so a store that does not answer for a moment is asked again. */
  private async applyBatch(rows: readonly LogRow[]): Promise<void> {
    for (let waitMs = 20; ; waitMs = Math.min(waitMs * 2, 1000)) {
      try {
        return await this.applyOnce(rows);
      } catch (e) {
        if (this.closed || !hasCode(e, 'UNAVAILABLE')) throw e;
        await pauseFor(waitMs, NEVER);
      }
    }
  }

  private async applyOnce(rows: readonly LogRow[]): Promise<void> {
    const { shard, store, indexer } = this.o;
    const keys = [...new Map(rows.map((r) => [r.key.toString('latin1'), r.key])).values()];
    const known = keys.map((key) => this.o.known(key));
    const ask = keys.filter((_, i) => known[i] === undefined);
    const found = ask.length > 0 ? await store.getRows(shard, this.o.generation(), ask) : [];
    const stored = new Map<string, RowImage | null>();
    keys.forEach((key, i) => known[i] !== undefined && stored.set(key.toString('latin1'), known[i] ?? null));
    ask.forEach((key, i) => stored.set(key.toString('latin1'), found[i] ?? null));
    for (const key of keys) this.o.before(key, stored.get(key.toString('latin1')) ?? null);
    const out = applyRows(rows, stored, indexer);
    await fault('apply.index', shardName(shard));
    // index rows first: a crash in between leaves the old row, and the next replay does both again
    await store.putRows(shard, this.o.generation(), [], out.index);
    await fault('apply.row', shardName(shard));
    await store.putRows(shard, this.o.generation(), out.rows, []);
  }

  /** Stops; what runs is finished first. */
  async close(why: NxnwError): Promise<void> {
    this.closed = true;
    this.gathering.wake();
    await this.applying;
    this.fail(why);
  }
}
