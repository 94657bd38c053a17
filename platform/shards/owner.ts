import { NxnwError, asError } from '../errors.js';
import { fault } from '../fault.js';
import { Waiters, onAbort } from '../waiting.js';
import type { LogEntry, LogRecord } from './entry.js';
import { decodeEntry, encodeEntry } from './entry.js';
import { BatchView } from './evaluate.js';
import { PrepareLocks } from './locks.js';
import type { ShardLog } from './log.js';
import type { ShardState } from './state.js';
import { passesHold, recordOf } from './work.js';
import type { Work, WorkAnswer, WorkClock } from './work.js';
import type { Position, RowImage, TxId } from './types.js';
import { shardName, showPosition } from './types.js';

interface Queued {
  readonly work: Work;
  readonly deadlineMs: number;
  readonly bytes: number;
  readonly ok: (a: WorkAnswer) => void;
  readonly fail: (e: Error) => void;
}

export interface OwnerOptions {
  readonly state: ShardState;
  readonly log: ShardLog;
  readonly platform: string;
  readonly nowUs: () => number;
  /** Aborts when the process must give the shard up (session lost for long, shutting down). */
  readonly signal: AbortSignal;
  /** Called once when this owner is over, whatever the reason. */
  readonly over: (why: Error) => void;
  readonly maxQueue: number;
  readonly maxQueueBytes: number;
}

const BATCH_BYTES = 1 << 20;
const BATCH_WORKS = 256;
const NOTED_AT_MOST = 200;
const NOTED_MS = 10_000;

/**
 * The writer of one open segment: one append in flight, everything that waits goes into the next entry (C16), an answer
 * only for what a held slot says (C2). It is created by take-over or hand-over after START was won, and ends by being
 * superseded, by MOVE, or by giving up.
 */
export class Owner implements WorkClock {
  private queue: Queued[] = [];
  private queueBytes = 0;
  private readonly byTx = new Map<string, Promise<WorkAnswer>>();
  private wake: (() => void) | null = null;
  private clockUs = 0;
  idCursor = 0;
  /** Decisions that all participants have noted; the next entry says so. */
  readonly noted: TxId[] = [];
  private holding = false;
  private moving = false;
  private inflight: Promise<void> | null = null;
  private locks: PrepareLocks;
  private readonly unlocked = new Waiters();
  private readonly stop = new AbortController();
  over: Error | null = null;
  heldCount = 0;
  readonly counters = { commits: 0, entries: 0, conflicts: 0 };

  constructor(private readonly o: OwnerOptions) {
    this.locks = new PrepareLocks(o.state.prepares.values());
    onAbort(o.signal, () => this.end(new NxnwError('UNAVAILABLE', `shard ${this.name} is given up by this process`)));
    void this.run();
  }

  get state(): ShardState {
    return this.o.state;
  }

  get name(): string {
    return shardName(this.o.state.o.shard);
  }

  /** The timestamp of the next entry lies above all earlier ones, and above reads at T. */
  nextVersion(): number {
    this.clockUs = Math.max(this.o.nowUs(), this.clockUs + 1, this.o.state.tsUs + 1);
    return this.clockUs;
  }

  raise(us: number): void {
    this.clockUs = Math.max(this.clockUs, us);
  }

  /** A T for reads: nothing will be committed at or below it any more. */
  raiseClock(atUs: number | null): number {
    const t = atUs ?? Math.max(this.o.nowUs(), this.o.state.tsUs, this.clockUs);
    if (t > this.o.nowUs() + 5_000_000)
      throw new NxnwError('INVALID_ARGUMENT', `read time ${t} lies more than 5 s in the future`);
    this.clockUs = Math.max(this.clockUs, t);
    return t;
  }

  /** Queues work. The same transaction asked again gets the first one's answer. */
  submit(work: Work, deadlineMs: number): Promise<WorkAnswer> {
    if (this.over) return Promise.reject(this.over);
    const id = 'tx' in work ? `${work.t}:${work.tx}` : null;
    const running = id === null ? undefined : this.byTx.get(id);
    if (running) return running;
    const bytes =
      'mutations' in work ? work.mutations.reduce((n, m) => n + m.key.length + (m.entity?.length ?? 0), 0) : 100;
    if (!passesHold(work) && (this.queue.length >= this.o.maxQueue || this.queueBytes + bytes > this.o.maxQueueBytes))
      return Promise.reject(
        new NxnwError(
          'RESOURCE_EXHAUSTED',
          `shard ${this.name} has ${this.queue.length} commits waiting (${this.queueBytes} bytes): nothing was done, try again later`,
        ),
      );
    const p = new Promise<WorkAnswer>((ok, fail) => {
      this.queue.push({ work, deadlineMs, bytes, ok, fail });
      this.queueBytes += bytes;
    });
    if (id !== null) {
      this.byTx.set(id, p);
      const forget = () => this.byTx.delete(id);
      p.then(forget, forget);
    }
    if (this.holding && !passesHold(work)) this.heldCount++;
    this.wake?.();
    return p;
  }

