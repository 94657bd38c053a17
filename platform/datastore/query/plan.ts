import { earlierEnd, laterStart, prefixSuccessor } from '../bytes.js';
import { encodePartition } from '../keys.js';
import type { Partition } from '../keys.js';
import { invalid, unimplemented } from '../refuse.js';
import { decodeCursor, shapeOf } from './cursor.js';
import { clausesOf } from './filters.js';
import type { Clause, FilterContext } from './filters.js';
import { DESCENDING } from './request.js';
import type { QueryMessage } from './request.js';
import type { QueryOrder, ShardQuery } from './shard-query.js';

/** A query of the public API, ready to be asked of shards. */
export interface Plan {
  readonly shard: Pick<ShardQuery, 'namespace' | 'kind' | 'anyOf' | 'orders' | 'keyDescending'>;
  readonly shape: Buffer;
  readonly from: Buffer | null;
  readonly to: Buffer | null;
  readonly keysOnly: boolean;
  readonly offset: number;
  /** null = no limit. */
  readonly limit: number | null;
  /** The entity groups that can hold results, or null if any can. Empty = no results at all. */
  readonly groups: readonly Buffer[] | null;
}

const KEY = '__key__';
/** Repeated kinds `__kind__`, `__namespace__`, `__property__` and the statistics. */
const METADATA = /^__.*__$/;

function kindOfQuery(q: QueryMessage): string | null {
  if (q.kind.length > 1) throw invalid(`a query has at most one kind; ${q.kind.length} were given`);
  const kind = q.kind[0]?.name;
  if (kind === '') throw invalid('the kind of a query must not be empty');
  if (kind !== undefined && METADATA.test(kind)) throw unimplemented(`a metadata query (kind ${kind})`);
  return kind ?? null;
}

function isKeysOnly(q: QueryMessage): boolean {
  const names = q.projection.map((p) => p.property?.name ?? '');
  if (names.length === 0) return false;
  if (names.every((n) => n === KEY)) return true;
  throw unimplemented(`a projection query (projection of ${names.join(', ')})`);
}

/** An order on a property that every clause fixes to the same one value orders nothing (and Datastore ignores it). */
function isFixed(property: string, clauses: readonly Clause[]): boolean {
  const values = clauses.map((c) => c.equals.filter((e) => e.property === property));
  const first = values[0]?.[0]?.value;
  return !!first && values.every((v) => v.length > 0 && v.every((e) => e.value.equals(first)));
}

interface Ordering {
  readonly orders: QueryOrder[];
  readonly keyDescending: boolean;
}

/** The given orders through `__key__`; without any, that of a property on which every clause has an inequality. */
function orderingOf(q: QueryMessage, clauses: readonly Clause[]): Ordering {
  const orders: QueryOrder[] = [];
  let last = false;
  for (const o of q.order) {
    const property = o.property?.name ?? '';
    const descending = o.direction === DESCENDING;
    if (property === '') throw invalid('an order needs a property');
    if (property === KEY) return { orders, keyDescending: descending };
    last = descending;
    if (!orders.some((x) => x.property === property) && !isFixed(property, clauses))
      orders.push({ property, descending });
  }
  if (q.order.length === 0) {
    const ranged = clauses[0]?.ranges.find((r) =>
      clauses.every((c) => c.ranges.some((x) => x.property === r.property)),
    );
    if (ranged) orders.push({ property: ranged.property, descending: false });
  }
  return { orders, keyDescending: last };
}

/** The groups of all clauses, or null if one of them has no group. */
function groupsOf(clauses: readonly Clause[]): Buffer[] | null {
  const groups = new Map<string, Buffer>();
  for (const c of clauses) {
    if (!c.group) return null;
    groups.set(c.group.toString('hex'), c.group);
  }
  return [...groups.values()];
}

function checkClauses(clauses: readonly Clause[], kind: string | null, ordering: Ordering): void {
  const ancestor = clauses[0]?.ancestor ?? null;
  if (!clauses.every((c) => (c.ancestor && ancestor ? c.ancestor.equals(ancestor) : c.ancestor === ancestor)))
    throw invalid('every disjunction must have the same HAS_ANCESTOR filter');
  const named = [...clauses.flatMap((c) => [...c.equals, ...c.ranges]), ...ordering.orders].map((x) => x.property);
  if (kind === null && named.length > 0)
    throw invalid(`a query without a kind can filter and order by ${KEY} only; this one uses ${named.join(', ')}`);
}

/** Plans a query over one partition. INVALID_ARGUMENT or UNIMPLEMENTED, by name, for what can't be run. */
export function planQuery(q: QueryMessage, partition: Partition, context: FilterContext): Plan {
  if (q.distinctOn.length > 0) throw unimplemented('distinct_on');
  if (q.findNearest) throw unimplemented('find_nearest');
  if (q.offset < 0) throw invalid(`offset is ${q.offset}; it must be at least 0`);
  if (q.limit && q.limit.value < 0) throw invalid(`limit is ${q.limit.value}; it must be at least 0`);
  const kind = kindOfQuery(q);
  const keysOnly = isKeysOnly(q);
  const clauses = clausesOf(q.filter, context);
  const ordering = orderingOf(q, clauses);
  checkClauses(clauses, kind, ordering);

  const prefix = encodePartition(partition);
  const anyOf = clauses.map(({ keyFrom, keyTo, equals, ranges }) => ({
    keyFrom: laterStart(keyFrom, prefix),
    keyTo: earlierEnd(keyTo, prefixSuccessor(prefix)),
    equals,
    ranges,
  }));
  const shape = shapeOf([partition.namespace, kind, ordering.orders, ordering.keyDescending]);
  return {
    shard: { namespace: partition.namespace, kind, anyOf, ...ordering },
    shape,
    from: q.startCursor.length ? decodeCursor(shape, q.startCursor, 'start_cursor') : null,
    to: q.endCursor.length ? decodeCursor(shape, q.endCursor, 'end_cursor') : null,
    keysOnly,
    offset: q.offset,
    limit: q.limit ? q.limit.value : null,
    groups: groupsOf(clauses),
  };
}
