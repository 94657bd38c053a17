import { NxnwError, asError, hasCode } from '../errors.js';
import { fault } from '../fault.js';
import { Waiters, onAbort, pauseFor } from '../waiting.js';
import type { ConfirmAnswer, MovedProof, OpenRequest, TxStatusRequest } from './api.js';
import type { HandoverFacts, HandoverResult, ShardStatus } from './control.js';
import { CrossGroup } from './crossgroup.js';
import { confirmCopy, handOver } from './handover.js';
import { STATE_LIMITS } from './host-options.js';
import type { HostOptions } from './host-options.js';
import { readLoad } from './load.js';
import { ShardLog } from './log.js';
import { Owner } from './owner.js';
import type { Work, WorkAnswer } from './work.js';
import { StateReader } from './reader.js';
import { Replica, countRows } from './replica.js';
import { shardStatus } from './shard-status.js';
import { anyPeer } from './sides.js';
import { Source } from './source.js';
import type { ShardState, StateOptions } from './state.js';
import { movedHere, takeOver, viewLog } from './takeover.js';
import type { Opened } from './takeover.js';
import type { Authority, LookupAnswer, Position, QueryAnswer } from './types.js';
import { comparePositions, shardName } from './types.js';

const MAX_QUEUE = 5000;
const MAX_QUEUE_BYTES = 64 << 20;
const TICK_MS = 100;
const CHECKPOINT_EVERY_TICKS = 30;
const COMING_UP_MS = 1000;

/** One shard in the process that holds its lock: owner, replica or idle, as the log says. */
export class ShardHost {
  owner: Owner | null = null;
  replica: Replica | null = null;
  state: ShardState | null = null;
  readonly source: Source;
  readonly shardLog: ShardLog;
  handover: HandoverFacts | null = null;
  private receivedMs = 0;
  error: string | null = null;
  private handingOver: Promise<HandoverResult> | null = null;
  private authority: MovedProof | null = null;
  private readonly stop = new AbortController();
  private readonly crossGroup: CrossGroup;
  private readonly running: Promise<void>;
  private readonly ticker: NodeJS.Timeout;
  private ticks = 0;
  private checkpointing: Promise<void> | null = null;
  private readonly roles = new Waiters();

  constructor(readonly o: HostOptions) {
    this.shardLog = new ShardLog(o.shard, o.store, o.store.capabilities.chunkBytes);
    this.source = new Source(this.shardLog, o.store, o.shard, o.nowMs, o.nowUs);
    this.crossGroup = new CrossGroup(o.shard, o.calls, o.nowMs);
    this.running = this.run();
    this.ticker = setInterval(() => this.tick(), TICK_MS);
  }

  get name(): string {
    return shardName(this.o.shard);
  }

  private stateOptions(): StateOptions {
    const { shard, store, indexer, historyMs, nowUs } = this.o;
    return { shard, store, indexer, historyMs, nowUs, ...STATE_LIMITS };
  }

  private async run(): Promise<void> {
    let whole: ShardState | null = null;
    while (!this.stop.signal.aborted) {
      try {
        whole = await this.oneRole(whole);
        this.error = null;
      } catch (e) {
        if (this.stop.signal.aborted) break;
        const err = asError(e);
        this.error = err.message;
        this.o.log('shard.failed', { shard: this.name, error: err.message });
        await whole?.close();
        whole = null;
        await pauseFor(200, this.stop.signal);
      }
    }
    await whole?.close();
  }