  private async run(): Promise<void> {
    try {
      while (!this.over) {
        // before the batch is taken: from taking it to its append nothing else may come in between (move)
        await this.o.state.roomToIngest();
        const batch = this.takeBatch();
        if (batch.length === 0) {
          await new Promise<void>((ok) => (this.wake = ok));
          this.wake = null;
          continue;
        }
        this.inflight = this.commitBatch(batch);
        await this.inflight;
        this.inflight = null;
      }
    } catch (e) {
      this.end(asError(e));
    }
  }

  private takeBatch(): Queued[] {
    if (this.moving) return [];
    const batch: Queued[] = [];
    const rest: Queued[] = [];
    const now = Date.now();
    let bytes = 0;
    for (const q of this.queue) {
      if (q.deadlineMs <= now) {
        this.queueBytes -= q.bytes;
        q.fail(
          new NxnwError(
            'DEADLINE_EXCEEDED',
            `the deadline passed while the request waited for shard ${this.name}; it was not begun`,
          ),
        );
        continue;
      }
      const full = batch.length >= BATCH_WORKS || (batch.length > 0 && bytes + q.bytes > BATCH_BYTES);
      const held = this.holding && !passesHold(q.work);
      const blocked = 'mutations' in q.work && this.locks.blocksCommit(q.work.mutations, q.work.reads) !== null;
      if (full || held || blocked) rest.push(q);
      else {
        batch.push(q);
        bytes += q.bytes;
        this.queueBytes -= q.bytes;
      }
    }
    this.queue = rest;
    return batch;
  }

  private async commitBatch(batch: readonly Queued[]): Promise<void> {
    const { state } = this.o;
    try {
      const view = new BatchView(state.recent, await this.readRows(batch));
      const records: LogRecord[] = [];
      const answers: { q: Queued; answer: Omit<WorkAnswer, 'at'> }[] = [];
      let locks = this.locks;
      for (const q of batch) {
        try {
          // a PREPARE earlier in this very batch may lock what this one needs: it waits for the next one
          if ('mutations' in q.work && locks.blocksCommit(q.work.mutations, q.work.reads) !== null) {
            this.queue.unshift(q);
            this.queueBytes += q.bytes;
            continue;
          }
          const { record, answer } = recordOf(q.work, view, this);
          if (record) records.push(record);
          if (record?.t === 'prepare')
            locks = new PrepareLocks([...state.prepares.values(), ...records.filter((r) => r.t === 'prepare')]);
          answers.push({ q, answer });
        } catch (e) {
          this.counters.conflicts++;
          q.fail(asError(e));
        }
      }
      if (records.length > 0 && this.noted.length > 0) records.push({ t: 'noted', txs: this.noted.splice(0) });
      if (records.length > 0) await this.appendEntry(records, view.bases);
      await fault('commit.beforeAck', this.name);
      for (const { q, answer } of answers) q.ok({ ...answer, at: state.end });
      this.counters.commits += answers.length;
    } catch (e) {
      const err = asError(e);
      for (const q of batch) q.fail(err);
      throw err;
    }
  }

  private async readRows(batch: readonly Queued[]): Promise<Map<string, RowImage | null>> {
    const keys = new Map<string, Buffer>();
    for (const { work } of batch)
      if ('mutations' in work)
        for (const m of work.mutations)
          if (!this.o.state.recent.newest(m.key)) keys.set(m.key.toString('latin1'), m.key);
    const list = [...keys.values()];
    const out = new Map<string, RowImage | null>();
    if (list.length === 0) return out;
    const rows = await this.o.state.storedRows(list);
    list.forEach((key, i) => out.set(key.toString('latin1'), rows[i] ?? null));
    return out;
  }

