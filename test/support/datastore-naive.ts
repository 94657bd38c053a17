import { encodeKey } from '@nxnw/platform/datastore/keys';
import type { Key } from '@nxnw/platform/datastore/keys';
import { OPERATOR } from '@nxnw/platform/datastore/query/request';
import { value } from './datastore-values.js';

/**
 * What a query means, written as plainly as possible and apart from the code under test: every entity is looked at, every
 * clause of the disjunctive normal form is tried.
 */

/** A value of the test's own: rank of its type and something comparable. */
export type Plain = readonly [rank: number, of: number | string];
export interface Doc {
  readonly key: Key;
  readonly values: Readonly<Record<string, readonly Plain[]>>;
}
export type Op = 'EQUAL' | 'LESS_THAN' | 'LESS_THAN_OR_EQUAL' | 'GREATER_THAN' | 'GREATER_THAN_OR_EQUAL';
export type Test =
  | { readonly property: string; readonly op: Op | 'NOT_EQUAL'; readonly to: Plain }
  | { readonly property: string; readonly op: 'IN' | 'NOT_IN'; readonly of: readonly Plain[] }
  | { readonly key: Op; readonly to: Key }
  | { readonly ancestor: Key }
  | { readonly all: readonly Test[] }
  | { readonly any: readonly Test[] };
/** One atom of a clause: what a single index row or key must satisfy. */
export type Atom =
  | { readonly property: string; readonly op: Op; readonly to: Plain }
  | { readonly key: Op | 'HAS_ANCESTOR'; readonly to: Key };
export interface Sort {
  readonly property: string;
  readonly descending: boolean;
}

export const INT = 2;
export const TEXT = 4;

/** A value as a Value message. */
export function message([rank, of]: Plain): object {
  return rank === INT ? value.int(Number(of)) : rank === TEXT ? value.text(String(of)) : value.null();
}

export function compare(a: Plain, b: Plain): number {
  if (a[0] !== b[0]) return a[0] - b[0];
  return a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0;
}

function holds(op: Op, c: number): boolean {
  return op === 'EQUAL'
    ? c === 0
    : op === 'LESS_THAN'
      ? c < 0
      : op === 'LESS_THAN_OR_EQUAL'
        ? c <= 0
        : op === 'GREATER_THAN'
          ? c > 0
          : c >= 0;
}

const compareKeys = (a: Key, b: Key): number => encodeKey(a).compare(encodeKey(b));

/** Disjunctive normal form. */
export function clauses(t: Test): Atom[][] {
  if ('all' in t) return t.all.map(clauses).reduce((as, bs) => as.flatMap((a) => bs.map((b) => [...a, ...b])), [[]]);
  if ('any' in t) return t.any.flatMap(clauses);
  if ('ancestor' in t) return [[{ key: 'HAS_ANCESTOR', to: t.ancestor }]];
  if ('key' in t) return [[t]];
  const { property } = t;
  const differs = (to: Plain): Test => ({
    any: [
      { property, op: 'LESS_THAN', to },
      { property, op: 'GREATER_THAN', to },
    ],
  });
  if ('of' in t && t.op === 'IN') return t.of.map((to) => [{ property, op: 'EQUAL', to }]);
  if ('of' in t) return clauses({ all: t.of.map(differs) });
  if (t.op === 'NOT_EQUAL') return clauses(differs(t.to));
  return [[{ property, op: t.op, to: t.to }]];
}

/** Values of `property` that the clause's filters on it allow to place an entity, or null if a filter is not met. */
function allowed(doc: Doc, clause: readonly Atom[], property: string): readonly Plain[] | null {
  const values = doc.values[property] ?? [];
  const atoms = clause.flatMap((a) => ('property' in a && a.property === property ? [a] : []));
  const equals = atoms.filter((a) => a.op === 'EQUAL');
  const ranges = atoms.filter((a) => a.op !== 'EQUAL');
  if (!equals.every((a) => values.some((v) => compare(v, a.to) === 0))) return null;
  const inRange = values.filter((v) => ranges.every((a) => holds(a.op, compare(v, a.to))));
  if (ranges.length) return inRange.length ? inRange : null;
  return equals.length ? values.filter((v) => equals.some((a) => compare(v, a.to) === 0)) : values;
}

/** Results of `test` among `docs` in the order of `sorts`, then keys; encoded keys in hex. */
export function naive(docs: readonly Doc[], test: Test, sorts: readonly Sort[], keyDescending: boolean): string[] {
  type Place = readonly Plain[];
  const order = (a: { place: Place; doc: Doc }, b: { place: Place; doc: Doc }): number => {
    for (const [i, s] of sorts.entries()) {
      const x = a.place[i];
      const y = b.place[i];
      const c = x && y ? compare(x, y) : 0;
      if (c) return s.descending ? -c : c;
    }
    return compareKeys(a.doc.key, b.doc.key) * (keyDescending ? -1 : 1);
  };
  const found = docs.flatMap((doc) => {
    const places = clauses(test).flatMap((clause) => {
      const keysFit = clause.every(
        (a) =>
          'property' in a ||
          (a.key === 'HAS_ANCESTOR'
            ? encodeKey(doc.key).subarray(0, encodeKey(a.to).length).equals(encodeKey(a.to))
            : holds(a.key, compareKeys(doc.key, a.to))),
      );
      const named = clause.flatMap((a) => ('property' in a ? [a.property] : []));
      if (!keysFit || named.some((p) => allowed(doc, clause, p) === null)) return [];
      const place: Plain[] = [];
      for (const s of sorts) {
        const values = [...(allowed(doc, clause, s.property) ?? [])].sort(compare);
        const v = s.descending ? values.at(-1) : values[0];
        if (!v) return [];
        place.push(v);
      }
      return [{ place, doc }];
    });
    const first = places.sort(order)[0];
    return first ? [first] : [];
  });
  return found.sort(order).map((f) => encodeKey(f.doc.key).toString('hex'));
}

/** The test as a Filter message. */
export function filter(t: Test): object {
  if ('all' in t) return { compositeFilter: { op: 1, filters: t.all.map(filter) } };
  if ('any' in t) return { compositeFilter: { op: 2, filters: t.any.map(filter) } };
  const of = (name: string, op: keyof typeof OPERATOR, v: object) => ({
    propertyFilter: { property: { name }, op: OPERATOR[op], value: v },
  });
  if ('ancestor' in t) return of('__key__', 'HAS_ANCESTOR', value.key(t.ancestor));
  if ('key' in t) return of('__key__', t.key, value.key(t.to));
  return 'of' in t ? of(t.property, t.op, value.list(...t.of.map(message))) : of(t.property, t.op, message(t.to));
}

/** Orders that count: one on a property that every clause fixes to one value orders nothing. */
export function effective(test: Test, sorts: readonly Sort[]): readonly Sort[] {
  const fixed = (p: string) => {
    const equal = clauses(test).map((c) =>
      c.flatMap((a) => ('property' in a && a.property === p && a.op === 'EQUAL' ? [a.to] : [])),
    );
    const first = equal[0]?.[0];
    return first !== undefined && equal.every((e) => e.length > 0 && e.every((v) => compare(v, first) === 0));
  };
  return sorts.filter((s) => !fixed(s.property));
}