  /** Takes the role that the log gives; comes back when it is over, with the state if it is still whole. */
  private async oneRole(whole: ShardState | null): Promise<ShardState | null> {
    if (whole && movedHere(whole, this.o.platform)) {
      this.setAuthority({ platform: this.o.platform, epoch: whole.end.epoch + 1, hash: whole.endHash });
      const opened = await this.tryOpen(whole, whole.generation);
      if (opened) return this.serve(opened);
      await whole.close();
      return null;
    }
    const load = await readLoad(this.stateOptions());
    const view = await viewLog(this.shardLog);
    const next = view.kind === 'empty' ? null : view.kind === 'open' ? view.platform : view.next;
    const turn = next === null ? this.o.mayFound() : next === this.o.platform;
    const epoch = view.kind === 'empty' ? 0 : view.end.epoch + (view.kind === 'open' ? 0 : 1);
    this.setAuthority(next === null ? null : { platform: next, epoch, hash: null });
    if (turn && (!load || load.done)) {
      const opened = await this.tryOpen(whole, load?.generation ?? 0);
      if (opened) return this.serve(opened);
    }
    if (!this.o.peer()) {
      await whole?.close();
      await this.roles.next(1000);
      return null;
    }
    return this.replicate(whole);
  }

  private async tryOpen(whole: ShardState | null, generation: number): Promise<Opened | null> {
    try {
      const o = {
        state: this.stateOptions(),
        log: this.shardLog,
        platform: this.o.platform,
        process: this.o.process,
        generation,
        mayFound: this.o.mayFound(),
        signal: this.stop.signal,
      };
      return await takeOver(o, whole ?? undefined);
    } catch (e) {
      // what is missing of a segment that was moved here is fetched from the other platform
      if (!hasCode(e, 'REPLICA_NOT_WHOLE', 'LOG_HOLE') || !this.o.peer()) throw e;
      this.o.log('shard.notWhole', { shard: this.name, error: e.message });
      return null;
    }
  }

  private setAuthority(a: MovedProof | null): void {
    this.authority = a;
    this.roles.wake();
  }

  private async serve(opened: Opened): Promise<ShardState | null> {
    const { state } = opened;
    this.state = state;
    const over = new Promise<Error>((ok) => {
      this.owner = new Owner({
        state, log: this.shardLog, platform: this.o.platform, nowUs: this.o.nowUs,
        signal: this.stop.signal, over: ok, maxQueue: MAX_QUEUE, maxQueueBytes: MAX_QUEUE_BYTES,
      }); // prettier-ignore
    });
    if (opened.start.epoch > 1 && this.handover?.start === null)
      this.handover = { ...this.handover, start: opened.start };
    this.setAuthority({ platform: this.o.platform, epoch: opened.start.epoch, hash: state.endHash });
    await fault('serve.first', this.name);
    this.o.log('shard.serving', { shard: this.name, epoch: opened.start.epoch });
    if (!state.counted)
      void this.countServing(state).catch((e: unknown) =>
        this.o.log('shard.countFailed', { shard: this.name, error: asError(e).message }),
      );
    const why = await over;
    this.owner = null;
    await this.checkpointing;
    if (hasCode(why, 'MOVED')) return state;
    this.o.log('shard.over', { shard: this.name, why: why.message });
    this.state = null;
    await state.close();
    return null;
  }

  /** A shard that was opened before its copy was counted: counted while it serves, at one position. */
  private async countServing(state: ShardState): Promise<void> {
    while (state.prepares.size > 0) await state.changed(100);
    const at = state.end;
    const atUs = state.tsUs;
    await state.whenApplied(at);
    const { digest, entities, bytes } = await countRows(state, atUs);
    state.adoptCount(at, digest, entities, bytes);
    this.o.log('shard.counted', { shard: this.name, entities });
  }

  private async replicate(whole: ShardState | null): Promise<ShardState | null> {
    const replica = new Replica(
      {
        state: this.stateOptions(), log: this.shardLog, platform: this.o.platform, peer: anyPeer(this.o.peer, this.name), intent: this.o.intent,
        slot: this.o.loadSlot, shards: this.o.shards, nowMs: this.o.nowMs, signal: this.stop.signal, tell: this.o.log,
      },
      whole,
    ); // prettier-ignore
    this.replica = replica;
    try {
      const how = await replica.run();
      if (how === 'final') {
        this.o.log('shard.final', { shard: this.name });
        await new Promise<void>((ok) => onAbort(this.stop.signal, ok));
      }
      return replica.state;
    } finally {
      await this.checkpointing;
      this.replica = null;
      this.state = replica.state;
    }
  }

