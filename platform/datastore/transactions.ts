import { randomBytes } from 'node:crypto';
import { NxnwError, hasCode } from '../errors.js';
import { comparePositions } from '../shards/types.js';
import type { Authority, Position, ReadSet, ShardId, TxId } from '../shards/types.js';
import { API_LIMITS } from './limits.js';
import type { DoorLimits } from './limits.js';
import { invalid } from './refuse.js';
import type { TransactionHome, TransactionToken } from './tokens.js';

/** What a transaction has read in one shard; the earliest position of each key and range counts. */
class ShardReads {
  private readonly keys = new Map<string, { readonly key: Buffer; readonly at: Position }>();
  private readonly ranges = new Map<string, ReadSet['ranges'][number]>();

  get size(): number {
    return this.keys.size + this.ranges.size;
  }

  addKey(key: Buffer, at: Position): void {
    const name = key.toString('latin1');
    const known = this.keys.get(name);
    if (!known || comparePositions(at, known.at) < 0) this.keys.set(name, { key, at });
  }

  addRange(group: Buffer | null, kind: string | null, at: Position): void {
    const name = JSON.stringify([group?.toString('latin1') ?? null, kind]);
    const known = this.ranges.get(name);
    if (!known || comparePositions(at, known.at) < 0) this.ranges.set(name, { group, kind, at });
  }

  toReadSet(): ReadSet {
    return { keys: [...this.keys.values()], ranges: [...this.ranges.values()] };
  }
}

/**
 * open → committing → done | failed | unknown; unknown (the commit's outcome could not be found out) → committing, with
 * the same request, as often as the client asks. `rolledBack` and `expired` never committed anything.
 */
type Phase =
  | { readonly is: 'open' }
  | { readonly is: 'rolledBack' }
  | { readonly is: 'expired' }
  | { readonly is: 'committing'; readonly digest: string; readonly answer: Promise<Buffer> }
  | { readonly is: 'unknown'; readonly digest: string; readonly attempt: Attempt }
  | { readonly is: 'done'; readonly digest: string; readonly answer: Buffer }
  | { readonly is: 'failed'; readonly digest: string; readonly error: unknown };

/** Sends the commit (the same one each time) and makes the answer's bytes. */
export type Attempt = (deadlineMs: number) => Promise<Buffer>;

export interface Transaction {
  readonly tx: TxId;
  readonly readOnly: boolean;
  readonly beganUs: number;
  /** The one time that a read-only transaction reads at; null until its first read. */
  atUs: number | null;
  lastUsedUs: number;
  reads: Map<number, { readonly shard: ShardId; readonly reads: ShardReads }>;
  phase: Phase;
}

/** Codes that say for certain that nothing was committed and that asking again would not help. */
const DEFINITE = ['ABORTED', 'ALREADY_EXISTS', 'NOT_FOUND', 'FAILED_PRECONDITION', 'INVALID_ARGUMENT'];

/** How long the request of a commit with unknown outcome is kept for the client to ask again. */
const UNKNOWN_KEPT_US = 600e6;

/**
 * The transactions whose home is this process: bounded, expiring as the public API documents (270 s in all, 60 s idle),
 * with the answers of finished ones for a Commit that is repeated.
 */
export class TransactionTable {
  private readonly table = new Map<TxId, Transaction>();
  private open = 0;
  private keptBytes = 0;
  private sweptUs = 0;

  constructor(
    readonly home: TransactionHome,
    private readonly limits: Pick<DoorLimits, 'maxOpenTransactions' | 'maxKeptAnswers' | 'maxKeptBytes' | 'maxReadSet'>,
    private readonly nowUs: () => number,
  ) {}

  get openCount(): number {
    return this.open;
  }

  begin(readOnly: boolean): TransactionToken {
    const beganUs = this.nowUs();
    if (beganUs - this.sweptUs > 1_000_000 || this.open >= this.limits.maxOpenTransactions) this.sweep(beganUs);
    if (this.open >= this.limits.maxOpenTransactions)
      throw new NxnwError(
        'RESOURCE_EXHAUSTED',
        `${this.open} transactions are open in this process, and no more are allowed; commit or roll back transactions that are not needed, and try again`,
      );
    const tx = randomBytes(16).toString('hex');
    const phase: Phase = { is: 'open' };
    this.table.set(tx, { tx, readOnly, beganUs, atUs: null, lastUsedUs: beganUs, reads: new Map(), phase });
    this.open++;
    return { home: this.home, tx, readOnly, beganUs };
  }

  /** The open transaction of a token, for a read. ABORTED if it is no more. */
  forRead(token: TransactionToken): Transaction {
    const t = this.known(token);
    if (t?.phase.is === 'open') return t;
    if (!t || t.phase.is === 'expired') throw expired();
    throw invalid(`the transaction has ended already (${t.phase.is}); begin another one to read`);
  }

