import { fault } from '../fault.js';
import type { TxStatusAnswer, TxStatusRequest } from './api.js';
import type { DecidedTx, PreparedTx } from './entry.js';
import type { Owner } from './owner.js';
import type { ShardState } from './state.js';
import type { ShardId, TxId } from './types.js';
import { shardName } from './types.js';

/** Calls between shards' owners, wherever they are (the router). */
export interface ShardCalls {
  note(
    shard: ShardId,
    r: { tx: TxId; beganUs: number; commit: boolean; version: number },
    deadlineMs: number,
  ): Promise<void>;
  txStatus(
    shard: ShardId,
    r: { tx: TxId; beganUs: number; participants: readonly ShardId[] },
    deadlineMs: number,
  ): Promise<TxStatusAnswer>;
}

/** After this a PREPARE without a decision is asked about, or aborted by the first participant (C13). */
const UNDECIDED_MS = 4000;
const CALL_MS = 5000;

/**
 * The part of a cross-group transaction that goes on by itself: the first participant's owner tells the others what was
 * decided until all have noted it; a participant whose PREPARE stays undecided asks the first one; only that one's owner
 * aborts (C13).
 */
export class CrossGroup {
  private readonly seenMs = new Map<TxId, number>();
  private readonly busy = new Set<TxId>();

  constructor(
    private readonly shard: ShardId,
    private readonly calls: ShardCalls,
    private readonly nowMs: () => number,
  ) {}

  private isHere(s: ShardId | undefined): boolean {
    return s?.app === this.shard.app && s.index === this.shard.index;
  }

  tick(owner: Owner, state: ShardState): void {
    for (const d of state.decided.values()) this.once(d.tx, () => this.tellAll(owner, d));
    for (const p of state.prepares.values()) {
      const since = this.seenMs.get(p.tx) ?? this.nowMs();
      this.seenMs.set(p.tx, since);
      if (this.nowMs() - since > UNDECIDED_MS) this.once(p.tx, () => this.recover(owner, p));
    }
    for (const tx of this.seenMs.keys()) if (!state.prepares.has(tx)) this.seenMs.delete(tx);
  }

  private once(tx: TxId, run: () => Promise<void>): void {
    if (this.busy.has(tx)) return;
    this.busy.add(tx);
    // what fails is tried again at the next tick
    run()
      .catch(() => undefined)
      .finally(() => this.busy.delete(tx));
  }

  private async tellAll(owner: Owner, d: DecidedTx): Promise<void> {
    const { tx, beganUs, commit, version } = d;
    for (const p of d.participants) {
      if (this.isHere(p)) continue;
      await fault('xg.note', shardName(p));
      await this.calls.note(p, { tx, beganUs, commit, version }, Date.now() + CALL_MS);
    }
    owner.allNoted(tx);
  }

  private async recover(owner: Owner, p: PreparedTx): Promise<void> {
    const { tx, beganUs, participants } = p;
    const deadline = Date.now() + CALL_MS;
    await fault('xg.recovery', shardName(this.shard));
    const first = participants[0];
    if (!first || this.isHere(first)) {
      await owner.submit({ t: 'decide', tx, beganUs, commit: false, version: 0, participants }, deadline);
      return;
    }
    const a = await this.calls.txStatus(first, { tx, beganUs, participants }, deadline);
    if (a.decided) await owner.submit({ t: 'note', tx, beganUs, commit: a.commit, version: a.version }, deadline);
  }

  /** Asked by another participant: the decision, or none yet; without any trace of the transaction it is aborted here. */
  async status(
    owner: Owner,
    state: ShardState,
    r: TxStatusRequest,
  ): Promise<{ decided: boolean; commit: boolean; version: number }> {
    const known = state.outcomes.get(r.tx) ?? state.decided.get(r.tx);
    if (known) return { decided: true, commit: known.commit, version: known.version };
    const since = this.seenMs.get(r.tx);
    if (state.prepares.has(r.tx) && (since === undefined || this.nowMs() - since <= UNDECIDED_MS))
      return { decided: false, commit: false, version: 0 };
    const { tx, beganUs, participants } = r;
    const a = await owner.submit({ t: 'decide', tx, beganUs, commit: false, version: 0, participants }, r.deadlineMs);
    return { decided: true, commit: a.commit, version: a.version };
  }
}
