import { z } from 'zod';

/**
 * What the load clients write down, one JSON object a line: `start` before a request is sent, `end` when its answer (or
 * its failure) is known. Times are microseconds of the machine's monotonic clock, so the logs of several processes can
 * be compared. An operation is named by its nonce, which is unique among all clients for ever.
 */

/** What is known of an operation after its end. `none`: it did not and will not happen. */
export const OUTCOMES = ['ok', 'none', 'unknown'] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const OPS = [
  'get', 'book', 'search', 'sign', 'edit', 'create', 'remove', 'move',
  'note.get', 'note.put', 'note.remove', 'load', 'ids', 'sequence',
] as const; // prettier-ignore
export type OpName = (typeof OPS)[number];

/**
 * An entity group's state as one answer showed it. `serial` and `nonce` are the ledger's (0 and the load's nonce for a
 * place that was never written after its load); `placeSerial` and `placeNonce` are the place's own, null = no place.
 */
const observation = z.strictObject({
  id: z.int(),
  serial: z.int(),
  nonce: z.string().nullable(),
  /** Nonce of the state before; left out where the answer does not tell. */
  prev: z.string().nullable().optional(),
  deleted: z.boolean(),
  placeSerial: z.int().nullable(),
  placeNonce: z.string().nullable(),
  /** Digest of the place's content. */
  sum: z.string().nullable(),
  signatures: z.int().nullable().optional(),
  tokens: z.int().nullable().optional(),
  /** `serial:nonce` of the newest states, newest first. */
  recent: z.array(z.string()).optional(),
  /** The commit's version in microseconds, of writes. */
  version: z.number().optional(),
  /** Where a read came from: `cache`, or `store` (lookup, query or transaction). */
  from: z.enum(['store', 'cache']).default('store'),
});
export type Observation = z.infer<typeof observation>;

const entry = z.tuple([z.string(), z.string(), z.int()]);
/** A guest book entry: id, nonce, serial of the commit that wrote it. */
export type Entry = z.infer<typeof entry>;

/** Which owner answered, where the answer tells it. */
const authority = z.strictObject({ platform: z.string(), shard: z.string(), epoch: z.int(), slot: z.int() });
export type AuthorityRecord = z.infer<typeof authority>;

export const startRecord = z.strictObject({
  k: z.literal('start'),
  nonce: z.string(),
  at: z.number(),
  op: z.enum(OPS),
  /** Place ids of the groups it touches. */
  groups: z.array(z.int()).default([]),
  note: z.string().optional(),
  /** Tokens moved from the first group to the second. */
  amount: z.int().optional(),
});
export type StartRecord = z.infer<typeof startRecord>;

export const endRecord = z.strictObject({
  k: z.literal('end'),
  nonce: z.string(),
  at: z.number(),
  outcome: z.enum(OUTCOMES),
  /** HTTP status, or 0 without an answer. */
  status: z.int(),
  /** For writes the states they made; for reads what they saw. A refused write may have seen something too. */
  made: z.array(observation).default([]),
  saw: z.array(observation).default([]),
  book: z.strictObject({ id: z.int(), serial: z.int(), complete: z.boolean(), entries: z.array(entry) }).optional(),
  /** Nonce that the note held, null = no note; left out = not a read. */
  note: z.string().nullable().optional(),
  /** Ids that were given out. */
  ids: z.array(z.string()).default([]),
  sequence: z.int().optional(),
  /** Loaded places: id and digest of the content. */
  loaded: z.array(z.tuple([z.int(), z.string()])).default([]),
  authority: z.array(authority).default([]),
});
export type EndRecord = z.infer<typeof endRecord>;

/** The final dump, one entity a line, read when no operation ran. */
export const dumpRecord = z.discriminatedUnion('k', [
  z.strictObject({
    k: z.literal('place'),
    id: z.int(),
    serial: z.int(),
    nonce: z.string(),
    sum: z.string(),
    signatures: z.int(),
    tokens: z.int(),
  }),
  z.strictObject({
    k: z.literal('ledger'),
    id: z.int(),
    serial: z.int(),
    nonce: z.string(),
    prev: z.string().nullable(),
    deleted: z.boolean(),
    recent: z.array(z.string()),
  }),
  z.strictObject({ k: z.literal('entry'), id: z.int(), entry }),
  z.strictObject({ k: z.literal('note'), name: z.string(), nonce: z.string() }),
]);
export type DumpRecord = z.infer<typeof dumpRecord>;

/** Other lines (`k` = `client`, `dns`, `lag` …) are for the report, not for the oracle. */
export type OpRecord = StartRecord | EndRecord;

/** An operation with what is known of it. `end` is null for one without an answer: it may happen at any time. */
export interface Op {
  readonly start: StartRecord;
  readonly end: EndRecord | null;
}

export function outcomeOf(op: Op): Outcome {
  return op.end?.outcome ?? 'unknown';
}

/** Start and end in microseconds; an operation without an answer never ends. */
export function endOf(op: Op): number {
  return op.end?.at ?? Infinity;
}
