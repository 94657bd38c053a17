import { createHash } from 'node:crypto';
import { invalid } from '../refuse.js';

/**
 * Cursors: version, fingerprint of the query's shape, checksum, position. The position is made of values and a key, so
 * it means the same in every process, shard and platform, before and after a move. An empty position is the beginning.
 */
const VERSION = 1;
const HEAD_BYTES = 9;

function digest4(...parts: Buffer[]): Buffer {
  const hash = createHash('sha256');
  for (const p of parts) hash.update(p);
  return hash.digest().subarray(0, 4);
}

/** Of what decides a result's position: partition, kind, orders. Cursors of one shape can be exchanged. */
export function shapeOf(shape: readonly unknown[]): Buffer {
  return digest4(Buffer.from(JSON.stringify(shape)));
}

export function encodeCursor(shape: Buffer, position: Buffer | null): Buffer {
  const at = position ?? Buffer.alloc(0);
  return Buffer.concat([Buffer.of(VERSION), shape, digest4(shape, at), at]);
}

/** The position, or null for the beginning. INVALID_ARGUMENT if the cursor is not one of this query's. */
export function decodeCursor(shape: Buffer, cursor: Buffer, field: string): Buffer | null {
  const position = cursor.subarray(HEAD_BYTES);
  if (
    cursor[0] !== VERSION ||
    cursor.length < HEAD_BYTES ||
    !digest4(cursor.subarray(1, 5), position).equals(cursor.subarray(5, 9))
  )
    throw invalid(`${field} is not a cursor that this API gave out`);
  if (!cursor.subarray(1, 5).equals(shape))
    throw invalid(
      `${field} belongs to another query: kind, namespace and orders must be those of the query that gave it out`,
    );
  return position.length ? position : null;
}
