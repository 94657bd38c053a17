import type { IndexRow } from '../stores/port.js';
import type { IndexKey, Indexer, RowImage } from './types.js';

/** What a batch of log rows makes of the store's rows. */
export interface Applied {
  readonly rows: RowImage[];
  readonly index: IndexRow[];
}

const k = (b: Buffer): string => b.toString('latin1');

function indexRows(row: RowImage | null, indexer: Indexer): Map<string, IndexKey> {
  const keys = row?.entity ? indexer(row.entity) : [];
  return new Map(keys.map((i) => [`${k(i.part)}\u0000${k(i.key)}`, i]));
}

/**
 * Pure: rows and index rows to put, from rows in log order and the stored rows of their keys (C8). Index rows of
 * versions in between are put too, so that a read at a T between them finds its candidates.
 */
export function applyRows(
  log: readonly RowImage[],
  stored: ReadonlyMap<string, RowImage | null>,
  indexer: Indexer,
): Applied {
  const now = new Map(stored);
  const index = new Map<string, IndexRow>();
  const rows = new Map<string, RowImage>();
  for (const row of log) {
    const old = now.get(k(row.key)) ?? null;
    // a scanned row may be newer than the entry that is redone (C10)
    if (old && old.version > row.version) continue;
    const was = indexRows(old, indexer);
    const is = indexRows(row, indexer);
    // what stays is there already, with the version that made it so
    for (const [id, i] of was) if (!is.has(id)) index.set(id, { ...i, version: row.version, present: false });
    for (const [id, i] of is) if (!was.has(id)) index.set(id, { ...i, version: row.version, present: true });
    now.set(k(row.key), row);
    const { key, version, createdUs, updatedUs, entity } = row;
    rows.set(k(key), { key, version, createdUs, updatedUs, entity });
  }
  return { rows: [...rows.values()], index: [...index.values()] };
}
