/** Address records are all that a hand-over changes. */
export const RECORD_TYPES = ['A', 'AAAA'] as const;
export type RecordType = (typeof RECORD_TYPES)[number];

/** All records of one name and type. `name` is absolute, lower case, without the last dot; `values` are sorted. */
export interface RecordSet {
  readonly name: string;
  readonly type: RecordType;
  readonly ttlS: number;
  readonly values: readonly string[];
}

/** What a change was: `wanted` null removes the set. `token` is the driver's. */
export interface DnsChange {
  readonly name: string;
  readonly type: RecordType;
  readonly wanted: RecordSet | null;
  readonly token: string;
}

/**
 * One zone at one provider. Deadlines are milliseconds since 1970. Errors are NxnwErrors:
 * DNS_CONFLICT (somebody else changed the set: nothing was done; `fields.found` is what is there),
 * DNS_REFUSED (not allowed, or not this zone), DNS_UNREACHABLE, DNS_TIMEOUT.
 */
export interface DnsDriver {
  /** What the zone's own servers (not a cache) say now; null when there is no such set. */
  read(name: string, type: RecordType, deadlineMs: number): Promise<RecordSet | null>;
  /**
   * Replaces `expected` by `wanted` in one step, only if `expected` is what is there. Both alike is a change too: its
   * `awaitInSync` then proves that everybody answers it. Safe to repeat: done already counts as done.
   */
  change(expected: RecordSet | null, wanted: RecordSet | null, deadlineMs: number): Promise<DnsChange>;
  /** Resolves when every authoritative server answers what was wanted. */
  awaitInSync(change: DnsChange, deadlineMs: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

export function sameSet(a: RecordSet | null, b: RecordSet | null): boolean {
  if (a === null || b === null) return a === b;
  return a.name === b.name && a.type === b.type && a.ttlS === b.ttlS && sameValues(a.values, b.values);
}

export function sameValues(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && [...a].sort().join() === [...b].sort().join();
}

/** `60 A 10.0.0.1, 10.0.0.2` */
export function showSet(s: RecordSet | null): string {
  return s ? `${s.ttlS} ${s.type} ${s.values.join(', ')}` : 'no record';
}

/** Lower case, without the last dot. */
export function absoluteName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
