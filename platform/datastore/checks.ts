import { encodeKey } from './keys.js';
import type { Key, Partition, PathElement } from './keys.js';
import { API_LIMITS } from './limits.js';
import { elementOf, hasId } from './messages.js';
import { fromBigInt, toBigInt } from './proto.js';
import type { EntityMessage, KeyMessage, PartitionMessage, ValueMessage } from './proto.js';
import { invalid } from './refuse.js';

/**
 * Checks requests against the public API's rules and normalises them in place: partition ids get the request's project,
 * timestamps are rounded down to microseconds. Errors are INVALID_ARGUMENT and name the place.
 */
export interface CheckContext {
  readonly project: string;
  readonly database: string;
}

const RESERVED = /^__.*__$/s;
const PARTITION = /^[A-Za-z\d.\-_]{0,100}$/;
/** Seconds of 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z. */
const FIRST_SECOND = -62_135_596_800n;
const LAST_SECOND = 253_402_300_799n;
/** The meaning of values that a projection made; not for writing. */
const MEANING_OF_PROJECTION = 18;

const bytesOf = (s: string): number => Buffer.byteLength(s, 'utf8');
const shortened = (s: string): string => JSON.stringify(s.length > 80 ? `${s.slice(0, 80)}…` : s);

/** The partition of a key or query, with defaults from the request. */
export function checkPartition(m: PartitionMessage | null, context: CheckContext, what: string): Partition {
  const { projectId = '', databaseId = '', namespaceId = '' } = m ?? {};
  const { project, database } = context;
  if (projectId !== '' && projectId !== project)
    throw invalid(
      `${what} belongs to project ${shortened(projectId)}, but the request is for project ${shortened(project)}`,
    );
  if (databaseId !== '' && databaseId !== database)
    throw invalid(
      `${what} belongs to database ${shortened(databaseId)}, but the request is for database ${shortened(database)}`,
    );
  if (!PARTITION.test(namespaceId))
    throw invalid(`${what} has namespace ${shortened(namespaceId)}; allowed are at most 100 of A-Z a-z 0-9 . - _`);
  return { project, database, namespace: namespaceId };
}

function checkName(text: string, what: string): void {
  if (text === '') throw invalid(`${what} must not be empty`);
  if (bytesOf(text) > API_LIMITS.nameBytes)
    throw invalid(`${what} ${shortened(text)} has ${bytesOf(text)} bytes; at most ${API_LIMITS.nameBytes}`);
}

/** A path whose last identifier may be missing; then `last` is its kind. */
export interface CheckedKey extends Partition {
  readonly parents: readonly PathElement[];
  readonly last: { readonly kind: string; readonly element: PathElement | null };
}

export type KeyUse = 'read' | 'write';

/** Checks and normalises a key that may be incomplete. */
export function checkAnyKey(m: KeyMessage | null, context: CheckContext, what: string, use: KeyUse): CheckedKey {
  if (!m) throw invalid(`${what} is missing`);
  const partition = checkPartition(m.partitionId, context, what);
  const { length } = m.path;
  if (length === 0 || length > API_LIMITS.keyPathElements)
    throw invalid(`${what} has ${length} path elements; allowed are 1 to ${API_LIMITS.keyPathElements}`);
  const reserved = [partition.namespace, ...m.path.flatMap((e) => [e.kind, e.name])].find((s) => RESERVED.test(s));
  if (use === 'write' && reserved !== undefined)
    throw invalid(`${what} is reserved: ${shortened(reserved)} begins and ends with two underscores`);
  const parents: PathElement[] = [];
  m.path.forEach((e, i) => {
    checkName(e.kind, `the kind in path element ${i} of ${what}`);
    if (e.idType === 'name') checkName(e.name, `the name in path element ${i} of ${what}`);
    if (e.idType === 'id' && !hasId(e)) throw invalid(`the id in path element ${i} of ${what} must not be 0`);
    if (i === length - 1) return;
    if (e.idType === undefined) throw invalid(`path element ${i} of ${what} is incomplete: only the last may be`);
    parents.push(elementOf(e));
  });
  const tail = m.path[length - 1];
  m.partitionId = { projectId: partition.project, databaseId: partition.database, namespaceId: partition.namespace };
  return {
    ...partition,
    parents,
    last: { kind: tail?.kind ?? '', element: tail?.idType === undefined ? null : elementOf(tail) },
  };
}

export function completeKey(k: CheckedKey, id: number): Key {
  const { project, database, namespace, parents, last } = k;
  return { project, database, namespace, path: [...parents, last.element ?? { kind: last.kind, id: BigInt(id) }] };
}

/** Checks and normalises a complete key. */
export function checkKey(m: KeyMessage | null, context: CheckContext, what: string, use: KeyUse): Key {
  const checked = checkAnyKey(m, context, what, use);
  if (checked.last.element === null) throw invalid(`${what} is incomplete: it has neither an id nor a name`);
  return checkKeySize(completeKey(checked, 0), what);
}

