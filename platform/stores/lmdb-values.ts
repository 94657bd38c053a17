import type { RowImage } from '../shards/types.js';
import type { WriteTxn } from './lmdb-env.js';
import * as keys from './lmdb-keys.js';
import { checkKey, checkSize, MAX_ENTITY_BYTES } from './limits.js';
import type { IndexRow } from './port.js';

/** A row, index row or cell as LMDB gets it: a value with its version, and the pointers of a long key. */
export interface Put {
  readonly pointers: readonly Buffer[];
  readonly key: Buffer;
  readonly value: Buffer;
}

/** A value begins with its version (8 bytes) and one byte: 1 present, 0 a deletion record or an absent index row. */
export const HEADER = 9;

export function header(version: number, present: 0 | 1): Buffer {
  const head = Buffer.alloc(HEADER);
  head.writeDoubleBE(version, 0);
  head[8] = present;
  return head;
}

export function isOldRecord(value: Buffer, beforeUs: number): boolean {
  return value.length >= HEADER && value[8] === 0 && value.readDoubleBE(0) < beforeUs;
}

export function removeOld(txn: WriteTxn, key: Buffer, beforeUs: number): boolean {
  const now = txn.peek(key);
  if (now === null || !isOldRecord(now, beforeUs)) return false;
  txn.remove(key);
  return true;
}

/** Compares versions inside the transaction: of two versions the higher stays, an equal one is the same (C8). */
export function putNewer(txn: WriteTxn, put: Put): void {
  const now = txn.peek(put.key);
  const version = put.value.readDoubleBE(0);
  if (now !== null && now.readDoubleBE(0) >= version) return;
  for (const pointer of put.pointers) if (txn.peek(pointer) === null) txn.put(pointer, POINTER);
  txn.put(put.key, put.value);
}

const POINTER = Buffer.from([0]);

export function rowPuts(generation: number, rows: readonly RowImage[]): Put[] {
  const at = keys.level('rows', generation);
  return rows.map((row) => {
    checkKey('row key', row.key);
    checkSize('entity', row.entity?.length ?? 0, MAX_ENTITY_BYTES);
    const times = Buffer.alloc(16);
    times.writeDoubleBE(row.createdUs, 0);
    times.writeDoubleBE(row.updatedUs, 8);
    const { pointers, leaf } = keys.layout(at, row.key);
    const value = Buffer.concat([
      header(row.version, row.entity === null ? 0 : 1),
      times,
      row.entity ?? Buffer.alloc(0),
    ]);
    return { pointers, key: leaf, value };
  });
}

export function indexPuts(generation: number, index: readonly IndexRow[]): Put[] {
  const at = keys.level('index', generation);
  return index.map((row) => {
    checkKey('index part', row.part);
    checkKey('index key', row.key);
    const { pointers, leaf } = keys.layout(at, keys.indexKey(row.part, row.key));
    return { pointers, key: leaf, value: header(row.version, row.present ? 1 : 0) };
  });
}

export function rowOf(key: Buffer, value: Buffer): RowImage {
  return {
    key,
    version: value.readDoubleBE(0),
    createdUs: value.readDoubleBE(HEADER),
    updatedUs: value.readDoubleBE(HEADER + 8),
    entity: value[8] === 1 ? value.subarray(HEADER + 16) : null,
  };
}

export function indexRowOf(composite: Buffer, value: Buffer): IndexRow {
  const { part, key } = keys.splitIndexKey(composite);
  return { part, key, version: value.readDoubleBE(0), present: value[8] === 1 };
}
