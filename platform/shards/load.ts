import { NxnwError } from '../errors.js';
import { fault } from '../fault.js';
import type { IndexRow } from '../stores/port.js';
import type { LoadBegin, ScanAnswer } from './api.js';
import { applyRows } from './apply.js';
import { readCell, writeCell, writeCheckpoint } from './checkpoint.js';
import type { MigrationIntent } from './control.js';
import { rowBytes } from './entry.js';
import type { ShardLog } from './log.js';
import type { StateOptions } from './state.js';
import type { Position, RowImage } from './types.js';
import { shardName } from './types.js';

/** How far the load of a shard is, in a cell of the store (C10). */
export interface LoadProgress {
  readonly generation: number;
  readonly done: boolean;
  readonly p0: Position;
  readonly cursor: Buffer | null;
  readonly scanned: number;
  readonly scannedBytes: number;
  readonly scanTotal: number;
  /** No scanned row is newer than this: below it the copy is not the log's replay (C10). */
  readonly reach: Position;
}

export interface LoadOptions {
  readonly state: StateOptions;
  readonly log: ShardLog;
  readonly loadBegin: (deadlineMs: number) => Promise<LoadBegin>;
  readonly scan: (after: Buffer | null, deadlineMs: number) => Promise<ScanAnswer>;
  readonly intent: () => MigrationIntent;
  /** Resolves when the intent may have changed, or when the load is to look at its signal; with `ms`, at most so late. */
  readonly changed: (ms?: number) => Promise<void>;
  /** Runs the part of a load that costs, a bounded number at once in a process. */
  readonly slot: <T>(run: () => Promise<T>) => Promise<T>;
  /** Shards of the application: the configured rate is the application's. */
  readonly shards: number;
  readonly nowMs: () => number;
  readonly signal: AbortSignal;
}

const CURSOR_EVERY_ROWS = 2000;
const CALL_MS = 20_000;

export function readLoad(o: StateOptions): Promise<LoadProgress | null> {
  return readCell<LoadProgress>(o.store, o.shard, 'load').then((c) => c?.value ?? null);
}

/** The snapshot of a shard, read from the other platform's owner page by page into tables of this one (C10). */
export class SnapshotLoad {
  progress: LoadProgress | null = null;
  /** Rows up to this key were stored by a scan whose cursor was not: they are read again. */
  private storedThrough: Buffer | null = null;

  constructor(private readonly o: LoadOptions) {}

  private get name(): string {
    return shardName(this.o.state.shard);
  }

  async resume(): Promise<LoadProgress | null> {
    const l = await readLoad(this.o.state);
    this.storedThrough = null;
    if (l && !l.done) {
      const { store, shard } = this.o.state;
      for await (const row of store.scanRows(shard, l.generation, { from: l.cursor, to: null, order: 'desc' })) {
        this.storedThrough = row.key;
        break;
      }
    }
    return (this.progress = l);
  }

  private async save(l: LoadProgress): Promise<void> {
    this.progress = l;
    const { store, shard } = this.o.state;
    const version = l.generation * 2 ** 42 + (l.done ? 2 ** 41 : l.scanned);
    await writeCell(store, shard, 'load', version, l);
  }

  /**
   * The tables in force before are dropped last: the other platform may have nothing, and a load that is killed here must
   * never be taken for a whole one.
   */
  async begin(old: LoadProgress | null): Promise<LoadProgress> {
    const { store, shard } = this.o.state;
    const generation = (old?.generation ?? 0) + 1;
    const b = await this.o.loadBegin(Date.now() + CALL_MS);
    await fault('load.p0', this.name);
    if (b.start.at.slot === 0) await this.o.log.replicate(b.start, this.o.signal);
    await writeCheckpoint(store, shard, {
      at: b.p0,
      hash: b.p0Hash,
      tsUs: b.p0TsUs,
      digest: null,
      entities: 0,
      bytes: 0,
      idFloor: b.idFloor,
      reserved: b.reserved,
      authority: b.authority,
      generation,
      window: b.p0,
      windowUs: b.p0TsUs,
    });
    const l = {
      generation,
      done: false,
      p0: b.p0,
      cursor: null,
      scanned: 0,
      scannedBytes: 0,
      scanTotal: b.entities,
      reach: b.p0,
    };
    await this.save(l);
    this.storedThrough = null;
    if (old) await store.dropGeneration(shard, old.generation);
    return l;
  }

