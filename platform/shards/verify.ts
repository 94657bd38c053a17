import { createHash } from 'node:crypto';
import { NxnwError } from '../errors.js';
import { rowDigest } from './entry.js';
import type { ShardHost } from './host.js';
import type { ShardState } from './state.js';
import type { Position, RowImage } from './types.js';
import { comparePositions } from './types.js';

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

const PAGE = 500;

/** The state that a scan reads, standing at `at` or later with all of that applied. */
async function stateAt(h: ShardHost, at: Position, deadlineMs: number): Promise<ShardState> {
  for (;;) {
    const state = h.owner ? h.state : (h.replica?.state ?? h.state);
    if (state && comparePositions(state.end, at) >= 0) {
      await state.whenApplied(at);
      return state;
    }
    if (h.o.nowMs() >= deadlineMs)
      throw new NxnwError('DEADLINE_EXCEEDED', `shard ${h.name} has not reached ${at.epoch}.${at.slot} in time`);
    await (state ? state.changed(100) : new Promise<void>((ok) => setTimeout(ok, 50)));
  }
}

/**
 * A page of this platform's rows as the store holds them, at T: memory is asked only for rows that are newer in the
 * store, so that a row changed behind the platform's back shows.
 */
export async function scanSide(
  h: ShardHost,
  r: { at: Position; atUs: number; after: Buffer | null; deadlineMs: number },
): Promise<VerifyPage> {
  const state = await stateAt(h, r.at, r.deadlineMs);
  const { store, shard, indexer } = state.o;
  const rows: RowPrint[] = [];
  const seen: RowImage[] = [];
  let last: Buffer | null = null;
  let read = 0;
  let done = true;
  const from = r.after ? Buffer.concat([r.after, Buffer.from([0])]) : null;
  for await (const stored of store.scanRows(shard, state.generation, { from, to: null, order: 'asc' })) {
    last = stored.key;
    const row = stored.version > r.atUs ? state.recent.at(stored.key, r.atUs) : stored;
    if (row?.entity) {
      rows.push({ key: row.key, version: row.version, digest: rowDigest(row) });
      if (row === stored) seen.push(stored);
    }
    if (++read >= PAGE) {
      done = false;
      break;
    }
  }
  const missing: Buffer[] = [];
  const parts = new Map<string, { part: Buffer; want: { key: Buffer; entity: Buffer }[] }>();
  for (const row of seen)
    for (const i of row.entity ? indexer(row.entity) : []) {
      const id = i.part.toString('latin1');
      const p = parts.get(id) ?? { part: i.part, want: [] };
      p.want.push({ key: i.key, entity: row.key });
      parts.set(id, p);
    }
  for (const { part, want } of parts.values()) {
    for (const w of want) {
      let found = false;
      for await (const i of store.scanIndex(shard, state.generation, part, {
        from: w.key,
        to: Buffer.concat([w.key, Buffer.from([0])]),
        order: 'asc',
      }))
        found = i.present || i.version > r.atUs;
      if (!found) missing.push(w.entity);
    }
  }
  return { rows, last, done, indexMissing: missing };
}

const print = (part: Buffer, key: Buffer): string =>
  createHash('sha256').update(part).update('\0').update(key).digest('base64');

/**
 * Present index rows whose entity does not have them, from a scan of all index rows of a shard. Rows that change while
 * it runs may show: what is found is to be looked at again.
 */
export async function* extraIndexRows(state: ShardState): AsyncIterable<{ part: Buffer; key: Buffer }> {
  const { store, shard, indexer } = state.o;
  const want = new Set<string>();
  for await (const row of store.scanRows(shard, state.generation, { from: null, to: null, order: 'asc' }))
    if (row.entity) for (const i of indexer(row.entity)) want.add(print(i.part, i.key));
  for await (const i of store.scanAllIndexes(shard, state.generation))
    if (i.present && !want.has(print(i.part, i.key))) yield { part: i.part, key: i.key };
}
