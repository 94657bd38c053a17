import { NxnwError } from '../errors.js';
import { fault } from '../fault.js';
import { Waiters } from '../waiting.js';
import type { Store } from '../stores/port.js';
import { Applier } from './applier.js';
import type { Checkpoint } from './checkpoint.js';
import { writeCheckpoint } from './checkpoint.js';
import type { DecidedTx, LogRow, PlacedEntry, PreparedTx } from './entry.js';
import { Digest, ZERO_HASH, rowBytes, rowDigest } from './entry.js';
import type { Indexer, Position, RowImage, ShardId, TxId } from './types.js';
import { comparePositions, shardName, showPosition } from './types.js';
import { IndexMemo } from './index-memo.js';
import { Marks } from './marks.js';
import { committedAnswers, committedRows } from './outcome.js';
import type { Outcome } from './outcome.js';
import { RowCache } from './row-cache.js';
import { Spans } from './spans.js';
import { Tail } from './tail.js';
import { RecentVersions } from './versions.js';

export interface StateOptions {
  readonly shard: ShardId;
  readonly store: Store;
  readonly indexer: Indexer;
  /** Reads in the past and conflicts are known for this long. @default 60000 */
  readonly historyMs: number;
  /** Bytes of recent versions above which the history window shrinks. */
  readonly maxRecentBytes: number;
  /** Bytes of entries not applied yet above which `roomToIngest` waits. */
  readonly maxPendingBytes: number;
  /** Bytes of stored rows that are kept in memory. */
  readonly maxCacheBytes: number;
  readonly nowUs: () => number;
}

const MAX_OUTCOMES = 100_000;

/**
 * A shard as its log makes it, on whichever side: entries go in in log order (`ingest`), rows are written to the store
 * in the background, guarded by version (C8). Owner and replica both hold one; neither decides anything here.
 */
export class ShardState {
  end: Position = { epoch: 0, slot: 0 };
  endHash: Buffer = ZERO_HASH;
  tsUs = 0;
  idFloor = 0;
  readonly reserved = new Set<number>();
  authority = '';
  final = false;
  readonly prepares = new Map<TxId, PreparedTx & { readonly at: Position }>();
  readonly decided = new Map<TxId, DecidedTx & { readonly at: Position }>();
  readonly outcomes = new Map<TxId, Outcome>();
  recent = new RecentVersions({ epoch: 0, slot: 0 });
  /** Relative to an unknown beginning while `counted` is false (a replica that has not counted its rows yet). */
  private readonly digest = new Digest();
  counted = true;
  entities = 0;
  bytes = 0;
  generation = 0;
  checkpointed: Position | null = null;
  readonly tail = new Tail();
  private readonly cache: RowCache;

  readonly indexKeys: IndexMemo;
  private readonly marks = new Marks();
  private readonly applier: Applier;
  private readonly spans = new Spans();
  private readonly changes = new Waiters();

  constructor(readonly o: StateOptions) {
    this.cache = new RowCache(o.maxCacheBytes);
    this.indexKeys = new IndexMemo(o.indexer);
    this.applier = new Applier({
      ...o,
      indexer: (entity) => this.indexKeys.take(entity),
      generation: () => this.generation,
      rowsOf: (batch) => this.takeRows(batch),
      known: (key) => (this.counted ? this.recent.applied(key, this.applied) : undefined),
      before: (key, row) => this.recent.setBase(key, row),
    });
  }

  /** Everything up to here is in the store. */
  get applied(): Position {
    return this.applier.applied;
  }

  get pendingBytes(): number {
    return this.applier.pendingBytes;
  }

  /** Why nothing is applied any more; null = all is well. */
  get failure(): Error | null {
    return this.applier.failure;
  }