  /** The fuzzy scan: N1's rows through their owner, written with N1's versions; resumes behind its cursor. */
  async run(signal: AbortSignal): Promise<void> {
    let l = this.progress;
    if (!l) throw new NxnwError('INTERNAL', `${this.name}: no load`);
    let sinceCursor = 0;
    let slowMs = 0;
    let baseline = 0;
    while (!l.done) {
      if (signal.aborted) throw new NxnwError('UNAVAILABLE', `${this.name}: the load stopped at ${l.scanned} rows`);
      const intent = this.o.intent();
      if (intent.load !== 'on') {
        await this.o.changed();
        continue;
      }
      const began = this.o.nowMs();
      const from: LoadProgress = l;
      const page: ScanAnswer = await this.o.slot(() => this.onePage(from.cursor, from.generation));
      const bytes = page.rows.reduce((n, r) => n + rowBytes(r), 0);
      l = {
        ...l,
        cursor: page.last ?? from.cursor,
        scanned: l.scanned + page.rows.length,
        scannedBytes: l.scannedBytes + bytes,
        reach: page.end,
        done: page.done,
      };
      this.progress = l;
      sinceCursor += page.rows.length;
      if (page.done || sinceCursor >= CURSOR_EVERY_ROWS) {
        await this.save(l);
        sinceCursor = 0;
      }
      if (baseline === 0 || (page.commitMs > 0 && page.commitMs < baseline)) baseline = page.commitMs;
      const slow = page.commitMs > Math.max(1, baseline) * Math.max(1.5, intent.sourceLatencyRatio * 1.5);
      slowMs = slow ? Math.min(250, slowMs * 2 + 5) : slowMs >> 1;
      await this.pace(page.rows.length, began, this.o.nowMs() + slowMs, signal);
    }
  }

  /** Waits until a page that was begun at `beganMs` has taken its time by the rate; a rate that is changed holds at once. */
  private async pace(rows: number, beganMs: number, notBeforeMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { entitiesPerS } = this.o.intent();
      const ownMs = entitiesPerS === null ? 0 : (rows * this.o.shards * 1000) / entitiesPerS;
      const leftMs = Math.max(notBeforeMs, beganMs + ownMs) - this.o.nowMs();
      if (leftMs <= 0) return;
      await this.o.changed(Math.ceil(leftMs));
    }
  }

  private async onePage(cursor: Buffer | null, generation: number): Promise<ScanAnswer> {
    const { store, shard } = this.o.state;
    const page = await this.o.scan(cursor, Date.now() + CALL_MS);
    await fault('scan.read', this.name);
    await store.putRows(shard, generation, page.rows, await this.indexRows(page.rows, generation));
    await fault('scan.stored', this.name);
    return page;
  }

  /**
   * Index rows of a page. Where a killed scan had stored rows beyond its cursor they are read again, and may have changed
   * in between: what the older version had in the indexes becomes absent.
   */
  private async indexRows(rows: readonly RowImage[], generation: number): Promise<IndexRow[]> {
    const { store, shard, indexer } = this.o.state;
    const through = this.storedThrough;
    const keys = rows.map((r) => r.key).filter((key) => through && Buffer.compare(key, through) <= 0);
    const found = keys.length > 0 ? await store.getRows(shard, generation, keys) : [];
    const stored = new Map<string, RowImage | null>();
    keys.forEach((key, i) => stored.set(key.toString('latin1'), found[i] ?? null));
    // a row that was stored may lack its index rows: a page is written in any order, so all of them are put again
    const present = rows.flatMap((r) =>
      r.entity ? indexer(r.entity).map((i) => ({ ...i, version: r.version, present: true })) : [],
    );
    return [...applyRows(rows, stored, indexer).index.filter((i) => !i.present), ...present];
  }
}