export function checkKeySize(key: Key, what: string): Key {
  const { length } = encodeKey(key);
  if (length > API_LIMITS.keyBytes) throw invalid(`${what} has ${length} bytes; at most ${API_LIMITS.keyBytes}`);
  return key;
}

interface Counter {
  indexed: number;
}

function checkTimestamp(v: ValueMessage, where: string): void {
  const t = v.timestampValue;
  if (!t) return;
  const seconds = toBigInt(t.seconds);
  if (seconds < FIRST_SECOND || seconds > LAST_SECOND || t.nanos < 0 || t.nanos > 999_999_999)
    throw invalid(`${where} is a timestamp of ${seconds} s and ${t.nanos} ns; allowed are the years 1 to 9999`);
  t.nanos -= t.nanos % 1000;
}

function checkBytes(bytes: number, v: ValueMessage, where: string): void {
  const allowed = v.excludeFromIndexes ? API_LIMITS.unindexedValueBytes : API_LIMITS.indexedValueBytes;
  if (bytes <= allowed) return;
  throw invalid(
    v.excludeFromIndexes
      ? `the value of ${where} is longer than ${allowed} bytes`
      : `the value of ${where} is longer than ${allowed} bytes; set exclude_from_indexes for longer ones (at most ${API_LIMITS.unindexedValueBytes})`,
  );
}

function checkGeoPoint(v: ValueMessage, where: string): void {
  const { latitude = 0, longitude = 0 } = v.geoPointValue ?? {};
  if (!(Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180))
    throw invalid(`${where} is a geo point at ${latitude}, ${longitude}; latitude is -90 to 90, longitude -180 to 180`);
}

function checkValue(v: ValueMessage, context: CheckContext, path: string, depth: number, counter: Counter): void {
  const where = `property ${path}`;
  if (v.meaning === MEANING_OF_PROJECTION)
    throw invalid(`${where} has meaning ${MEANING_OF_PROJECTION}, which only values of projection queries have`);
  switch (v.valueType) {
    case undefined:
      throw invalid(`${where} has no value`);
    case 'timestampValue':
      checkTimestamp(v, where);
      break;
    case 'stringValue':
      checkBytes(bytesOf(v.stringValue), v, where);
      break;
    case 'blobValue':
      checkBytes(v.blobValue.length, v, where);
      break;
    case 'geoPointValue':
      checkGeoPoint(v, where);
      break;
    case 'keyValue':
      checkKey(v.keyValue, context, `the key of ${where}`, 'read');
      break;
    case 'entityValue':
      checkNested(v.entityValue, context, path, depth + 1, v.excludeFromIndexes ? { indexed: 0 } : counter);
      return;
    case 'arrayValue':
      if (v.excludeFromIndexes)
        throw invalid(`exclude_from_indexes cannot be set on a list value (${where}); set it on the elements`);
      if (v.meaning !== 0) throw invalid(`meaning cannot be set on a list value (${where})`);
      for (const e of v.arrayValue?.values ?? []) {
        if (e.valueType === 'arrayValue') throw invalid(`list_value cannot contain a list_value (${where})`);
        checkValue(e, context, path, depth, counter);
      }
      return;
    case 'nullValue':
    case 'booleanValue':
    case 'integerValue':
    case 'doubleValue':
      break;
  }
  if (!v.excludeFromIndexes) counter.indexed++;
}

function checkNested(
  e: EntityMessage | null,
  context: CheckContext,
  path: string,
  depth: number,
  counter: Counter,
): void {
  if (depth > API_LIMITS.nesting)
    throw invalid(`property ${path} nests entities deeper than ${API_LIMITS.nesting} levels`);
  if (e?.key && e.key.path.length > 0) checkAnyKey(e.key, context, `the key of property ${path}`, 'read');
  checkProperties(e, context, `${path}.`, depth, counter);
}

function checkProperties(
  e: EntityMessage | null,
  context: CheckContext,
  prefix: string,
  depth: number,
  counter: Counter,
): void {
  for (const [name, v] of Object.entries(e?.properties ?? {})) {
    checkName(name, 'a property name');
    if (RESERVED.test(name))
      throw invalid(`the property name ${shortened(name)} is reserved: it begins and ends with two underscores`);
    checkValue(v, context, prefix + name, depth, counter);
  }
}

/** Checks and normalises an entity's properties (its key is checked apart). */
export function checkEntity(e: EntityMessage, context: CheckContext): void {
  const counter = { indexed: 0 };
  checkProperties(e, context, '', 0, counter);
  if (counter.indexed > API_LIMITS.indexedValues)
    throw invalid(`the entity has ${counter.indexed} indexed property values; at most ${API_LIMITS.indexedValues}`);
}

/** A key message's last element gets its allocated id. */
export function setId(m: KeyMessage, id: number): void {
  const tail = m.path.at(-1);
  if (!tail) return;
  tail.id = fromBigInt(BigInt(id));
}
