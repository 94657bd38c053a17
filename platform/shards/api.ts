import type { Position, ReadSet, RowImage, ShardId, TxId, Mutation, MutationAnswer, Authority } from './types.js';
import type { HandoverFacts } from './control.js';
import type { SlotImage } from './log.js';

/**
 * RPC methods `shards.<name>` of every datastore process, for its platform's other processes and, after a join, for the
 * other platform's. A process that does not hold the shard answers NOT_OWNER; one whose log has passed the shard on
 * answers MOVED with the proof. Neither forwards: the process that took the client's request does, so hops are counted
 * in one place and epochs only rise.
 */
export interface ShardRequest {
  readonly shard: ShardId;
  /** Highest epoch that the caller has seen in a proof. */
  readonly epoch: number;
  readonly hops: number;
  readonly deadlineMs: number;
}

export interface LookupRequest extends ShardRequest {
  readonly keys: readonly Buffer[];
  readonly atUs: number | null;
}

export interface QueryRequest extends ShardRequest {
  readonly query: Buffer;
  readonly atUs: number | null;
}

export interface CommitOneRequest extends ShardRequest {
  readonly tx: TxId;
  readonly beganUs: number;
  readonly mutations: readonly Mutation[];
  readonly reads: ReadSet;
}

export interface PrepareRequest extends CommitOneRequest {
  readonly participants: readonly ShardId[];
}

export interface DecideRequest extends ShardRequest {
  readonly tx: TxId;
  readonly beganUs: number;
  readonly commit: boolean;
  readonly version: number;
  readonly participants: readonly ShardId[];
}

export type NoteRequest = Omit<DecideRequest, 'participants'>;

/** Asked of the first participant's owner by another one whose PREPARE is undecided for long. */
export interface TxStatusRequest extends ShardRequest {
  readonly tx: TxId;
  readonly beganUs: number;
  readonly participants: readonly ShardId[];
}

export type TxStatusAnswer =
  { readonly decided: false } | { readonly decided: true; readonly commit: boolean; readonly version: number };

export interface WriteAnswer {
  readonly version: number;
  readonly commit: boolean;
  readonly answers: readonly MutationAnswer[];
  readonly authority: Authority;
}

export interface IdsRequest extends ShardRequest {
  readonly count: number;
}

export interface ReserveRequest extends ShardRequest {
  readonly counters: readonly number[];
}

/** What a replica begins with. */
export interface LoadBegin {
  readonly p0: Position;
  readonly p0Hash: Buffer;
  readonly p0TsUs: number;
  readonly idFloor: number;
  readonly reserved: readonly number[];
  readonly authority: string;
  /** The START of p0's segment: names the platform (C7). */
  readonly start: SlotImage;
  readonly entities: number;
  readonly bytes: number;
}

export interface ScanRequest extends ShardRequest {
  /** Last key of the previous page, exclusive; null = from the beginning. */
  readonly after: Buffer | null;
  readonly maxBytes: number;
  readonly maxRows: number;
}

export interface ScanAnswer {
  readonly rows: readonly RowImage[];
  /** Last key read (a deleted entity's record too), where the next page goes on. */
  readonly last: Buffer | null;
  readonly done: boolean;
  /** The log's end after the page was read: no row of it is newer. */
  readonly end: Position;
  /** Mean commit latency of this owner in the last seconds, ms; 0 = no commits. */
  readonly commitMs: number;
}

/** Entries behind a position; empty when there was none for a while (a heartbeat). */
export interface FollowBatch {
  readonly images: readonly SlotImage[];
  readonly end: Position;
  readonly nowUs: number;
  /** The position asked for lies below the floor: load again (C4). */
  readonly reload: boolean;
}

/** The log behind `from`; `durable` = what the asking platform has durable (the log is kept for it from there on). */
export interface PullRequest extends ShardRequest {
  readonly platform: string;
  readonly from: Position;
  readonly durable: Position;
}

export interface ConfirmRequest extends ShardRequest {
  readonly through: Position;
  readonly hash: Buffer;
  readonly digest: string;
}

export type ConfirmAnswer = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Fields of a MOVED error: the proof that the shard's log names the other platform. */
export interface MovedProof {
  readonly platform: string;
  readonly epoch: number;
  readonly hash: Buffer | null;
}

/** The other platform has appended MOVE: here is the slot, open the next segment (C14). */
export interface OpenRequest extends ShardRequest {
  readonly image: SlotImage;
  /** What the giving side knows of the hand-over; the receiving side adds its START and first answer. */
  readonly facts: HandoverFacts;
}

export interface HandOverRequest extends ShardRequest {
  readonly to: string;
  readonly stallBudgetMs: number;
}

/** Counters from (inclusive) to (exclusive) that nobody else is given, without the reserved ones. */
export interface IdBlock {
  readonly from: number;
  readonly to: number;
  readonly skip: readonly number[];
}
