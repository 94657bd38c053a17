import { isIPv4 } from 'node:net';
import { NxnwError } from '@nxnw/platform/errors';
import { RECORD_TYPES, sameSet, sameValues, showSet } from './dns.js';
import type { RecordSet, RecordType } from './dns.js';

/** What the zone says of the name now, by type. */
export type Found = Readonly<Record<RecordType, RecordSet | null>>;

/** The edges' addresses of the two sides. */
export interface SideAddresses {
  readonly source: readonly string[];
  readonly target: readonly string[];
}

export type Side = keyof SideAddresses;

/** One set to be replaced: `expected` is what was found. */
export interface SetChange {
  readonly expected: RecordSet | null;
  readonly wanted: RecordSet | null;
}

function ofType(addresses: readonly string[], type: RecordType): string[] {
  return addresses.filter((a) => isIPv4(a) === (type === 'A')).sort();
}

/** The side to which the name leads; null for neither. */
export function sideOf(found: Found, sides: SideAddresses): Side | null {
  const leadsTo = (side: Side) => RECORD_TYPES.every((t) => sameValues(found[t]?.values ?? [], ofType(sides[side], t)));
  return leadsTo('source') ? 'source' : leadsTo('target') ? 'target' : null;
}

/**
 * The changes that point the name at a side with a TTL, in the order in which they are made; a set that is right
 * already is among them as a change to itself, because its arrival at every server has to be awaited all the same.
 * DNS_FOREIGN as for `refuseForeign`.
 */
export function pointing(name: string, found: Found, sides: SideAddresses, to: Side, ttlS: number): SetChange[] {
  refuseForeign(name, found, sides);
  return RECORD_TYPES.flatMap((type): SetChange[] => {
    const values = ofType(sides[to], type);
    const wanted = values.length === 0 ? null : { name, type, ttlS, values };
    return found[type] === null && wanted === null ? [] : [{ expected: found[type], wanted }];
  });
}

/** The changes that give the name another TTL and leave it where it leads. */
export function retimed(name: string, found: Found, sides: SideAddresses, ttlS: number): SetChange[] {
  refuseForeign(name, found, sides);
  return RECORD_TYPES.flatMap((type): SetChange[] => {
    const expected = found[type];
    return expected === null ? [] : [{ expected, wanted: { ...expected, ttlS } }];
  });
}

/** DNS_FOREIGN when the name leads neither to one side nor to the other: somebody else's record is never replaced. */
function refuseForeign(name: string, found: Found, sides: SideAddresses): void {
  if (sideOf(found, sides) !== null || isBetween(found, sides)) return;
  throw new NxnwError(
    'DNS_FOREIGN',
    `${name} is "${RECORD_TYPES.map((t) => showSet(found[t])).join('; ')}": neither N1's edge ` +
      `(${sides.source.join(', ')}) nor N2's (${sides.target.join(', ')}). It is left alone; correct the record or ` +
      `nxnw:dns.name, then try again.`,
    { name },
  );
}

/** Each set belongs to one side or the other: a change of both types was interrupted between them. */
function isBetween(found: Found, sides: SideAddresses): boolean {
  return RECORD_TYPES.every((t) => {
    const values = found[t]?.values ?? [];
    return sameValues(values, ofType(sides.source, t)) || sameValues(values, ofType(sides.target, t));
  });
}

/** Seconds for which a resolver may hold what the zone says now: the longest TTL of the name's sets; 0 without any. */
export function longestTtlS(found: Found): number {
  return Math.max(0, ...RECORD_TYPES.map((t) => found[t]?.ttlS ?? 0));
}

/** What was noted before the TTL was lowered; kept until it is restored. */
export interface LoweredNote {
  readonly name: string;
  /** TTL before, seconds. */
  readonly oldTtlS: number;
  /** Milliseconds since 1970; null while the lowering is not known to be at every server. */
  readonly loweredAtMs: number | null;
}

/**
 * What has to be noted before the TTL becomes `ttlS`. A note of this name stays: an interrupted lowering is done again,
 * and what it found the second time is its own work.
 */
export function noteBefore(name: string, found: Found, ttlS: number, noted: LoweredNote | null): LoweredNote {
  const now = longestTtlS(found);
  if (noted?.name !== name) return { name, oldTtlS: now, loweredAtMs: null };
  // Somebody raised it in between: resolvers may hold that.
  return now > ttlS ? { name, oldTtlS: Math.max(now, noted.oldTtlS), loweredAtMs: null } : noted;
}

/** When no resolver can hold the record with its old TTL any more, milliseconds since 1970; null if not lowered. */
export function oldTtlGoneAtMs(note: LoweredNote): number | null {
  return note.loweredAtMs === null ? null : note.loweredAtMs + note.oldTtlS * 1000;
}

/** True if the changes would alter nothing. */
export function isDone(changes: readonly SetChange[]): boolean {
  return changes.every((c) => sameSet(c.expected, c.wanted));
}

/** N1's edge as the drain sees it: requests of the applications since the edge started, at a time. */
export interface DrainSample {
  readonly atMs: number;
  readonly requests: number;
}

export interface DrainState {
  readonly first: DrainSample;
  readonly last: DrainSample;
  /** When the count last rose. */
  readonly busyAtMs: number;
}

/** The meter's next state. A count that fell is an edge that was restarted: that counts as traffic. */
export function drainStep(state: DrainState | null, now: DrainSample): DrainState {
  if (!state) return { first: now, last: now, busyAtMs: now.atMs };
  const busy = now.requests !== state.last.requests;
  return { first: state.first, last: now, busyAtMs: busy ? now.atMs : state.busyAtMs };
}

/** Drained: no request for as long as a resolver may hold the old record. */
export function isDrained(state: DrainState, ttlS: number): boolean {
  return state.last.atMs - state.busyAtMs >= Math.max(1, ttlS) * 1000;
}