  /** Appends at the next slot; comes back only when that slot holds this entry. */
  private async appendEntry(
    records: readonly LogRecord[],
    bases?: ReadonlyMap<string, RowImage | null>,
  ): Promise<void> {
    const { state, log } = this.o;
    const at = { epoch: state.end.epoch, slot: state.end.slot + 1 };
    this.clockUs = Math.max(this.clockUs, this.o.nowUs());
    const entry: LogEntry = { prev: state.endHash, tsUs: Math.max(this.clockUs, state.tsUs + 1), records };
    const bytes = encodeEntry(entry);
    const out = await log.append(at, await log.wrap(bytes), this.stop.signal);
    if (!out.own)
      throw new NxnwError(
        'SUPERSEDED',
        `slot ${showPosition(at)} of ${this.name} is held by another process's entry: this owner is over`,
        { at },
      );
    state.ingest(decodeEntry(bytes, at), bases);
    this.counters.entries++;
    this.relock();
  }

  /** Prepares may have come or gone; also one that locks nothing, which queries wait for all the same. */
  private relock(): void {
    const { prepares } = this.o.state;
    if (!this.locks.empty || prepares.size > 0) this.locks = new PrepareLocks(prepares.values());
    this.unlocked.wake();
    this.wake?.();
  }

  /** Waits for the append that is under way: what was sent before this call is then known. */
  async settled(): Promise<void> {
    await this.inflight?.catch(() => undefined);
    if (this.over) throw this.over;
  }

  /** The first participant's decision needs not be kept any more. */
  allNoted(tx: TxId): void {
    this.o.state.decided.delete(tx);
    this.noted.push(tx);
    if (this.noted.length >= NOTED_AT_MOST) this.submit({ t: 'noted' }, Date.now() + NOTED_MS).catch(() => undefined);
  }

  /** Fails what has waited beyond its deadline; called now and then. */
  tick(): void {
    if (this.queue.length > 0) this.wake?.();
  }

  /** Reads wait for prepared writes of a key, and for a terminal that is under way (C12, C13). */
  async readable(keys: readonly Buffer[] | null, atUs: number | null, deadlineMs: number): Promise<void> {
    for (;;) {
      if (this.over) throw this.over;
      const prepares = this.o.state.prepares;
      const waits =
        this.moving ||
        (keys
          ? keys.some((x) => this.locks.blocksRead(x) !== null)
          : [...prepares.values()].some((p) => p.proposal <= (atUs ?? Infinity)));
      if (!waits) return;
      const leftMs = deadlineMs - Date.now();
      if (leftMs <= 0)
        throw new NxnwError(
          'DEADLINE_EXCEEDED',
          `shard ${this.name}: a transaction or a hand-over that this request must wait for did not end in time`,
        );
      await this.unlocked.next(leftMs);
    }
  }

  /** New requests wait; decisions and notes go on. Answers when nothing is in flight. */
  async hold(): Promise<void> {
    this.holding = true;
    this.heldCount = this.queue.filter((q) => !passesHold(q.work)).length;
    await fault('hold', this.name);
    await this.settled();
  }

  release(): void {
    this.holding = false;
    this.wake?.();
  }

  /**
   * Appends MOVE at `k`, if the log still ends right before it: otherwise answers false (a decision was appended, the
   * confirmation is void: C14). After MOVE was sent nothing is answered until the slot is known.
   */
  async move(k: Position, platform: string, nonce: string): Promise<boolean> {
    const { state, log } = this.o;
    while (this.inflight) await this.settled();
    if (this.over) throw this.over;
    if (state.end.epoch !== k.epoch || state.end.slot + 1 !== k.slot || !this.holding) return false;
    this.moving = true;
    try {
      await fault('move.sent', this.name);
      await this.appendEntry([{ t: 'move', platform, epoch: k.epoch + 1, nonce }]);
      const last = await log.last(k.epoch);
      if (last !== k.slot)
        throw new NxnwError(
          'SUPERSEDED',
          `slot ${last ?? 0} of ${this.name} lies behind MOVE at ${showPosition(k)}: it does not count`,
        );
      await fault('move.known', this.name);
      return true;
    } catch (e) {
      this.end(asError(e));
      throw e;
    }
  }

  /** Ends this owner: everything that waits gets `why`. */
  end(why: Error): void {
    if (this.over) return;
    this.over = why;
    this.stop.abort();
    for (const q of this.queue.splice(0)) q.fail(why);
    this.unlocked.wake();
    this.wake?.();
    this.o.over(why);
  }
}
