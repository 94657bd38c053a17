import { answerCodec, requestCodec } from './proto.js';
import type { EntityMessage, Int64, KeyMessage, PartitionMessage, TimestampMessage } from './proto.js';
import type { QueryMessage } from './query/request.js';

/** Requests of google.datastore.v1.Datastore as protobufjs decodes them, and the codecs of its answers. */
interface ForProject {
  projectId: string;
  databaseId: string;
}

export interface TransactionOptionsMessage {
  mode?: 'readWrite' | 'readOnly' | undefined;
  readWrite: { previousTransaction: Buffer } | null;
  readOnly: { readTime: TimestampMessage | null } | null;
}

export interface ReadOptionsMessage {
  consistencyType?: 'readConsistency' | 'transaction' | 'newTransaction' | 'readTime' | undefined;
  transaction: Buffer;
  newTransaction: TransactionOptionsMessage | null;
}

export interface LookupRequest extends ForProject {
  readOptions: ReadOptionsMessage | null;
  keys: KeyMessage[];
  propertyMask: object | null;
}

export interface RunQueryRequest extends ForProject {
  partitionId: PartitionMessage | null;
  readOptions: ReadOptionsMessage | null;
  query: QueryMessage | null;
  gqlQuery: object | null;
  propertyMask: object | null;
  explainOptions: object | null;
}

export interface AggregationMessage {
  operator?: 'count' | 'sum' | 'avg' | undefined;
  count: { upTo: { value: Int64 } | null } | null;
  alias: string;
}

export interface RunAggregationQueryRequest extends ForProject {
  partitionId: PartitionMessage | null;
  readOptions: ReadOptionsMessage | null;
  aggregationQuery: { nestedQuery: QueryMessage | null; aggregations: AggregationMessage[] } | null;
  gqlQuery: object | null;
  explainOptions: object | null;
}

export interface BeginTransactionRequest extends ForProject {
  transactionOptions: TransactionOptionsMessage | null;
}

export interface RollbackRequest extends ForProject {
  transaction: Buffer;
}

export interface KeysRequest extends ForProject {
  keys: KeyMessage[];
}

export interface MutationMessage {
  operation?: 'insert' | 'update' | 'upsert' | 'delete' | undefined;
  insert: EntityMessage | null;
  update: EntityMessage | null;
  upsert: EntityMessage | null;
  delete: KeyMessage | null;
  conflictDetectionStrategy?: 'baseVersion' | 'updateTime' | undefined;
  baseVersion: Int64;
  updateTime: TimestampMessage | null;
  conflictResolutionStrategy: number;
  propertyMask: object | null;
  propertyTransforms: object[];
}

export interface CommitRequestMessage extends ForProject {
  mode: number;
  transactionSelector?: 'transaction' | 'singleUseTransaction' | undefined;
  transaction: Buffer;
  singleUseTransaction: TransactionOptionsMessage | null;
  mutations: MutationMessage[];
}

/** CommitRequest.Mode */
export const MODE = { UNSPECIFIED: 0, TRANSACTIONAL: 1, NON_TRANSACTIONAL: 2 } as const;

/** Mutation.ConflictResolutionStrategy */
export const STRATEGY = { UNSPECIFIED: 0, SERVER_VALUE: 1, FAIL: 3 } as const;

export const requests = {
  Lookup: requestCodec<LookupRequest>('LookupRequest'),
  RunQuery: requestCodec<RunQueryRequest>('RunQueryRequest'),
  RunAggregationQuery: requestCodec<RunAggregationQueryRequest>('RunAggregationQueryRequest'),
  BeginTransaction: requestCodec<BeginTransactionRequest>('BeginTransactionRequest'),
  Commit: requestCodec<CommitRequestMessage>('CommitRequest'),
  Rollback: requestCodec<RollbackRequest>('RollbackRequest'),
  AllocateIds: requestCodec<KeysRequest>('AllocateIdsRequest'),
  ReserveIds: requestCodec<KeysRequest>('ReserveIdsRequest'),
} as const;

export type Method = keyof typeof requests;

export const METHODS: readonly Method[] = [
  'Lookup',
  'RunQuery',
  'RunAggregationQuery',
  'BeginTransaction',
  'Commit',
  'Rollback',
  'AllocateIds',
  'ReserveIds',
];

const answers = Object.fromEntries(METHODS.map((m) => [m, answerCodec<unknown>(`${m}Response`)]));

export function encodeAnswer(method: Method, message: object): Buffer {
  return answers[method]?.encode(message) ?? Buffer.alloc(0);
}
