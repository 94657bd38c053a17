import type { Position, RowImage, ShardId } from '../shards/types.js';

/** What put-if-absent found. `held` carries the bytes that the slot holds (own or another's: compare). */
export type AppendOutcome = { readonly won: true } | { readonly won: false; readonly held: Buffer };

/**
 * Slots: the log's one atomic primitive (C2, C6). Every call may throw UNAVAILABLE, which for `append` means
 * "unknown": the bytes may be held now, later or never. No driver retries an append with other bytes.
 */
export interface Slots {
  /** Put-if-absent of one slot, durable when it answers. */
  append(shard: ShardId, at: Position, bytes: Buffer): Promise<AppendOutcome>;
  /**
   * Put-if-absent of several slots (none of them 0) of one segment in one round: true = all of them were absent and hold
   * their bytes now, durably. False = at least one was held; others may hold their bytes: go on one by one.
   */
  appendRun(
    shard: ShardId,
    epoch: number,
    run: readonly { readonly slot: number; readonly bytes: Buffer }[],
  ): Promise<boolean>;
  /** Linearizable read of one slot. */
  read(shard: ShardId, at: Position): Promise<Buffer | null>;
  /** Linearizable: the highest held slot of a segment, or null if the segment holds nothing. */
  last(shard: ShardId, epoch: number): Promise<number | null>;
  /** Held slots of a segment from `from` on, ascending, at most `limit` (linearizable at its start). */
  scan(shard: ShardId, epoch: number, from: number, limit: number): Promise<{ slot: number; bytes: Buffer }[]>;
  /** Highest segment that holds a START, or null. */
  lastEpoch(shard: ShardId): Promise<number | null>;
  /** Removes slots 1..below-1 of a segment; the caller keeps START, terminals and the newest entry (C1). */
  truncate(shard: ShardId, epoch: number, below: number): Promise<void>;
  /** Large payloads (C15): plain durable writes under (nonce, i). */
  putChunk(shard: ShardId, nonce: string, i: number, bytes: Buffer): Promise<void>;
  getChunk(shard: ShardId, nonce: string, i: number): Promise<Buffer | null>;
  dropChunks(shard: ShardId, nonce: string): Promise<void>;
}

/** An index row: present or absent with the version that made it so. The entity's key is the end of `key`. */
export interface IndexRow {
  readonly part: Buffer;
  readonly key: Buffer;
  readonly version: number;
  readonly present: boolean;
}

/** A cell of the shard's own: checkpoint, applied digest, load progress. Higher version wins. */
export interface Cell {
  readonly name: string;
  readonly version: number;
  readonly value: Buffer;
}

export interface RowRange {
  /** Inclusive; null = from the beginning. */
  readonly from: Buffer | null;
  /** Exclusive; null = to the end. */
  readonly to: Buffer | null;
  readonly order: 'asc' | 'desc';
}

/**
 * Payload: rows with a version as their timestamp. Putting is idempotent and commutative: of two versions of a row the
 * higher stays, in whatever order they arrive (C8). Rows of a deleted entity stay as records until pruned (C9).
 * `generation` separates the tables of one load from those of a later one (C10).
 */
export interface Payload {
  putRows(shard: ShardId, generation: number, rows: readonly RowImage[], index: readonly IndexRow[]): Promise<void>;
  /** In the order of the keys; null = never written or pruned. A deleted entity answers its record (entity null). */
  getRows(shard: ShardId, generation: number, keys: readonly Buffer[]): Promise<(RowImage | null)[]>;
  /** Every row, records of deleted entities included, in key order, as a stream with bounded memory. */
  scanRows(shard: ShardId, generation: number, range: RowRange): AsyncIterable<RowImage>;
  /** Index rows of one part, absent ones included. */
  scanIndex(shard: ShardId, generation: number, part: Buffer, range: RowRange): AsyncIterable<IndexRow>;
  /** Every index row of the shard, for verification. */
  scanAllIndexes(shard: ShardId, generation: number): AsyncIterable<IndexRow>;
  /** Removes records of deleted entities and absent index rows older than `beforeUs`. Answers how many. */
  prune(shard: ShardId, generation: number, beforeUs: number): Promise<number>;
  putCell(shard: ShardId, cell: Cell): Promise<void>;
  getCell(shard: ShardId, name: string): Promise<Cell | null>;
  /** Drops the tables of a generation (a restarted load). */
  dropGeneration(shard: ShardId, generation: number): Promise<void>;
}

export interface StoreCapabilities {
  readonly kind: string;
  readonly maxEntryBytes: number;
  readonly chunkBytes: number;
  readonly maxBatchBytes: number;
}

/** A platform's store: both capabilities, one driver each (`lmdb`, `cassandra`). */
export interface Store extends Slots, Payload {
  readonly capabilities: StoreCapabilities;
  /** Prepares what the application's shards need (tables, directories); can be repeated. */
  ensureApp(app: string, shards: number): Promise<void>;
  /** Refuses, with a clear error, a store that is not durable and linearizable per slot (C6). */
  checkSafety(): Promise<void>;
  /** Bytes free for data on the store's smallest node, or null if the store cannot tell. */
  freeBytes(): Promise<number | null>;
  close(): Promise<void>;
}
