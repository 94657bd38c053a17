import { earlierEnd, justAfter, laterStart, prefixSuccessor } from '../bytes.js';
import { ancestorRange, encodeKey, groupOf } from '../keys.js';
import type { Key } from '../keys.js';
import type { KeyMessage, ValueMessage } from '../proto.js';
import { invalid, unimplemented } from '../refuse.js';
import { ABOVE_VALUES, LOWEST_VALUE, encodeValue } from '../values.js';
import { COMPOSITE, OPERATOR } from './request.js';
import type { FilterMessage } from './request.js';
import type { Conjunct } from './shard-query.js';

/** A conjunction of the disjunctive normal form, with what it says about where its results lie. */
export interface Clause extends Conjunct {
  /** Encoded key of the HAS_ANCESTOR filter. */
  readonly ancestor: Buffer | null;
  /** The only entity group that can hold results, or null if any can. */
  readonly group: Buffer | null;
}

/** Disjunctions of one query, as in the public API. */
const MAX_DISJUNCTIONS = 30;
const MAX_NOT_IN = 10;
const KEY = '__key__';

export interface FilterContext {
  /** A complete key of the query's own partition, normalised; throws INVALID_ARGUMENT. */
  queryKey(message: KeyMessage, what: string): Key;
  /** Checks and normalises a complete key of any namespace; throws INVALID_ARGUMENT. */
  checkKey(message: KeyMessage, what: string): void;
}

const ANYTHING: Clause = { keyFrom: null, keyTo: null, equals: [], ranges: [], ancestor: null, group: null };
const WHOLE = { from: LOWEST_VALUE, to: ABOVE_VALUES };

interface Span {
  readonly from: Buffer | null;
  readonly to: Buffer | null;
}

/** The parts of an ordered domain that `op` with `low..high` (one point) selects. */
function spans(op: number, low: Buffer, high: Buffer): Span[] {
  switch (op) {
    case OPERATOR.LESS_THAN:
      return [{ from: null, to: low }];
    case OPERATOR.LESS_THAN_OR_EQUAL:
      return [{ from: null, to: high }];
    case OPERATOR.GREATER_THAN:
      return [{ from: high, to: null }];
    case OPERATOR.GREATER_THAN_OR_EQUAL:
      return [{ from: low, to: null }];
    case OPERATOR.EQUAL:
      return [{ from: low, to: high }];
    case OPERATOR.NOT_EQUAL:
      return [
        { from: null, to: low },
        { from: high, to: null },
      ];
    default:
      throw invalid(`unknown filter operator ${op}`);
  }
}

function elements(v: ValueMessage, name: string): ValueMessage[] {
  const values = v.valueType === 'arrayValue' ? (v.arrayValue?.values ?? []) : [];
  if (values.length === 0) throw invalid(`IN and NOT_IN filters on ${name} need a non-empty array value`);
  return values;
}

function keyClauses(op: number, v: ValueMessage, context: FilterContext): Clause[] {
  if (op === OPERATOR.IN) return elements(v, KEY).flatMap((e) => keyClauses(OPERATOR.EQUAL, e, context));
  if (op === OPERATOR.NOT_IN) return conjoin(elements(v, KEY).map((e) => keyClauses(OPERATOR.NOT_EQUAL, e, context)));
  if (v.valueType !== 'keyValue' || !v.keyValue) throw invalid(`a filter on ${KEY} needs a key value`);
  const key = encodeKey(context.queryKey(v.keyValue, `the key of the ${KEY} filter`));
  if (op === OPERATOR.HAS_ANCESTOR) {
    const { from, to } = ancestorRange(key);
    return [{ ...ANYTHING, keyFrom: from, keyTo: to, ancestor: key, group: groupOf(key) }];
  }
  const group = op === OPERATOR.EQUAL ? groupOf(key) : null;
  return spans(op, key, justAfter(key)).map((s) => ({ ...ANYTHING, keyFrom: s.from, keyTo: s.to, group }));
}

function encoded(v: ValueMessage, property: string, context: FilterContext): Buffer {
  if (v.valueType === 'entityValue') throw unimplemented(`a filter on the embedded entity ${property} as a whole`);
  if (v.valueType === 'arrayValue')
    throw invalid(`the filter on ${property} has an array value; only IN and NOT_IN take one`);
  if (v.valueType === 'keyValue' && v.keyValue) context.checkKey(v.keyValue, `the key of the filter on ${property}`);
  const value = encodeValue(v);
  if (value === null) throw invalid(`the filter on ${property} has no value`);
  return value;
}

