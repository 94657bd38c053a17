import type { ValueMessage } from '../proto.js';

/** google.datastore.v1.Query and its parts as protobufjs decodes them; enums are numbers. */
export interface QueryMessage {
  projection: { property: PropertyReference | null }[];
  kind: { name: string }[];
  filter: FilterMessage | null;
  order: { property: PropertyReference | null; direction: number }[];
  distinctOn: PropertyReference[];
  startCursor: Buffer;
  endCursor: Buffer;
  offset: number;
  limit: { value: number } | null;
  findNearest: object | null;
}

export interface PropertyReference {
  name: string;
}

export interface FilterMessage {
  compositeFilter: { op: number; filters: FilterMessage[] } | null;
  propertyFilter: { property: PropertyReference | null; op: number; value: ValueMessage | null } | null;
}

export const DESCENDING = 2;

export const COMPOSITE = { AND: 1, OR: 2 } as const;

/** PropertyFilter.Operator */
export const OPERATOR = {
  LESS_THAN: 1,
  LESS_THAN_OR_EQUAL: 2,
  GREATER_THAN: 3,
  GREATER_THAN_OR_EQUAL: 4,
  EQUAL: 5,
  IN: 6,
  NOT_EQUAL: 9,
  HAS_ANCESTOR: 11,
  NOT_IN: 13,
} as const;

/** QueryResultBatch.MoreResultsType */
export const MORE = { NOT_FINISHED: 1, AFTER_LIMIT: 2, NONE: 3, AFTER_CURSOR: 4 } as const;

/** EntityResult.ResultType */
export const RESULT = { FULL: 1, PROJECTION: 2, KEY_ONLY: 3 } as const;
