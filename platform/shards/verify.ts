import { NxnwError } from '../errors.js';
import { rowDigest } from './entry.js';
import type { ShardHost } from './host.js';
import type { ShardState } from './state.js';
import type { Position, RowImage } from './types.js';
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
}

const PAGE = 500;

/** The state that a scan reads, standing at `at` or later with all of that applied. */
async function stateAt(h: ShardHost, at: Position, deadlineMs: number): Promise<ShardState> {
  for (;;) {
    const state = heldState(h);
    if (state && comparePositions(state.end, at) >= 0) {
      await state.whenApplied(at);
      return state;
    }
    if (Date.now() >= deadlineMs)
      throw new NxnwError('DEADLINE_EXCEEDED', `shard ${h.name} has not reached ${at.epoch}.${at.slot} in time`);
    await (state ? state.changed(100) : new Promise<void>((ok) => setTimeout(ok, 50)));
  }
}

/** The owner's state, or the replica's. */
export function heldState(h: ShardHost): ShardState | null {
  return h.owner ? h.state : (h.replica?.state ?? h.state);
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
  return { rows: printRows(state, found, r.atUs), last: found.at(-1)?.key ?? null, done };
}

/** The same for given keys. */
export async function lookAgain(h: ShardHost, r: Asked & { keys: readonly Buffer[] }): Promise<VerifyPage> {
  const state = await stateAt(h, r.at, r.deadlineMs);
  const stored = await state.o.store.getRows(state.o.shard, state.generation, r.keys);
  const found = stored.filter((row) => row !== null);
  return { rows: printRows(state, found, r.atUs), last: null, done: true };
}

function printRows(state: ShardState, found: readonly RowImage[], atUs: number): RowPrint[] {
  const rows: RowPrint[] = [];
  for (const stored of found) {
    const row = stored.version > atUs ? state.recent.at(stored.key, atUs) : stored;
    if (row?.entity) rows.push({ key: row.key, version: row.version, digest: rowDigest(row) });
  }
  return rows;
}
