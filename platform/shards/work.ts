import { NxnwError } from '../errors.js';
import type { LogRecord } from './entry.js';
import type { BatchView } from './evaluate.js';
import { committedAnswers } from './outcome.js';
import type { Outcome } from './outcome.js';
import type { ShardState } from './state.js';
import type { Mutation, MutationAnswer, Position, ReadSet, ShardId, TxId } from './types.js';

/** What waits to become a record of the next entry. */
export type Work =
  | { readonly t: 'commit'; readonly tx: TxId; readonly beganUs: number; readonly mutations: readonly Mutation[]; readonly reads: ReadSet } // prettier-ignore
  | { readonly t: 'prepare'; readonly tx: TxId; readonly beganUs: number; readonly mutations: readonly Mutation[]; readonly reads: ReadSet; readonly participants: readonly ShardId[] } // prettier-ignore
  | { readonly t: 'decide'; readonly tx: TxId; readonly beganUs: number; readonly commit: boolean; readonly version: number; readonly participants: readonly ShardId[] } // prettier-ignore
  | { readonly t: 'note'; readonly tx: TxId; readonly beganUs: number; readonly commit: boolean; readonly version: number } // prettier-ignore
  | { readonly t: 'ids'; readonly count: number }
  | { readonly t: 'reserve'; readonly counters: readonly number[] }
  | { readonly t: 'noted' }
  | { readonly t: 'final' };

export interface WorkAnswer {
  readonly version: number;
  readonly commit: boolean;
  readonly answers: readonly MutationAnswer[];
  readonly at: Position;
}

/** Decisions and notes go on while new requests are held (C13). */
export const passesHold = (w: Work): boolean => w.t === 'decide' || w.t === 'note';

/** What making a record needs of the owner: its state, its clock, and what it counts. */
export interface WorkClock {
  readonly state: ShardState;
  readonly name: string;
  /** Ids given in the batch that is being made. */
  idCursor: number;
  readonly noted: TxId[];
  nextVersion(): number;
  raise(us: number): void;
}

/** The record that a piece of work becomes, and its answer when that is held; throws what refuses it. */
export function recordOf(
  w: Work,
  view: BatchView,
  o: WorkClock,
): { record: LogRecord | null; answer: Omit<WorkAnswer, 'at'> } {
  const { state } = o;
  const known = 'tx' in w ? state.outcomes.get(w.tx) : undefined;
  if (known) return { record: null, answer: firstAnswer(w, known) };
  const version = o.nextVersion();
  const plain = { version, commit: true, answers: [] };
  switch (w.t) {
    case 'commit': {
      view.validate(w.reads);
      const { rows, answers } = view.evaluate(w.mutations, version);
      view.accept(rows);
      return {
        record: rows.length > 0 ? { t: 'commit', tx: w.tx, version, rows, answers } : null,
        answer: { ...plain, answers },
      };
    }
    case 'prepare': {
      const again = state.prepares.get(w.tx);
      if (again) return { record: null, answer: { version: again.proposal, commit: true, answers: again.answers } };
      if (w.beganUs < state.recent.floorUs)
        throw new NxnwError(
          'ABORTED',
          `transaction ${w.tx} began before what this shard remembers; nothing was committed, begin it again`,
        );
      view.validate(w.reads);
      const { rows, answers } = view.evaluate(w.mutations, version);
      const { tx, beganUs, participants } = w;
      const readKeys = w.reads.keys.map((r) => r.key);
      const readRanges = w.reads.ranges.map(({ group, kind }) => ({ group, kind }));
      return {
        record: { t: 'prepare', tx, beganUs, participants, proposal: version, rows, answers, readKeys, readRanges },
        answer: { ...plain, answers },
      };
    }
    case 'decide': {
      const { tx, beganUs, participants } = w;
      const prepared = state.prepares.get(tx);
      if (w.commit && !prepared)
        throw new NxnwError('ABORTED', `transaction ${tx} is not prepared in ${o.name}; nothing was committed`);
      o.raise(Math.max(w.version, beganUs));
      const v = w.commit ? w.version : o.nextVersion();
      return {
        record: { t: 'decide', tx, beganUs, commit: w.commit, version: v, participants },
        answer: { version: v, commit: w.commit, answers: prepared && w.commit ? committedAnswers(prepared, v) : [] },
      };
    }
    case 'note': {
      const { tx, beganUs, commit } = w;
      const prepared = state.prepares.get(tx);
      if (!prepared && (commit || beganUs < state.recent.floorUs))
        return { record: null, answer: { ...plain, commit } };
      o.raise(Math.max(w.version, beganUs));
      return { record: { t: 'note', tx, beganUs, commit, version: w.version }, answer: { ...plain, commit } };
    }
    case 'ids': {
      const from = Math.max(o.idCursor, state.idFloor);
      o.idCursor = from + w.count;
      return { record: { t: 'ids', upTo: o.idCursor }, answer: { ...plain, version: from } };
    }
    case 'reserve':
      return { record: { t: 'reserve', counters: w.counters }, answer: plain };
    case 'noted':
      return { record: o.noted.length > 0 ? { t: 'noted', txs: o.noted.splice(0) } : null, answer: plain };
    case 'final':
      return { record: state.final ? null : { t: 'final' }, answer: plain };
  }
}

function firstAnswer(w: Work, o: Outcome): Omit<WorkAnswer, 'at'> {
  if ((w.t === 'commit' || w.t === 'prepare') && !o.commit)
    throw new NxnwError('ABORTED', `transaction ${w.tx} was aborted before; nothing was committed, begin it again`);
  return { version: o.version, commit: o.commit, answers: o.answers };
}
