import { NxnwError, asError, hasCode } from '../errors.js';
import { fault } from '../fault.js';
import { Waiters, onAbort, pauseFor, unlessAborted } from '../waiting.js';
import type { FollowBatch, LoadBegin, ScanAnswer } from './api.js';
import type { ReplicaPhase } from './control.js';
import { readCheckpoint } from './checkpoint.js';
import type { PlacedEntry } from './entry.js';
import { Digest, decodeEntry, rowBytes, rowDigest, terminalOf } from './entry.js';
import type { LoadOptions, LoadProgress } from './load.js';
import { SnapshotLoad } from './load.js';
import type { SlotImage } from './log.js';
import { StateReader } from './reader.js';
import type { ShardState } from './state.js';
import { contiguousEnd, founded, readLog, replay } from './takeover.js';
import type { Position, RowImage } from './types.js';
import { comparePositions, shardName, showPosition } from './types.js';

/** The other platform's side of one shard, wherever its owner is; every call finds it anew. */
export interface PeerShard {
  loadBegin(deadlineMs: number): Promise<LoadBegin>;
  scan(after: Buffer | null, deadlineMs: number): Promise<ScanAnswer>;
  /** Entries behind `from`; says what is durable here. */
  pull(from: Position, durable: Position, deadlineMs: number): Promise<FollowBatch>;
}

export interface ReplicaOptions extends Omit<LoadOptions, 'loadBegin' | 'scan' | 'changed'> {
  readonly platform: string;
  readonly peer: PeerShard;
  readonly tell: (event: string, fields: Record<string, unknown>) => void;
}

const MAX_FRESH = 4000;
const CALL_MS = 20_000;

/**
 * This platform's copy of a shard that the other one owns: stores the log's entries under their own coordinates, loads
 * the snapshot, then applies the log from p0 on (C7, C8, C10). It decides nothing: MOVE in the log ends it.
 */
export class Replica {
  phase: ReplicaPhase = 'none';
  error: string | null = null;
  retries = 0;
  lagMs: number | null = null;
  durable: Position | null = null;
  private fresh: PlacedEntry[] = [];
  private readonly woken = new Waiters();
  private kicks = 0;
  private readonly snapshot: SnapshotLoad;

  constructor(
    private readonly o: ReplicaOptions,
    public state: ShardState | null,
  ) {
    const { peer } = o;
    this.snapshot = new SnapshotLoad({
      ...o,
      loadBegin: (d) => peer.loadBegin(d),
      scan: (after, d) => peer.scan(after, d),
      changed: (ms) => this.woken.next(ms),
    });
  }

  get load(): LoadProgress | null {
    return this.snapshot.progress;
  }

  private get name(): string {
    return shardName(this.o.state.shard);
  }

  /** Something has come, or the intent has changed. */
  lookAgain(): void {
    this.kicks++;
    this.woken.wake();
  }

  /** Follows until MOVE to this platform (or FINAL) is in the log here; then the state is whole through it. */
  async run(): Promise<'moved' | 'final'> {
    for (let wait = 50; ; wait = Math.min(wait * 2, 2000)) {
      if (this.o.signal.aborted) throw new NxnwError('UNAVAILABLE', `${this.name}: replication stopped`);
      const stop = new AbortController();
      const abort = () => {
        stop.abort();
        this.lookAgain();
      };
      const off = onAbort(this.o.signal, abort);
      let failure: Error | null = null;
      try {
        await this.prepare(stop.signal);
        const follow = this.followLoop(stop.signal).catch((e: unknown) => {
          failure ??= asError(e);
          abort();
        });
        try {
          return await this.applyLoop(stop.signal);
        } finally {
          abort();
          await follow;
        }
      } catch (e) {
        const err = failure ?? asError(e);
        if (this.o.signal.aborted) throw err;
        this.retries++;
        this.error = err.message;
        this.phase = 'failed';
        this.o.tell('replica.failed', {
          shard: this.name,
          error: err.message,
          stack: err.stack?.split('\n').slice(1, 4).join(' '),
        });
        if (hasCode(err, 'DIVERGED', 'RELOAD', 'LOG_CHAIN', 'LOG_HOLE', 'ROW_DIFFERS')) await this.restart();
        else if (this.state?.failure) await this.dropState();
      } finally {
        off();
      }
      await pauseFor(wait, this.o.signal);
    }
  }

