import { createHash } from 'node:crypto';
import type { IndexRow } from '../stores/port.js';
import { NxnwError } from '../errors.js';
import type { ShardHost } from './host.js';
import type { ShardState } from './state.js';
import type { Indexer, IndexKey, RowImage } from './types.js';
import { heldState } from './verify.js';

/** An entity that lacks an index row, or has one too many. */
export interface IndexFault {
  readonly entity: Buffer;
  readonly what: 'index-missing' | 'index-extra';
}

const BUCKETS = 1 << 16;
/** Buckets whose index rows are held in memory at one time: a sixteenth of the shard's. */
const BUCKETS_AT_ONCE = 1 << 12;
/** Suspects whose rows are read again at one time. */
const AGAIN = 32;
const EVERYTHING = { from: null, to: null, order: 'asc' } as const;

/** Fingerprint of an index row's place, and the bucket that it falls into. */
interface Place {
  readonly print: Buffer;
  readonly bucket: number;
}

function placeOf({ part, key }: IndexKey): Place {
  const print = createHash('sha256').update(part).update('\0').update(key).digest();
  return { print, bucket: print.readUInt16BE(0) };
}

/** Sums of fingerprints, one a bucket: what was added and taken away again leaves nothing, in whatever order. */
class Balance {
  private readonly low = new Uint32Array(BUCKETS);
  private readonly high = new Uint32Array(BUCKETS);

  add({ print, bucket }: Place, sign: 1 | -1): void {
    this.low[bucket] = (this.low[bucket] ?? 0) + sign * print.readUInt32BE(2);
    this.high[bucket] = (this.high[bucket] ?? 0) + sign * print.readUInt32BE(6);
  }

  unequal(): number[] {
    return Array.from(this.low.keys()).filter((b) => this.low[b] !== 0 || this.high[b] !== 0);
  }
}

/** Index rows of an entity; null for one whose bytes cannot be read (its content differs, and is named so). */
function indexOf(indexer: Indexer, row: RowImage): IndexKey[] | null {
  if (!row.entity) return [];
  try {
    return indexer(row.entity);
  } catch {
    return null;
  }
}

/** Index rows that the shard's rows should have, each with its entity's key. */
async function* wanted(s: ShardState): AsyncIterable<{ entity: Buffer; index: IndexKey }> {
  for await (const row of s.o.store.scanRows(s.o.shard, s.generation, EVERYTHING))
    for (const index of indexOf(s.o.indexer, row) ?? []) yield { entity: row.key, index };
}

/** Index rows that the shard's store says are there. */
async function* present(s: ShardState): AsyncIterable<IndexRow> {
  for await (const i of s.o.store.scanAllIndexes(s.o.shard, s.generation)) if (i.present) yield i;
}

/**
 * Compares the store's index rows with what its rows should have. Two scans are summed up bucket by bucket; only what
 * lies in unequal buckets is compared key by key, and looked at again before it is given out, since rows change while
 * the scans run. So the memory does not grow with the shard.
 */
export async function* indexFaults(h: ShardHost): AsyncIterable<IndexFault> {
  const state = heldState(h);
  if (!state) throw new NxnwError('NOT_OWNER', `shard ${h.name} is not held here any more`);
  const balance = new Balance();
  for await (const { index } of wanted(state)) balance.add(placeOf(index), 1);
  for await (const index of present(state)) balance.add(placeOf(index), -1);
  const unequal = balance.unequal();
  for (let i = 0; i < unequal.length; i += BUCKETS_AT_ONCE)
    yield* faultsIn(h, state, new Set(unequal.slice(i, i + BUCKETS_AT_ONCE)));
}

async function* faultsIn(h: ShardHost, s: ShardState, buckets: ReadonlySet<number>): AsyncIterable<IndexFault> {
  /** Entity by fingerprint. */
  const lacking = new Map<string, Buffer>();
  for await (const { entity, index } of wanted(s)) {
    const { print, bucket } = placeOf(index);
    if (buckets.has(bucket)) lacking.set(print.toString('latin1'), entity);
  }
  const has = new Set<string>();
  const extra: IndexRow[] = [];
  for await (const index of present(s)) {
    const { print, bucket } = placeOf(index);
    if (!buckets.has(bucket)) continue;
    const id = print.toString('latin1');
    if (lacking.has(id)) has.add(id);
    else extra.push(index);
  }
  for (const id of has) lacking.delete(id);
  const entities = new Map(Array.from(lacking.values(), (e) => [e.toString('latin1'), e] as const));
  yield* stillLacking(s, [...entities.values()]);
  yield* stillExtra(s, extra, (i) => h.o.naming.entityOf(i.part, i.key));
}

/** One index row as the store holds it now. */
async function indexRow(s: ShardState, { part, key }: IndexKey): Promise<IndexRow | null> {
  const range = { from: key, to: Buffer.concat([key, Buffer.from([0])]), order: 'asc' } as const;
  for await (const held of s.o.store.scanIndex(s.o.shard, s.generation, part, range)) return held;
  return null;
}

/**
 * Those of the entities that lack an index row. Index rows are written before their row: one that is not there after
 * its row was read is missing, unless a later version of the row took it away.
 */
async function* stillLacking(s: ShardState, entities: readonly Buffer[]): AsyncIterable<IndexFault> {
  for (let i = 0; i < entities.length; i += AGAIN) {
    const found = await s.o.store.getRows(s.o.shard, s.generation, entities.slice(i, i + AGAIN));
    for (const row of found) {
      if (!row) continue;
      const held = await Promise.all((indexOf(s.o.indexer, row) ?? []).map((index) => indexRow(s, index)));
      if (held.some((r) => !r || (!r.present && r.version <= row.version)))
        yield { entity: row.key, what: 'index-missing' };
    }
  }
}

/**
 * Those of the index rows that are no part of a change under way. Once what was pending is applied, a row read before
 * its index row shows every index row that it should have.
 */
async function* stillExtra(
  s: ShardState,
  extra: readonly IndexRow[],
  entityOf: (i: IndexRow) => Buffer,
): AsyncIterable<IndexFault> {
  if (extra.length === 0) return;
  await s.whenApplied(s.end);
  for (const e of extra) {
    const entity = entityOf(e);
    const [row] = await s.o.store.getRows(s.o.shard, s.generation, [entity]);
    const index = row ? indexOf(s.o.indexer, row) : [];
    if (!index || index.some((i) => i.part.equals(e.part) && i.key.equals(e.key))) continue;
    const held = await indexRow(s, e);
    if (held?.present && held.version === e.version) yield { entity, what: 'index-extra' };
  }
}
