import { createHash } from 'node:crypto';
import type { IndexRow } from '../stores/port.js';
import { NxnwError } from '../errors.js';
import { rowDigest } from './entry.js';
import type { ShardHost } from './host.js';
import type { ShardState } from './state.js';
import type { IndexKey, Indexer, Position, RowImage } from './types.js';
import { comparePositions } from './types.js';

/** How verification names what it finds. Neither throws: bytes that are no key are shown as hex. */
export interface KeyNaming {
  readonly show: (key: Buffer) => string;
  /** Key of the entity that an index row is of. */
  readonly entityOf: (part: Buffer, indexKey: Buffer) => Buffer;
}

/** One row as verification compares it. */
export interface RowPrint {
  readonly key: Buffer;
  readonly version: number;
  readonly digest: Buffer;
}

export interface VerifyPage {
  readonly rows: readonly RowPrint[];
  readonly last: Buffer | null;
  readonly done: boolean;
  /** Index rows that rows of this page should have and the store lacks: the entities' keys. */
  readonly indexMissing: readonly Buffer[];
}

export interface ExtraIndexRow {
  readonly part: Buffer;
  readonly key: Buffer;
  readonly version: number;
  readonly entity: Buffer;
}

const PAGE = 500;
const AGAIN = 100;
/** Index rows that are asked for at one time. */
const LOOKUPS = 32;

/** The state that a scan reads, standing at `at` or later with all of that applied. */
async function stateAt(h: ShardHost, at: Position, deadlineMs: number): Promise<ShardState> {
  for (;;) {
    const state = heldState(h);
    if (state && comparePositions(state.end, at) >= 0) {
      await state.whenApplied(at);
      return state;
    }
    if (h.o.nowMs() >= deadlineMs)
      throw new NxnwError('DEADLINE_EXCEEDED', `shard ${h.name} has not reached ${at.epoch}.${at.slot} in time`);
    await (state ? state.changed(100) : new Promise<void>((ok) => setTimeout(ok, 50)));
  }
}

/** The owner's state, or the replica's. */
function heldState(h: ShardHost): ShardState | null {
  return h.owner ? h.state : (h.replica?.state ?? h.state);
}

/** Index rows of an entity; none of one whose bytes cannot be read any more (its content differs, and is named so). */
function indexOf(indexer: Indexer, entity: Buffer): IndexKey[] | null {
  try {
    return indexer(entity);
  } catch {
    return null;
  }
}

interface Asked {
  readonly at: Position;
  readonly atUs: number;
  readonly deadlineMs: number;
}

/**
 * A page of this platform's rows as the store holds them, at T: memory is asked only for rows that are newer in the
 * store, so that a row changed behind the platform's back shows.
 */
export async function scanSide(h: ShardHost, r: Asked & { after: Buffer | null }): Promise<VerifyPage> {
  const state = await stateAt(h, r.at, r.deadlineMs);
  const { store, shard } = state.o;
  const found: RowImage[] = [];
  let done = true;
  const from = r.after ? Buffer.concat([r.after, Buffer.from([0])]) : null;
  for await (const stored of store.scanRows(shard, state.generation, { from, to: null, order: 'asc' }))
    if (found.push(stored) >= PAGE) {
      done = false;
      break;
    }
  return { ...(await printRows(state, found, r.atUs)), last: found.at(-1)?.key ?? null, done };
}

/** The same for given keys. */
export async function lookAgain(h: ShardHost, r: Asked & { keys: readonly Buffer[] }): Promise<VerifyPage> {
  const state = await stateAt(h, r.at, r.deadlineMs);
  const stored = await state.o.store.getRows(state.o.shard, state.generation, r.keys);
  const found = stored.filter((row) => row !== null);
  return { ...(await printRows(state, found, r.atUs)), last: null, done: true };
}

async function printRows(
  state: ShardState,
  found: readonly RowImage[],
  atUs: number,
): Promise<Pick<VerifyPage, 'rows' | 'indexMissing'>> {
  const { store, shard, indexer } = state.o;
  const rows: RowPrint[] = [];
  const wanted: { key: Buffer; index: IndexKey }[] = [];
  for (const stored of found) {
    const row = stored.version > atUs ? state.recent.at(stored.key, atUs) : stored;
    if (!row?.entity) continue;
    rows.push({ key: row.key, version: row.version, digest: rowDigest(row) });
    if (row !== stored) continue;
    for (const index of indexOf(indexer, row.entity) ?? []) wanted.push({ key: row.key, index });
  }
  const lacking = new Map<string, Buffer>();
  for (let i = 0; i < wanted.length; i += LOOKUPS)
    await Promise.all(
      wanted.slice(i, i + LOOKUPS).map(async ({ key, index }) => {
        const held = await indexRow(state, index);
        if (!held || (!held.present && held.version <= atUs)) lacking.set(key.toString('latin1'), key);
      }),
    );
  return { rows, indexMissing: [...lacking.values()] };

  async function indexRow(s: ShardState, i: IndexKey): Promise<IndexRow | null> {
    const range = { from: i.key, to: Buffer.concat([i.key, Buffer.from([0])]), order: 'asc' } as const;
    for await (const held of store.scanIndex(shard, s.generation, i.part, range)) return held;
    return null;
  }
}

const print = (part: Buffer, key: Buffer): string =>
  createHash('sha256').update(part).update('\0').update(key).digest('base64');

/**
 * Present index rows whose entity does not have them, from a scan of all index rows of a shard. What is found is looked
 * at again before it is given out: rows may change while the scan runs.
 */
export async function* extraIndexRows(h: ShardHost): AsyncIterable<ExtraIndexRow> {
  const state = heldState(h);
  if (!state) throw new NxnwError('NOT_OWNER', `shard ${h.name} is not held here any more`);
  const { store, shard, indexer } = state.o;
  const want = new Set<string>();
  const unreadable = new Set<string>();
  for await (const row of store.scanRows(shard, state.generation, { from: null, to: null, order: 'asc' })) {
    if (!row.entity) continue;
    const index = indexOf(indexer, row.entity);
    if (!index) unreadable.add(row.key.toString('latin1'));
    for (const i of index ?? []) want.add(print(i.part, i.key));
  }
  let found: ExtraIndexRow[] = [];
  for await (const i of store.scanAllIndexes(shard, state.generation)) {
    if (!i.present || want.has(print(i.part, i.key))) continue;
    const entity = h.o.naming.entityOf(i.part, i.key);
    if (unreadable.has(entity.toString('latin1'))) continue;
    found.push({ part: i.part, key: i.key, version: i.version, entity });
    if (found.length < AGAIN) continue;
    yield* stillExtra(state, found);
    found = [];
  }
  yield* stillExtra(state, found);
}

/**
 * Those of the index rows that are no part of a change under way. Index rows are written before their row: once what
 * was pending is applied, a row read before its index row shows every index row that it should have.
 */
async function* stillExtra(state: ShardState, found: readonly ExtraIndexRow[]): AsyncIterable<ExtraIndexRow> {
  const { store, shard, indexer } = state.o;
  await state.whenApplied(state.end);
  for (const f of found) {
    const [row] = await store.getRows(shard, state.generation, [f.entity]);
    const index = row?.entity ? indexOf(indexer, row.entity) : [];
    if (!index || index.some((i) => i.part.equals(f.part) && i.key.equals(f.key))) continue;
    const range = { from: f.key, to: Buffer.concat([f.key, Buffer.from([0])]), order: 'asc' } as const;
    for await (const i of store.scanIndex(shard, state.generation, f.part, range))
      if (i.present && i.version === f.version) yield f;
  }
}
