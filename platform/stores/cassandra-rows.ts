import { types } from 'cassandra-driver';
import { NxnwError } from '../errors.js';
import type { RowImage } from '../shards/types.js';
import { blobOf, intOf, longOf, type Statement } from './cassandra-session.js';
import { checkKey, checkSize, MAX_ENTITY_BYTES } from './limits.js';
import type { IndexRow } from './port.js';

/** An entity's piece, bytes: a page of a scan holds at most PAGE_ROWS of them. */
export const PIECE_BYTES = 32 << 10;

/** A statement that writes one partition, with about the bytes that it carries. */
export interface Write {
  readonly partition: string;
  readonly bytes: number;
  readonly statements: readonly Statement[];
}

/**
 * A row's statements, to go in one batch: one mutation, so that nobody sees half a row. Pieces that an older, longer
 * version leaves behind carry its version; readers skip them and prune removes them.
 */
export function rowWrite(table: string, shard: number, row: RowImage): Write {
  checkKey('row key', row.key);
  checkSize('entity', row.entity?.length ?? 0, MAX_ENTITY_BYTES);
  const entity = row.entity ?? Buffer.alloc(0);
  const pieces = row.entity === null ? 0 : Math.max(1, Math.ceil(entity.length / PIECE_BYTES));
  const query = `INSERT INTO ${table} (shard, key, piece, v, pieces, created, updated, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`;
  const statements = Array.from({ length: Math.max(1, pieces) }, (_, i) => {
    const data = entity.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES);
    return { query, params: [shard, row.key, i, row.version, pieces, row.createdUs, row.updatedUs, data, row.version] };
  });
  return { partition: '', bytes: entity.length + (row.key.length + 64) * statements.length, statements };
}

export function indexWrite(table: string, shard: number, row: IndexRow): Write {
  checkKey('index part', row.part);
  checkKey('index key', row.key);
  const query = `INSERT INTO ${table} (shard, part, key, v, present) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?`;
  const params = [shard, row.part, row.key, row.version, row.present, row.version];
  return { partition: `i${row.part.toString('latin1')}`, bytes: row.key.length + 64, statements: [{ query, params }] };
}

/** Puts writes of a partition together, up to `maxBytes` and `maxStatements` for a batch. A row is never divided. */
export function batches(writes: Iterable<Write>, maxBytes: number, maxStatements: number): Statement[][] {
  const open = new Map<string, { bytes: number; statements: Statement[] }>();
  const full: Statement[][] = [];
  for (const write of writes) {
    let batch = open.get(write.partition);
    const fits = batch !== undefined && batch.bytes + write.bytes <= maxBytes && batch.statements.length + write.statements.length <= maxStatements; // prettier-ignore
    if (batch === undefined || !fits) {
      if (batch !== undefined) full.push(batch.statements);
      batch = { bytes: 0, statements: [] };
      open.set(write.partition, batch);
    }
    batch.bytes += write.bytes;
    batch.statements.push(...write.statements);
  }
  return [...full, ...[...open.values()].map((b) => b.statements)];
}

/** All pieces that a scan met under one key, in any order. */
export interface Pieces {
  readonly key: Buffer;
  readonly rows: readonly types.Row[];
}

/** Groups a scan's rows by key. */
export async function* byKey(rows: AsyncIterable<types.Row>): AsyncGenerator<Pieces> {
  let key: Buffer | null = null;
  let group: types.Row[] = [];
  for await (const row of rows) {
    const here = blobOf(row, 'key');
    if (key !== null && !key.equals(here)) {
      yield { key, rows: group };
      group = [];
    }
    key = here;
    group.push(row);
  }
  if (key !== null) yield { key, rows: group };
}

/** The newest version among pieces: its first piece says how many it has. Null if only left-overs are there. */
export function headOf(pieces: Pieces): types.Row | null {
  return pieces.rows.find((row) => intOf(row, 'piece') === 0) ?? null;
}

/**
 * The row image of a key's pieces; `torn` if a write came between two pages of the scan (read the key again), null if
 * there is no row.
 */
export function assemble(pieces: Pieces): RowImage | 'torn' | null {
  const head = headOf(pieces);
  if (head === null) return null;
  const version = longOf(head, 'v');
  const count = intOf(head, 'pieces');
  const own = pieces.rows.filter((row) => longOf(row, 'v') === version && intOf(row, 'piece') < count);
  if (own.length !== count) return 'torn';
  own.sort((a, b) => intOf(a, 'piece') - intOf(b, 'piece'));
  const [only] = own;
  const entity = own.length === 1 && only !== undefined ? blobOf(only, 'data') : Buffer.concat(own.map((row) => blobOf(row, 'data'))); // prettier-ignore
  return {
    key: pieces.key,
    version,
    createdUs: longOf(head, 'created'),
    updatedUs: longOf(head, 'updated'),
    entity: count === 0 ? null : entity,
  };
}

export function indexRowOf(row: types.Row, part: Buffer): IndexRow {
  return { part, key: blobOf(row, 'key'), version: longOf(row, 'v'), present: presentOf(row) };
}

export function presentOf(row: types.Row): boolean {
  const value: unknown = row['present'];
  if (typeof value === 'boolean') return value;
  throw new NxnwError('INTERNAL', 'column present is not a boolean');
}