function propertyClauses(property: string, op: number, v: ValueMessage, context: FilterContext): Clause[] {
  const equal = (e: ValueMessage): Clause => ({
    ...ANYTHING,
    equals: [{ property, value: encoded(e, property, context) }],
  });
  if (op === OPERATOR.HAS_ANCESTOR) throw invalid(`HAS_ANCESTOR filters are on ${KEY}, this one is on ${property}`);
  if (op === OPERATOR.EQUAL) return [equal(v)];
  if (op === OPERATOR.IN) return elements(v, property).map(equal);
  if (op === OPERATOR.NOT_IN) {
    const values = elements(v, property);
    if (values.length > MAX_NOT_IN)
      throw invalid(`NOT_IN on ${property} has ${values.length} values; at most ${MAX_NOT_IN}`);
    return conjoin(values.map((e) => propertyClauses(property, OPERATOR.NOT_EQUAL, e, context)));
  }
  const value = encoded(v, property, context);
  return spans(op, value, prefixSuccessor(value) ?? ABOVE_VALUES)
    .map((s) => ({ from: s.from ?? WHOLE.from, to: s.to ?? WHOLE.to }))
    .filter((s) => s.from.compare(s.to) < 0)
    .map((s) => ({ ...ANYTHING, ranges: [{ property, ...s }] }));
}

/** Both clauses at once; null if nothing can satisfy both. Ranges on one property must be met by one value. */
function both(a: Clause, b: Clause): Clause | null {
  const keyFrom = laterStart(a.keyFrom, b.keyFrom);
  const keyTo = earlierEnd(a.keyTo, b.keyTo);
  if (keyFrom && keyTo && keyFrom.compare(keyTo) >= 0) return null;
  const ranges = [...a.ranges];
  for (const r of b.ranges) {
    const i = ranges.findIndex((x) => x.property === r.property);
    const known = ranges[i];
    if (!known) ranges.push(r);
    else {
      const from = known.from.compare(r.from) >= 0 ? known.from : r.from;
      const to = known.to.compare(r.to) <= 0 ? known.to : r.to;
      if (from.compare(to) >= 0) return null;
      ranges[i] = { property: r.property, from, to };
    }
  }
  const isNew = (e: Conjunct['equals'][number]) =>
    !a.equals.some((x) => x.property === e.property && x.value.equals(e.value));
  return {
    keyFrom,
    keyTo,
    ranges,
    equals: [...a.equals, ...b.equals.filter(isNew)],
    ancestor: a.ancestor ?? b.ancestor,
    group: a.group ?? b.group,
  };
}

function checked(clauses: Clause[]): Clause[] {
  if (clauses.length <= MAX_DISJUNCTIONS) return clauses;
  throw invalid(
    `the filter has more than ${MAX_DISJUNCTIONS} disjunctions after OR, IN, NOT_EQUAL and NOT_IN are expanded; split the query`,
  );
}

function conjoin(parts: readonly Clause[][]): Clause[] {
  let all: Clause[] = [ANYTHING];
  for (const part of parts)
    all = checked(all.flatMap((a) => part.map((b) => both(a, b)).filter((c): c is Clause => c !== null)));
  return all;
}

/** Disjunctive normal form of a filter; an empty list = nothing can be a result. */
export function clausesOf(filter: FilterMessage | null, context: FilterContext): Clause[] {
  if (filter === null) return [ANYTHING];
  if (filter.compositeFilter) {
    const { op, filters } = filter.compositeFilter;
    if (filters.length === 0) throw invalid('a composite filter needs at least one filter');
    const parts = filters.map((f) => clausesOf(f, context));
    if (op === COMPOSITE.AND) return conjoin(parts);
    if (op === COMPOSITE.OR) return checked(parts.flat());
    throw invalid(`unknown composite filter operator ${op}; allowed are AND and OR`);
  }
  const { property, op, value } = filter.propertyFilter ?? {};
  const name = property?.name ?? '';
  if (name === '' || op === undefined || !value)
    throw invalid('a property filter needs a property, an operator and a value');
  return checked(name === KEY ? keyClauses(op, value, context) : propertyClauses(name, op, value, context));
}
