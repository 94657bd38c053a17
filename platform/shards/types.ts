/** A position in a shard's log: the owner epoch (segment) and the slot in it. Slot 0 of a segment is its START. */
export interface Position {
  readonly epoch: number;
  readonly slot: number;
}

export function comparePositions(a: Position, b: Position): number {
  return a.epoch - b.epoch || a.slot - b.slot;
}

/** `2.17` */
export function showPosition(p: Position): string {
  return `${p.epoch}.${p.slot}`;
}

/** One shard of an application: slice `index` of `app`'s token range. */
export interface ShardId {
  readonly app: string;
  readonly index: number;
}

/** `shop/3` */
export function shardName(s: ShardId): string {
  return `${s.app}/${s.index}`;
}

/**
 * A row as the log and the stores carry it. `key` is the entity's order-preserving key encoding (datastore/keys).
 * `entity` is the serialised google.datastore.v1.Entity, or null for a deleted entity. Times and version are
 * microseconds since 1970 (below 2^53); the version is the commit's timestamp.
 */
export interface RowImage {
  readonly key: Buffer;
  readonly version: number;
  readonly createdUs: number;
  readonly updatedUs: number;
  readonly entity: Buffer | null;
}

/** What a commit answered for one mutation; part of the log entry, so that a repeated commit gets the same answer. */
export interface MutationAnswer {
  readonly version: number;
  readonly createdUs: number;
  readonly updatedUs: number;
  readonly conflictDetected: boolean;
}

export type MutationOp = 'insert' | 'update' | 'upsert' | 'delete';

export interface Mutation {
  readonly op: MutationOp;
  readonly key: Buffer;
  /** Group key (datastore/keys), the prefix of `key` that names the entity group. */
  readonly group: Buffer;
  readonly kind: string;
  /** Serialised Entity with a complete key; null for delete. */
  readonly entity: Buffer | null;
  /** Expected version of the stored entity (0 = absent), or null for no expectation. */
  readonly baseVersion: number | null;
  /** What a wrong base version does: `server` keeps the stored entity and answers conflictDetected; `fail` aborts. */
  readonly onConflict: 'server' | 'fail';
}

/** What a transaction has read in one shard; validated at commit against everything appended after `at`. */
export interface ReadSet {
  /** Keys looked up (present or absent), each with the log position at which it was read. */
  readonly keys: readonly { readonly key: Buffer; readonly at: Position }[];
  /** Queries: every write to `kind` (null = any kind) in `group` (null = any group of the shard) after `at` conflicts. */
  readonly ranges: readonly { readonly group: Buffer | null; readonly kind: string | null; readonly at: Position }[];
}

/** Hex of 16 random bytes; unique for ever. */
export type TxId = string;

export interface ShardWrites {
  readonly shard: ShardId;
  readonly mutations: readonly Mutation[];
  readonly reads: ReadSet;
}

/** A commit, by its home process. `tx` null = one that is not transactional (then `shards` has exactly one element). */
export interface CommitRequest {
  readonly app: string;
  readonly tx: TxId | null;
  /** Microseconds at which the transaction began, by its home's clock; 0 without a transaction. */
  readonly beganUs: number;
  readonly shards: readonly ShardWrites[];
}

export interface CommitAnswer {
  readonly versionUs: number;
  /** One answer for each mutation, in the request's order, shard after shard. */
  readonly answers: readonly (readonly MutationAnswer[])[];
}

/** Where an answer comes from; observers check that epochs never fall (two authorities would show here). */
export interface Authority {
  readonly platform: string;
  readonly shard: ShardId;
  readonly at: Position;
}

export interface LookupAnswer {
  /** In the order of the keys; null = absent. */
  readonly rows: readonly (RowImage | null)[];
  readonly authority: Authority;
}

export interface QueryAnswer {
  /** Encoded results; the query engine (datastore/query) made and reads them. */
  readonly batch: Buffer;
  readonly authority: Authority;
}

/**
 * What the API front asks of shards, wherever their owners are: this process, another one, or another platform.
 * Every call has an absolute deadline in milliseconds since 1970. Errors are NxnwErrors:
 * `ABORTED` (conflict; nothing was or will be committed), `UNAVAILABLE` (the outcome may be unknown),
 * `RESOURCE_EXHAUSTED` (queue full, nothing done), `DEADLINE_EXCEEDED`, `ALREADY_EXISTS`, `NOT_FOUND`,
 * `FAILED_PRECONDITION`, `INVALID_ARGUMENT`.
 */
export interface ShardClient {
  /** Number of shards of the application (a power of two); NOT_FOUND for an application that the platform has not. */
  shardCount(app: string): Promise<number>;
  lookup(shard: ShardId, keys: readonly Buffer[], atUs: number | null, deadlineMs: number): Promise<LookupAnswer>;
  /** Runs an encoded shard query (datastore/query) at one position T: `atUs` or now if null. */
  query(shard: ShardId, query: Buffer, atUs: number | null, deadlineMs: number): Promise<QueryAnswer>;
  /** One shard: one append. Several: the cross-group protocol (C13). */
  commit(request: CommitRequest, deadlineMs: number): Promise<CommitAnswer>;
  /** `count` fresh ids (int64 > 0, below 2^53), never given before and never to be given again. */
  allocateIds(app: string, count: number, deadlineMs: number): Promise<number[]>;
  /** Makes sure that the ids are never given by allocateIds. */
  reserveIds(app: string, ids: readonly number[], deadlineMs: number): Promise<void>;
}

/** One index row's place: `part` names the index (kind and property), `key` orders values, then entity keys. */
export interface IndexKey {
  readonly part: Buffer;
  readonly key: Buffer;
}

/** Pure: the index rows of an entity (serialised Entity). Sorted, without duplicates. */
export type Indexer = (entity: Buffer) => IndexKey[];

/** An index row met by a scan. Rows that are absent now but were present at T are delivered too: check the entity. */
export interface IndexHit {
  readonly key: Buffer;
  readonly part: Buffer;
}

/** A shard's rows at one position T, given to the query engine by the owner. */
export interface ShardReader {
  readonly atUs: number;
  /** Rows at T in the order of the keys; null = absent at T. */
  get(keys: readonly Buffer[]): Promise<(RowImage | null)[]>;
  /**
   * Index rows of one part whose key is >= from and < to (null = open), ascending or descending. A superset of what
   * holds at T: the engine must check that the entity has that index row at T.
   */
  scanIndex(part: Buffer, from: Buffer | null, to: Buffer | null, order: 'asc' | 'desc'): AsyncIterable<IndexHit>;
  /** Entities at T whose key is >= from and < to, in key order (kindless queries, ancestor scans). */
  scanEntities(from: Buffer | null, to: Buffer | null, order: 'asc' | 'desc'): AsyncIterable<RowImage>;
}

/** Pure query engine given to the owner: runs an encoded shard query against a reader, answers an encoded batch. */
export type QueryEngine = (query: Buffer, reader: ShardReader, signal: AbortSignal) => Promise<Buffer>;