  /**
   * Commits once. `prepare` is called for the first Commit only; the same Commit again gets the same answer, and another
   * Commit is refused. `digest` tells them apart. TRANSACTION_UNKNOWN if the table does not know the transaction (any
   * more): whether it was committed only the shards know.
   */
  async commit(
    token: TransactionToken,
    digest: string,
    deadlineMs: number,
    prepare: (t: Transaction) => Promise<Attempt>,
  ): Promise<Buffer> {
    const t = this.known(token);
    if (!t) throw new NxnwError('TRANSACTION_UNKNOWN', 'the transaction is not (or no longer) known at its home');
    const { phase } = t;
    if (phase.is === 'expired') throw expired();
    if (phase.is === 'rolledBack') throw invalid('the transaction was rolled back; begin another one');
    if (phase.is !== 'open' && phase.digest !== digest)
      throw invalid('the transaction was committed already, with other mutations');
    switch (phase.is) {
      case 'done':
        return phase.answer;
      case 'failed':
        throw phase.error;
      case 'committing':
        return await phase.answer;
      case 'unknown':
        return await this.attempt(t, digest, phase.attempt, deadlineMs);
      case 'open':
        return await this.firstCommit(t, digest, deadlineMs, prepare);
    }
  }

  private firstCommit(
    t: Transaction,
    digest: string,
    deadlineMs: number,
    prepare: (t: Transaction) => Promise<Attempt>,
  ): Promise<Buffer> {
    const answer = prepare(t).then(
      (attempt) => this.attempt(t, digest, attempt, deadlineMs),
      (error: unknown) => {
        t.phase = { is: 'open' };
        throw error;
      },
    );
    t.phase = { is: 'committing', digest, answer };
    return answer;
  }

  private attempt(t: Transaction, digest: string, attempt: Attempt, deadlineMs: number): Promise<Buffer> {
    const answer = attempt(deadlineMs).then(
      (bytes) => {
        this.finish(t, { is: 'done', digest, answer: bytes });
        return bytes;
      },
      (error: unknown) => {
        if (hasCode(error, ...DEFINITE)) this.finish(t, { is: 'failed', digest, error });
        else t.phase = { is: 'unknown', digest, attempt };
        throw error;
      },
    );
    t.phase = { is: 'committing', digest, answer };
    return answer;
  }

  /** Nothing to do for a transaction that is gone; refused once a Commit was sent. */
  rollback(token: TransactionToken): void {
    const t = this.table.get(token.tx);
    if (!t || t.phase.is === 'expired' || t.phase.is === 'rolledBack') return;
    if (t.phase.is !== 'open')
      throw invalid(`the transaction cannot be rolled back: its commit was sent (${t.phase.is})`);
    this.finish(t, { is: 'rolledBack' });
  }

  private reads(t: Transaction, shard: ShardId): ShardReads {
    const known = t.reads.get(shard.index);
    if (known) return known.reads;
    const reads = new ShardReads();
    t.reads.set(shard.index, { shard, reads });
    return reads;
  }

  noteKeys(t: Transaction, keys: readonly Buffer[], authority: Authority): void {
    if (t.readOnly) return;
    const reads = this.reads(t, authority.shard);
    for (const key of keys) reads.addKey(key, authority.at);
    this.checkReadSet(t);
  }

  noteRange(t: Transaction, group: Buffer | null, kind: string | null, authority: Authority): void {
    if (t.readOnly) return;
    this.reads(t, authority.shard).addRange(group, kind, authority.at);
    this.checkReadSet(t);
  }

  private checkReadSet(t: Transaction): void {
    let size = 0;
    for (const { reads } of t.reads.values()) size += reads.size;
    if (size > this.limits.maxReadSet)
      throw invalid(
        `the transaction has read more than ${this.limits.maxReadSet} entities and ranges; read less in one`,
      );
  }

  private known(token: TransactionToken): Transaction | undefined {
    const t = this.table.get(token.tx);
    if (!t) return undefined;
    const nowUs = this.nowUs();
    this.expireIfDue(t, nowUs);
    t.lastUsedUs = nowUs;
    return t;
  }

  private expireIfDue(t: Transaction, nowUs: number): void {
    const total = nowUs - t.beganUs > API_LIMITS.transactionSeconds * 1e6;
    const idle = nowUs - t.lastUsedUs > API_LIMITS.transactionIdleSeconds * 1e6;
    if (t.phase.is === 'open' && (total || idle)) this.finish(t, { is: 'expired' });
  }

  private finish(t: Transaction, phase: Phase): void {
    this.open--;
    t.phase = phase;
    t.reads = new Map();
    if (phase.is === 'done') this.keptBytes += phase.answer.length;
  }

  /** Expires what is due, and forgets what ended first if too much is kept. */
  private sweep(nowUs: number): void {
    this.sweptUs = nowUs;
    for (const t of this.table.values()) this.expireIfDue(t, nowUs);
    let ended = this.table.size - this.open;
    for (const t of this.table.values()) {
      if (t.phase.is === 'unknown' && nowUs - t.lastUsedUs > UNKNOWN_KEPT_US) {
        this.open--;
        this.table.delete(t.tx);
      }
      if (ended <= this.limits.maxKeptAnswers && this.keptBytes <= this.limits.maxKeptBytes) continue;
      if (t.phase.is === 'open' || t.phase.is === 'committing' || t.phase.is === 'unknown') continue;
      if (t.phase.is === 'done') this.keptBytes -= t.phase.answer.length;
      this.table.delete(t.tx);
      ended--;
    }
  }
}

function expired(): NxnwError {
  return new NxnwError(
    'ABORTED',
    'the referenced transaction has expired or is no longer valid; nothing was committed by it, retry the whole transaction',
  );
}

/** The read sets of a transaction by shard, for its commit. */
export function readSetsOf(t: Transaction): { readonly shard: ShardId; readonly reads: ReadSet }[] {
  return [...t.reads.values()].map(({ shard, reads }) => ({ shard, reads: reads.toReadSet() }));
}