  /** Starts where a checkpoint stands; the entries after it are to be ingested, those of its window replayed. */
  restore(c: Checkpoint): void {
    this.end = this.applier.applied = c.at;
    this.endHash = c.hash;
    this.tsUs = c.tsUs;
    this.idFloor = c.idFloor;
    this.reserved.clear();
    for (const r of c.reserved) this.reserved.add(r);
    this.authority = c.authority;
    this.counted = c.digest !== null;
    if (c.digest !== null) this.digest.shift(Digest.fromHex(c.digest).minus(this.digest.hex));
    this.entities = c.entities;
    this.bytes = c.bytes;
    this.generation = c.generation;
    this.checkpointed = c.at;
    this.recent = new RecentVersions(c.window);
    this.recent.floorUs = c.windowUs;
    this.mark();
  }

  /** Replays an entry at or below the checkpoint: only what the history window needs. */
  replayWindow(p: PlacedEntry): void {
    for (const r of p.entry.records) {
      if (r.t === 'commit')
        this.remember(r.tx, { commit: true, version: r.version, answers: r.answers, tsUs: p.entry.tsUs });
      if (r.t === 'commit') for (const row of r.rows) this.recent.add(row, p.at, undefined);
      if (r.t === 'prepare') this.prepares.set(r.tx, { ...r, at: p.at });
      if (r.t === 'decide' || r.t === 'note') this.settle(r.tx, r.commit, r.version, p, false);
    }
  }

  /** The entry behind the last one: chain checked, memory and digests brought forward, rows queued for the store. */
  ingest(p: PlacedEntry, bases?: ReadonlyMap<string, RowImage | null>): void {
    const first = this.end.epoch === 0;
    const follows =
      first ||
      (p.at.epoch === this.end.epoch && p.at.slot === this.end.slot + 1) ||
      (p.at.epoch === this.end.epoch + 1 && p.at.slot === 0);
    if (!follows || (!first && !p.entry.prev.equals(this.endHash)))
      throw new NxnwError(
        'LOG_CHAIN',
        `entry ${showPosition(p.at)} of ${shardName(this.o.shard)} does not follow ${showPosition(this.end)}${follows ? ': its hash names another predecessor' : ''}`,
        { at: p.at, end: this.end },
      );
    for (const r of p.entry.records) {
      switch (r.t) {
        case 'start':
          this.authority = r.platform;
          this.idFloor = Math.max(this.idFloor, r.idFloor);
          for (const n of r.reserved) this.reserved.add(n);
          this.replaceLists(r.prepares, r.decided);
          break;
        case 'commit':
          this.remember(r.tx, { commit: true, version: r.version, answers: r.answers, tsUs: p.entry.tsUs });
          for (const row of r.rows) this.take(row, p.at, bases);
          this.tsUs = Math.max(this.tsUs, r.version);
          break;
        case 'prepare':
          this.prepares.set(r.tx, { ...r, at: p.at });
          this.spans.begin(r.tx, p.at);
          this.tsUs = Math.max(this.tsUs, r.proposal);
          break;
        case 'decide':
          this.settle(r.tx, r.commit, r.version, p, true);
          this.decided.set(r.tx, { ...r, at: p.at });
          break;
        case 'note':
          this.settle(r.tx, r.commit, r.version, p, true);
          break;
        case 'noted':
          for (const tx of r.txs) this.decided.delete(tx);
          break;
        case 'ids':
          this.idFloor = Math.max(this.idFloor, r.upTo);
          break;
        case 'reserve':
          for (const n of r.counters) this.reserved.add(n);
          break;
        case 'final':
          this.final = true;
          break;
        case 'end':
        case 'move':
          break;
      }
    }
    this.end = p.at;
    this.endHash = p.hash;
    this.tsUs = Math.max(this.tsUs, p.entry.tsUs);
    this.mark();
    this.tail.push(p);
    this.changes.wake();
    this.applier.push(p);
  }

