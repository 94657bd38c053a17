import type { IndexKey, Indexer } from '../shards/types.js';
import { encodeString } from './bytes.js';
import { encodeKey } from './keys.js';
import { keyOf } from './messages.js';
import { entityCodec } from './proto.js';
import type { EntityMessage, ValueMessage } from './proto.js';
import { encodeValue, valueLength } from './values.js';

/**
 * The built-in indexes. Kind index: part = namespace and kind, key = entity key. Property index: part = namespace, kind
 * and property path, key = value and entity key. An array has a row for each distinct element, an embedded entity rows
 * for its properties under `outer.inner`; what is excluded from indexes, and an empty array, has none.
 */
export function kindPart(namespace: string, kind: string): Buffer {
  return Buffer.concat([encodeString(namespace), encodeString(kind)]);
}

export function propertyPart(namespace: string, kind: string, property: string): Buffer {
  return Buffer.concat([encodeString(namespace), encodeString(kind), encodeString(property)]);
}

/** Splits the key of a property index row. */
export function splitPropertyRow(rowKey: Buffer): { readonly value: Buffer; readonly key: Buffer } {
  const n = valueLength(rowKey);
  return { value: rowKey.subarray(0, n), key: rowKey.subarray(n) };
}

type Visit = (property: string, value: ValueMessage) => void;

function visitValue(property: string, v: ValueMessage, visit: Visit): void {
  if (v.excludeFromIndexes) return;
  if (v.valueType === 'arrayValue')
    for (const element of v.arrayValue?.values ?? []) visitValue(property, element, visit);
  else if (v.valueType === 'entityValue') visitProperties(`${property}.`, v.entityValue, visit);
  else visit(property, v);
}

function visitProperties(prefix: string, entity: EntityMessage | null, visit: Visit): void {
  for (const [name, v] of Object.entries(entity?.properties ?? {})) visitValue(prefix + name, v, visit);
}

/**
 * Encoded indexed values of an entity by property path, ascending and without duplicates; only of the properties in
 * `wanted` if it is given.
 */
export function indexedValues(entity: EntityMessage, wanted?: ReadonlySet<string>): Map<string, Buffer[]> {
  const found = new Map<string, Buffer[]>();
  visitProperties('', entity, (property, v) => {
    if (wanted && !wanted.has(property)) return;
    const value = encodeValue(v);
    if (value === null) return;
    const values = found.get(property);
    if (values) values.push(value);
    else found.set(property, [value]);
  });
  for (const [property, values] of found) if (values.length > 1) found.set(property, sortedDistinct(values));
  return found;
}

function sortedDistinct(values: Buffer[]): Buffer[] {
  const sorted = values.sort((a, b) => a.compare(b));
  return sorted.filter((v, i) => i === 0 || !sorted[i - 1]?.equals(v));
}

/** The index rows of a serialised Entity whose key is complete and normalised. */
export const indexer: Indexer = (bytes) => {
  const entity = entityCodec.decode(bytes);
  if (!entity.key) return [];
  const key = keyOf(entity.key);
  const kind = key.path.at(-1)?.kind ?? '';
  const keyBytes = encodeKey(key);
  const rows: IndexKey[] = [{ part: kindPart(key.namespace, kind), key: keyBytes }];
  for (const [property, values] of indexedValues(entity)) {
    const part = propertyPart(key.namespace, kind, property);
    for (const value of values) rows.push({ part, key: Buffer.concat([value, keyBytes]) });
  }
  return rows.sort((a, b) => a.part.compare(b.part) || a.key.compare(b.key));
};
