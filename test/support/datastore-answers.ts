import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import { keyMessage } from '@nxnw/platform/datastore/messages';
import type { EntityMessage, Int64, KeyMessage, TimestampMessage } from '@nxnw/platform/datastore/proto';
import { key, value } from './datastore-values.js';

/** Answers of the Datastore API as far as tests read them. */
export interface Result {
  entity: EntityMessage;
  version: Int64;
  createTime: TimestampMessage | null;
  updateTime: TimestampMessage | null;
}
export interface Lookup {
  found: Result[];
  missing: Result[];
  deferred: KeyMessage[];
  transaction: Buffer;
}
export interface MutationResult {
  key: KeyMessage | null;
  version: Int64;
  createTime: TimestampMessage | null;
  updateTime: TimestampMessage | null;
  conflictDetected: boolean;
}
export interface Commit {
  mutationResults: MutationResult[];
  commitTime: TimestampMessage | null;
}

/** Key of an entity of kind K. */
export const K = (name: string) => keyMessage(key('', { kind: 'K', name }));
export const entity = (name: string, n: number) => ({ key: K(name), properties: { n: value.int(n) } });

/** CommitRequest.Mode */
export const TRANSACTIONAL = 1;
export const NON_TRANSACTIONAL = 2;

/** The call is refused with this code and a message like this. */
export const fails = (work: Promise<unknown>, code: status, message: RegExp) =>
  assert.rejects(work, (e: { code?: number; message: string }) => {
    assert.equal(status[e.code ?? -1], status[code], e.message);
    assert.match(e.message, message);
    return true;
  });
