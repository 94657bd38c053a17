/**
 * The public API's limits, by https://cloud.google.com/datastore/docs/concepts/limits, and this door's own bounds. The
 * current page names no bound on the mutations of a commit (older ones: 500); the size of the request bounds them.
 */
export const API_LIMITS = {
  requestBytes: 10 << 20,
  entityBytes: (1 << 20) - 4,
  unindexedValueBytes: (1 << 20) - 89,
  indexedValueBytes: 1500,
  nameBytes: 1500,
  keyBytes: 6 << 10,
  keyPathElements: 100,
  nesting: 20,
  indexedValues: 20_000,
  lookupKeys: 1000,
  idKeys: 500,
  transactionSeconds: 270,
  transactionIdleSeconds: 60,
} as const;

/** Bounds of one door. Everything above is refused with RESOURCE_EXHAUSTED, nothing waits without a deadline. */
export interface DoorLimits {
  /** Requests being worked on. @default 512 */
  readonly maxInFlight: number;
  /** Bytes of those requests. @default 128 MiB */
  readonly maxInFlightBytes: number;
  /** Deadline of a request that brings none, and the longest that counts. @default 60000 */
  readonly maxDeadlineMs: number;
  /** Transactions open at once. @default 10000 */
  readonly maxOpenTransactions: number;
  /** Ended transactions that are kept, with their answers for a repeated Commit. @default 50000 */
  readonly maxKeptAnswers: number;
  /** Bytes of those answers. @default 64 MiB */
  readonly maxKeptBytes: number;
  /** Keys and ranges that one transaction may have read. @default 20000 */
  readonly maxReadSet: number;
  /** Results of one RunQuery answer. @default 300 */
  readonly batchResults: number;
  /** Bytes of entities in one RunQuery answer, after the first entity. @default 1 MiB */
  readonly batchBytes: number;
  /** Bytes of entities in one Lookup answer; the other keys are deferred. @default 3 MiB */
  readonly lookupBytes: number;
  /** How long one RunQuery works before it answers what it has, NOT_FINISHED. @default 10000 */
  readonly queryMs: number;
  /** Bound on the difference of the machines' clocks: reads over several shards are at now + this. @default 0 */
  readonly clockSkewUs: number;
}

export const DOOR_LIMITS: DoorLimits = {
  maxInFlight: 512,
  maxInFlightBytes: 128 << 20,
  maxDeadlineMs: 60_000,
  maxOpenTransactions: 10_000,
  maxKeptAnswers: 50_000,
  maxKeptBytes: 64 << 20,
  maxReadSet: 20_000,
  batchResults: 300,
  batchBytes: 1 << 20,
  lookupBytes: 3 << 20,
  queryMs: 10_000,
  clockSkewUs: 0,
};