  private tick(): void {
    this.owner?.tick();
    const state = this.owner ? this.state : (this.replica?.state ?? null);
    if (this.owner && this.state) this.crossGroup.tick(this.owner, this.state);
    if (++this.ticks % CHECKPOINT_EVERY_TICKS !== 0 || this.checkpointing || !state || state.failure) return;
    if (this.replica && !state.counted) return;
    this.checkpointing = this.checkpointAndTruncate(state)
      .catch((e: unknown) => this.o.log('shard.checkpointFailed', { shard: this.name, error: asError(e).message }))
      .finally(() => (this.checkpointing = null));
  }

  private async checkpointAndTruncate(state: ShardState): Promise<void> {
    const old = state.checkpointed;
    if (old && comparePositions(state.checkpointable(), old) <= 0) return;
    const window = await state.checkpoint();
    if (window) await this.source.truncate(window);
  }

  /** Who a caller should ask instead. */
  private notHere(): NxnwError {
    const a =
      this.authority ?? (this.o.mayFound() ? null : { platform: this.o.peer()?.platform ?? '', epoch: 0, hash: null });
    if (a && a.platform !== this.o.platform && a.platform !== '') {
      return new NxnwError('MOVED', `shard ${this.name} is served by platform ${a.platform}`, { ...a });
    }
    return new NxnwError(
      'NOT_OWNER',
      `shard ${this.name} is not served by process ${this.o.process} at the moment${this.error ? `: ${this.error}` : ''}`,
      { process: this.o.process },
    );
  }

  private serving(): { owner: Owner; state: ShardState } {
    if (!this.owner || !this.state || this.owner.over) throw this.owner?.over ?? this.notHere();
    return { owner: this.owner, state: this.state };
  }

  private authorityAt(at: Position): Authority {
    return { platform: this.o.platform, shard: this.o.shard, at };
  }

  async lookup(keys: readonly Buffer[], atUs: number | null, deadlineMs: number): Promise<LookupAnswer> {
    await this.o.leased(deadlineMs);
    const { owner, state } = this.serving();
    const t = atUs === null ? null : owner.raiseClock(atUs);
    await owner.readable(keys, t, deadlineMs);
    if (t !== null) await owner.settled();
    const at = state.end;
    const rows = await new StateReader(state, t ?? Number.MAX_SAFE_INTEGER).get(keys);
    return { rows, authority: this.authorityAt(at) };
  }