  private async dropState(): Promise<void> {
    await this.state?.close();
    this.state = null;
  }

  /** A new p0 means a new scan into new tables (C10). */
  private async restart(): Promise<void> {
    await fault('load.restart', this.name);
    await this.dropState();
    await this.snapshot.begin(this.load ?? (await this.snapshot.resume()));
  }

  /** Finds out where this copy stands: durable contiguous prefix, load progress. */
  private async prepare(signal: AbortSignal): Promise<void> {
    this.fresh = [];
    if (this.state) {
      this.durable = this.state.end;
      return;
    }
    const load = await this.snapshot.resume();
    if (load ? load.done : await founded(this.o.log, this.o.platform))
      return this.wholeCopy(load?.generation ?? 0, load?.p0 ?? { epoch: 1, slot: 0 });
    if (load) {
      this.durable = await contiguousEnd(this.o.log, load.p0);
      return;
    }
    this.phase = 'none';
    while (!this.o.intent().follow) {
      if (signal.aborted) throw new NxnwError('UNAVAILABLE', `${this.name}: given up`);
      await this.woken.next();
    }
    const { p0 } = await this.snapshot.begin(null);
    this.durable = await contiguousEnd(this.o.log, p0);
  }

  /** Rows and log are whole here, from a finished load or because the shard began here: goes on at the log's end. */
  private async wholeCopy(generation: number, least: Position): Promise<void> {
    const c = await readCheckpoint(this.o.state.store, this.o.state.shard, generation);
    const upTo = await contiguousEnd(this.o.log, c?.at ?? least);
    this.state = await replay(this.o.state, this.o.log, generation, upTo);
    this.durable = this.state.end;
  }