  /** The store's rows of keys of which no recent version is held, or what was read of them before. */
  async storedRows(keys: readonly Buffer[]): Promise<(RowImage | null)[]> {
    const out = keys.map((key) => this.inMemory(key));
    const missing = keys.filter((_, i) => out[i] === undefined);
    const { floor } = this.recent;
    const rows = missing.length > 0 ? await this.o.store.getRows(this.o.shard, this.generation, missing) : [];
    // what was written while the store was asked is newer than what it said
    missing.forEach((key, j) => {
      if (this.recent.floor === floor && !this.recent.newest(key)) this.cache.put(key, rows[j] ?? null);
    });
    let j = 0;
    return out.map((row) => (row === undefined ? (rows[j++] ?? null) : row));
  }

  /** The stored row of a key, null where there is none; undefined = the store has to be asked. */
  private inMemory(key: Buffer): RowImage | null | undefined {
    const row = this.cache.get(key);
    return row === undefined && this.cache.whole && !this.recent.newest(key) ? null : row;
  }

  /** Keeps in memory what a scan of all rows reads, made while nothing is ingested: then it is known what is absent. */
  keepScan(): ReturnType<RowCache['keepScan']> {
    return this.cache.keepScan((key) => this.recent.newest(key) !== undefined);
  }

  /** Resolves at the next entry, or after `ms`. */
  changed(ms: number): Promise<void> {
    return this.changes.next(ms);
  }

  /** Ids and position at exactly this position, as the log had them. */
  factsAt(p: Position): { hash: Buffer; tsUs: number; idFloor: number; authority: string } | null {
    return this.marks.at(p) ?? null;
  }

  /** What START lists replaces what its reader had (C1). */
  private replaceLists(
    prepares: readonly (PreparedTx & { at: Position })[],
    decided: readonly (DecidedTx & { at: Position })[],
  ): void {
    this.prepares.clear();
    this.decided.clear();
    for (const p of prepares) {
      this.prepares.set(p.tx, p);
      this.spans.listed(p.tx, p.at);
    }
    for (const d of decided) this.decided.set(d.tx, d);
  }

  private take(row: LogRow, at: Position, bases?: ReadonlyMap<string, RowImage | null>): void {
    const base = bases?.get(row.key.toString('latin1'));
    this.recent.add(row, at, base === undefined && this.counted ? this.inMemory(row.key) : base);
    this.cache.forget(row.key);
    if (row.was) {
      this.digest.remove(row.was);
      this.entities--;
      this.bytes -= row.wasBytes;
    }
    if (row.entity) {
      this.digest.add(rowDigest(row));
      this.entities++;
      this.bytes += rowBytes(row);
    }
  }

  private settle(tx: TxId, commit: boolean, version: number, p: PlacedEntry, whole: boolean): void {
    const prepared = this.prepares.get(tx);
    const answers = prepared && commit ? committedAnswers(prepared, version) : [];
    if (!this.outcomes.has(tx)) this.remember(tx, { commit, version, answers, tsUs: p.entry.tsUs });
    if (commit) this.tsUs = Math.max(this.tsUs, version);
    if (!prepared) return;
    this.prepares.delete(tx);
    this.spans.end(tx, p.at);
    if (!commit) return;
    const rows = committedRows(prepared, version);
    for (const row of rows)
      if (whole) this.take(row, p.at);
      else this.recent.add(row, p.at, undefined);
    if (whole) this.prepared.set(`${showPosition(p.at)}/${tx}`, rows);
  }

  /** Rows of decided transactions, until the entry that decides them is applied. */
  private readonly prepared = new Map<string, LogRow[]>();

  private remember(tx: TxId, o: Outcome): void {
    this.outcomes.set(tx, o);
    const oldest = this.outcomes.size > MAX_OUTCOMES ? this.outcomes.keys().next().value : undefined;
    if (oldest !== undefined) this.outcomes.delete(oldest);
  }

  private mark(): void {
    this.marks.push({
      at: this.end,
      hash: this.endHash,
      tsUs: this.tsUs,
      digest: this.digest.hex,
      entities: this.entities,
      bytes: this.bytes,
      idFloor: this.idFloor,
      authority: this.authority,
    });
  }