  async query(query: Buffer, atUs: number | null, deadlineMs: number): Promise<QueryAnswer> {
    await this.o.leased(deadlineMs);
    const { owner, state } = this.serving();
    const t = owner.raiseClock(atUs);
    await owner.settled();
    // right behind the append that was under way: what comes later lies above T, and is a conflict for a transaction
    const at = state.end;
    await owner.readable(null, t, deadlineMs);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), Math.max(1, Math.ceil(deadlineMs - Date.now())));
    try {
      const batch = await this.o.engine(query, new StateReader(state, t), late.signal);
      return { batch, authority: this.authorityAt(at) };
    } finally {
      clearTimeout(timer);
    }
  }

  async submit(work: Work, deadlineMs: number): Promise<WorkAnswer & { authority: Authority }> {
    const { owner } = this.serving();
    const beganMs = this.o.nowMs();
    const a = await owner.submit(work, deadlineMs);
    this.source.committed(this.o.nowMs() - beganMs);
    // the others hold the transaction's keys until they hear of the decision
    if (work.t === 'decide' && this.state && this.owner === owner) this.crossGroup.tick(owner, this.state);
    return { ...a, authority: this.authorityAt(a.at) };
  }

  async txStatus(r: TxStatusRequest): Promise<{ decided: boolean; commit: boolean; version: number }> {
    const { owner, state } = this.serving();
    return this.crossGroup.status(owner, state, r);
  }

  confirm(through: Position, hash: Buffer, digest: string, deadlineMs: number): Promise<ConfirmAnswer> {
    return confirmCopy(this.replica, {
      through,
      hash,
      digest,
      deadlineMs,
      name: this.name,
      signal: this.stop.signal,
    });
  }

  /** The other side has moved the shard here: answers when this process serves it. */
  async open(r: OpenRequest): Promise<{ start: Position }> {
    this.handover = r.facts;
    this.receivedMs = this.o.nowMs();
    await this.replica?.push(r.image);
    for (;;) {
      if (this.owner && this.authority && this.authority.epoch > r.image.at.epoch)
        return this.opened({ epoch: this.authority.epoch, slot: 0 });
      const left = r.deadlineMs - Date.now();
      if (left <= 0 || this.stop.signal.aborted) throw new NxnwError('UNAVAILABLE', `${this.name}: not opened in time`);
      await this.roles.next(left);
    }
  }

  private opened(start: Position): { start: Position } {
    if (this.handover?.to === this.o.platform) this.handover = { ...this.handover, start };
    return { start };
  }

  /** C14, the owner's side. One at a time; asked again while one runs answers with its result. */
  handOver(to: string, stallBudgetMs: number): Promise<HandoverResult> {
    if (this.authority?.platform === to) return Promise.resolve({ outcome: 'already' });
    this.handingOver ??= this.doHandOver(to, stallBudgetMs).finally(() => (this.handingOver = null));
    return this.handingOver;
  }

  private async doHandOver(to: string, stallBudgetMs: number): Promise<HandoverResult> {
    const { owner, state } = this.serving();
    const peer = this.o.peer();
    if (!peer || peer.platform !== to)
      throw new NxnwError(
        'FAILED_PRECONDITION',
        `platform ${to} is not joined: ${peer ? `only ${peer.platform} is` : 'none is'}`,
      );
    if (state.final) throw new NxnwError('FINALIZED', `shard ${this.name} was finalized: there is no way back`);
    const { nowMs, log, platform } = this.o;
    const moved = (proof: MovedProof, facts: HandoverFacts) => {
      this.handover = facts;
      this.setAuthority(proof);
    };
    const opened = (start: Position) => {
      if (this.handover) this.handover = { ...this.handover, start };
      return this.handover;
    };
    return handOver({
      owner,
      state,
      peer,
      stallBudgetMs,
      name: this.name,
      platform,
      shardLog: this.shardLog,
      source: this.source,
      nowMs,
      log,
      moved,
      opened,
    });
  }

  /** A request was answered by the new owner: here, or as the router saw it come back from the other side. */
  firstAnswer(): void {
    const h = this.handover;
    if (!h || h.firstAnswerMs !== null) return;
    const sinceMs = h.from === this.o.platform ? h.atMs : this.receivedMs;
    this.handover = { ...h, firstAnswerMs: this.o.nowMs() - sinceMs + h.holdMs };
  }

  status(): ShardStatus {
    return shardStatus(this, this.authority);
  }

  /**
   * Waits a moment where the log, or the caller's proof, says that this platform is about to serve the shard: all those
   * who wait for a hand-over would otherwise ask again and again.
   */
  async comingUp(epoch: number, deadlineMs: number): Promise<void> {
    const untilMs = Math.min(deadlineMs, Date.now() + COMING_UP_MS);
    while (!this.owner && !this.stop.signal.aborted) {
      const a = this.authority;
      const coming = a?.platform === this.o.platform || epoch > (a?.epoch ?? 0);
      const leftMs = untilMs - Date.now();
      if (!coming || leftMs <= 0) return;
      await this.roles.next(leftMs);
    }
  }

  /** The intent or the peer has changed. */
  lookAgain(): void {
    this.roles.wake();
    this.replica?.lookAgain();
  }

  async close(): Promise<void> {
    clearInterval(this.ticker);
    this.stop.abort();
    this.roles.wake();
    await this.running;
    await this.checkpointing;
  }
}
