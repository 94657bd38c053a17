/**
 * Write-once slots of a log, by epoch and slot; null is an empty slot. A segment ends with a held slot, so that equal
 * logs look equal.
 */
export type Segments<E> = readonly (readonly (E | null)[])[];

export interface Place {
  readonly e: number;
  readonly k: number;
}

export const show = (e: number, k: number): string => `${e}.${k}`;

export function slot<E>(log: Segments<E>, e: number, k: number): E | null {
  return log[e]?.[k] ?? null;
}

/** The highest held slot of a segment, -1 if it holds nothing. */
export function last<E>(log: Segments<E>, e: number): number {
  return (log[e]?.length ?? 0) - 1;
}

/** Put-if-absent. */
export function put<E>(log: Segments<E>, e: number, k: number, entry: E): Segments<E> {
  if (slot(log, e, k) !== null) return log;
  return replace(log, e, k, entry);
}

export function remove<E>(log: Segments<E>, e: number, k: number): Segments<E> {
  return k > last(log, e) ? log : replace(log, e, k, null);
}

function replace<E>(log: Segments<E>, e: number, k: number, entry: E | null): Segments<E> {
  const segments = Array.from({ length: Math.max(log.length, e + 1) }, (_, f) => log[f] ?? []);
  const segment = Array.from({ length: Math.max(last(log, e), k) + 1 }, (_, j) => (j === k ? entry : slot(log, e, j)));
  while (segment.length > 0 && segment.at(-1) === null) segment.pop();
  segments[e] = segment;
  return segments;
}

/** Every held slot, in the order of the log. */
export function held<E>(log: Segments<E>): { e: number; k: number; x: E }[] {
  return log.flatMap((segment, e) => segment.flatMap((x, k) => (x === null ? [] : [{ e, k, x }])));
}

/** An append on its way. */
export interface Wire<E> extends Place {
  readonly x: E;
}
