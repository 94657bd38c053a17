import type { RowImage } from '../../shards/types.js';
import { encodeBytes, inverted } from '../bytes.js';
import { indexedValues } from '../indexes.js';
import { kindOf } from '../keys.js';
import { entityCodec } from '../proto.js';
import type { Conjunct, ShardQuery } from './shard-query.js';

/**
 * The naive meaning of a shard query for one entity: is it a result, and where in the order. Scans only propose
 * candidates; this decides, so that a stale index row can never make a result (C11).
 */
export interface Evaluator {
  /** Position of the entity in the query's order, or null if it is no result (paging bounds are not looked at). */
  place(row: RowImage): Buffer | null;
}

type Values = ReadonlyMap<string, readonly Buffer[]>;

const within = (v: Buffer, r: { from: Buffer; to: Buffer }): boolean => v.compare(r.from) >= 0 && v.compare(r.to) < 0;

export function keyWithin(key: Buffer, c: { keyFrom: Buffer | null; keyTo: Buffer | null }): boolean {
  return (c.keyFrom === null || key.compare(c.keyFrom) >= 0) && (c.keyTo === null || key.compare(c.keyTo) < 0);
}

function matches(c: Conjunct, key: Buffer, values: Values): boolean {
  return (
    keyWithin(key, c) &&
    c.equals.every((e) => values.get(e.property)?.some((v) => v.equals(e.value))) &&
    c.ranges.every((r) => values.get(r.property)?.some((v) => within(v, r)))
  );
}

/**
 * Among an entity's values of an ordered property, those that satisfy the conjunction's filters on it: the smallest
 * (ascending) or largest (descending) places the entity, as in Datastore's index of a property with several values.
 */
function ordered(c: Conjunct, property: string, descending: boolean, values: Values): Buffer | undefined {
  const all = values.get(property) ?? [];
  const ranges = c.ranges.filter((r) => r.property === property);
  const equals = c.equals.filter((e) => e.property === property);
  const fitting = ranges.length
    ? all.filter((v) => ranges.some((r) => within(v, r)))
    : equals.length
      ? all.filter((v) => equals.some((e) => e.value.equals(v)))
      : all;
  return descending ? fitting.at(-1) : fitting[0];
}

/** A key as the last part of a position. */
export function keyComponent(key: Buffer, descending: boolean): Buffer {
  return descending ? inverted(encodeBytes(key)) : key;
}

/** An ordered value as a part of a position. */
export function valueComponent(value: Buffer, descending: boolean): Buffer {
  return descending ? inverted(value) : value;
}

export function evaluator(q: ShardQuery): Evaluator {
  const wanted = new Set(q.orders.map((o) => o.property));
  for (const c of q.anyOf) for (const f of [...c.equals, ...c.ranges]) wanted.add(f.property);

  const placeIn = (c: Conjunct, key: Buffer, values: Values): Buffer | null => {
    const parts: Buffer[] = [];
    for (const o of q.orders) {
      const value = ordered(c, o.property, o.descending, values);
      if (!value) return null;
      parts.push(valueComponent(value, o.descending));
    }
    return Buffer.concat([...parts, keyComponent(key, q.keyDescending)]);
  };

  return {
    place(row) {
      if (row.entity === null || (q.kind !== null && kindOf(row.key) !== q.kind)) return null;
      const values: Values = wanted.size ? indexedValues(entityCodec.decode(row.entity), wanted) : new Map();
      let first: Buffer | null = null;
      for (const c of q.anyOf) {
        if (!matches(c, row.key, values)) continue;
        const place = placeIn(c, row.key, values);
        if (place && (first === null || place.compare(first) < 0)) first = place;
      }
      return first;
    },
  };
}