  private async followLoop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (!this.o.intent().follow) {
        this.lagMs = null;
        await this.woken.next();
        continue;
      }
      const from = this.durable;
      if (!from) return;
      const batch = await unlessAborted(this.o.peer.pull(from, from, Date.now() + CALL_MS), signal);
      if (batch) await this.receive(batch, signal);
    }
  }

  private async receive(batch: FollowBatch, signal: AbortSignal): Promise<void> {
    if (batch.reload)
      throw new NxnwError(
        'RELOAD',
        `${this.name}: the other platform has truncated its log beyond what is here (${this.durable ? showPosition(this.durable) : 'nothing'})`,
      );
    await this.o.log.replicateAll(batch.images, signal, (image) => {
      this.durable = image.at;
      this.fresh.push(decodeEntry(image.payload, image.at));
      if (this.fresh.length > MAX_FRESH) this.fresh = [];
      this.lookAgain();
    });
    if (batch.images.length > 0) await fault('recv.stored', this.name);
    await fault('recv.beforeAck', this.name);
    const last = this.fresh.at(-1);
    if (this.durable && comparePositions(this.durable, batch.end) >= 0) this.lagMs = 0;
    else this.lagMs = last ? Math.max(1, (batch.nowUs - last.entry.tsUs) / 1000) : null;
    this.error = null;
  }

  /** MOVE pushed by the other side, when it is the very next slot; otherwise the stream brings it (C14). */
  async push(image: SlotImage): Promise<void> {
    const d = this.durable;
    if (!d || image.at.epoch !== d.epoch || image.at.slot !== d.slot + 1) return;
    await this.o.log.replicate(image, this.o.signal);
    if (this.durable === d) {
      this.durable = image.at;
      this.fresh.push(decodeEntry(image.payload, image.at));
    }
    this.lookAgain();
  }

  private async applyLoop(signal: AbortSignal): Promise<'moved' | 'final'> {
    if (!this.state) {
      this.phase = 'scanning';
      await this.snapshot.run(signal);
      const generation = this.load?.generation ?? 1;
      this.state = await replay(this.o.state, this.o.log, generation, this.durable ?? undefined);
    }
    const state = this.state;
    if (!state.counted) this.phase = 'redoing';
    else this.phase = 'following';
    // a replayed log may already end with what ends a replica
    if (state.authority !== this.o.platform && (await this.endsWithMoveHere(state))) return 'moved';
    while (!signal.aborted) {
      if (state.failure) throw state.failure;
      const seen = this.kicks;
      const next = await this.nextEntry(state);
      if (next) {
        await state.roomToIngest();
        await fault('redo.each', this.name);
        state.ingest(next);
        const t = terminalOf(next.entry);
        if (t?.t === 'move' && t.platform === this.o.platform) return 'moved';
        if (state.final) return 'final';
        continue;
      }
      if (!state.counted && this.durable && comparePositions(state.end, this.durable) >= 0 && this.reached(state)) {
        await this.countDigest(state);
        this.phase = 'following';
        continue;
      }
      // what came while the last look was under way has woken nobody
      if (this.kicks === seen) await this.woken.next();
    }
    throw new NxnwError('UNAVAILABLE', `${this.name}: replication stopped`);
  }

  private async endsWithMoveHere(state: ShardState): Promise<boolean> {
    const tail = await this.o.log.readEntry(state.end);
    const t = tail && terminalOf(tail.entry);
    return t?.t === 'move' && t.platform === this.o.platform;
  }

  /** The entry behind the state's end, if it is durable here: from memory, otherwise from the store. */
  private async nextEntry(state: ShardState): Promise<PlacedEntry | null> {
    while (this.fresh[0] && comparePositions(this.fresh[0].at, state.end) <= 0) this.fresh.shift();
    const head = this.fresh[0];
    const follows = (p: Position) =>
      (p.epoch === state.end.epoch && p.slot === state.end.slot + 1) ||
      (p.epoch === state.end.epoch + 1 && p.slot === 0);
    if (head && follows(head.at)) return this.fresh.shift() ?? null;
    if (!this.durable || comparePositions(state.end, this.durable) >= 0) return null;
    const refill: PlacedEntry[] = [];
    for await (const p of readLog(this.o.log, { epoch: state.end.epoch, slot: state.end.slot + 1 }, this.durable)) {
      refill.push(p);
      if (refill.length >= MAX_FRESH / 2) break;
    }
    if (refill.length === 0) return null;
    const last = refill.at(-1);
    this.fresh = [...refill, ...this.fresh.filter((p) => last && comparePositions(p.at, last.at) > 0)];
    return this.fresh.shift() ?? null;
  }

  private reached(state: ShardState): boolean {
    return !this.load || comparePositions(state.end, this.load.reach) >= 0;
  }

  /**
   * Counts this copy's rows at its end, with nothing ingested meanwhile: what verification compares (additive digest). They
   * stay in memory as far as there is room: an owner that begins need not read them one by one from a store that is cold.
   */
  private async countDigest(state: ShardState): Promise<void> {
    await state.whenApplied(state.end);
    const kept = state.keepScan();
    const { digest, entities, bytes } = await countRows(state, Number.MAX_SAFE_INTEGER, kept.seen);
    kept.done();
    await fault('digest.compare', this.name);
    state.adoptCount(state.end, digest, entities, bytes);
    await state.checkpoint();
  }
}

/** Sums up the present rows of a shard at T, each shown to `seen`; everything at or below T must be applied. */
export async function countRows(
  state: ShardState,
  atUs: number,
  seen: (row: RowImage) => void = () => undefined,
): Promise<{ digest: Digest; entities: number; bytes: number }> {
  const digest = new Digest();
  let entities = 0;
  let bytes = 0;
  for await (const row of new StateReader(state, atUs).scanEntities(null, null, 'asc')) {
    digest.add(rowDigest(row));
    entities++;
    bytes += rowBytes(row);
    seen(row);
  }
  return { digest, entities, bytes };
}