  /** Kept digest at exactly this position; null when it is not remembered (any more) or not counted. */
  digestAt(p: Position): string | null {
    return (this.counted && this.marks.at(p)?.digest) || null;
  }

  /** Hash of the entry at exactly this position, or null. */
  hashAt(p: Position): Buffer | null {
    return this.marks.at(p)?.hash ?? null;
  }

  /** The rows were counted as they are at `at`: all that was summed up relative to an unknown beginning is set right. */
  adoptCount(at: Position, digest: Digest, entities: number, bytes: number): void {
    const m = this.marks.at(at);
    if (!m)
      throw new NxnwError(
        'UNAVAILABLE',
        `position ${showPosition(at)} of ${shardName(this.o.shard)} is not remembered any more: count again`,
      );
    const by = digest.minus(m.digest);
    const moreEntities = entities - m.entities;
    const moreBytes = bytes - m.bytes;
    this.marks.shift(by, moreEntities, moreBytes);
    this.digest.shift(by);
    this.entities += moreEntities;
    this.bytes += moreBytes;
    this.counted = true;
  }

  /** Waits until everything up to `p` is in the store. */
  whenApplied(p: Position): Promise<void> {
    return this.applier.whenApplied(p);
  }

  /** Waits while too much is not applied yet (C11: apply lag is bounded by back-pressure). */
  roomToIngest(): Promise<void> {
    return this.applier.room();
  }

  /** Rows that the entries make true. */
  private takeRows(batch: readonly PlacedEntry[]): LogRow[] {
    const rows: LogRow[] = [];
    for (const p of batch)
      for (const r of p.entry.records) {
        if (r.t === 'commit') rows.push(...r.rows);
        if ((r.t === 'decide' || r.t === 'note') && r.commit) {
          const id = `${showPosition(p.at)}/${r.tx}`;
          rows.push(...(this.prepared.get(id) ?? []));
          this.prepared.delete(id);
        }
      }
    return rows;
  }

  /** Newest position to which a checkpoint may go: applied, below open decisions, not between a PREPARE and its decision. */
  checkpointable(): Position {
    let to = this.applied;
    for (const d of this.decided.values()) if (comparePositions(d.at, to) <= 0) to = this.marks.before(d.at) ?? to;
    return this.spans.outside(to, this.marks);
  }

  /** Writes the checkpoint; answers where history that must be kept begins (truncate below it). */
  async checkpoint(): Promise<Position | null> {
    const to = this.checkpointable();
    const m = this.marks.at(to);
    if (!m || m.at.epoch === 0) return null;
    const beforeUs = this.o.nowUs() - this.o.historyMs * 1000;
    for (const row of this.recent.prune(this.applied, beforeUs, this.o.maxRecentBytes))
      if (this.counted) this.cache.put(row.key, row);
    for (const [tx, o] of this.outcomes) {
      if (o.tsUs >= beforeUs) break;
      if (!this.decided.has(tx)) this.outcomes.delete(tx);
    }
    const floor = this.recent.floor;
    const within = comparePositions(floor, m.at) < 0;
    const window = within ? floor : m.at;
    const windowUs = within ? this.recent.floorUs : m.tsUs;
    const about = shardName(this.o.shard);
    await fault('checkpoint.before', about);
    await writeCheckpoint(this.o.store, this.o.shard, {
      at: m.at,
      hash: m.hash,
      tsUs: m.tsUs,
      digest: this.counted ? m.digest : null,
      entities: m.entities,
      bytes: m.bytes,
      idFloor: m.idFloor,
      reserved: [...this.reserved],
      authority: m.authority,
      generation: this.generation,
      window,
      windowUs,
    });
    await fault('checkpoint.after', about);
    this.checkpointed = m.at;
    this.spans.forget(m.at);
    this.marks.cut(window);
    return window;
  }

  /** Stops applying; what runs is finished first. */
  close(): Promise<void> {
    return this.applier.close(
      new NxnwError('UNAVAILABLE', `shard ${shardName(this.o.shard)} was given up by this process`),
    );
  }
}
