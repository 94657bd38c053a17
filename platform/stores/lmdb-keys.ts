import { createHash } from 'node:crypto';

/**
 * Physical keys of a shard's LMDB environment: one byte for the table, then what orders it. LMDB takes keys of at most
 * 1978 bytes (4 KiB pages); longer ones are laid out as a tree, which keeps their order exactly:
 *
 *   short key      head + key                                   (key <= PIECE bytes)
 *   long key       head + its first PIECE bytes + 0x01          a pointer, without a value
 *                  nested head + the rest, laid out the same way
 *
 * The nested head carries a digest of the pointer, so a layout needs no look-up and no counter, and two keys share a
 * nested head only if they share their first bytes. A pointer is longer than any short key of its level and sorts right
 * after the short key that equals its piece: exactly where the keys below it belong.
 */
export const PIECE = 1900;
const NESTED = 0x80;

export type Table = 'rows' | 'index';
const TABLE = { slots: 1, chunks: 2, cells: 3, rows: 4, index: 5 } as const;

/** Where the keys of one level begin. */
export interface Level {
  readonly head: Buffer;
}

export interface Layout {
  /** Entries to write (empty values) before the leaf, so that a scan finds the way down. */
  readonly pointers: readonly Buffer[];
  readonly leaf: Buffer;
}

export function slotKey(epoch: number, slot: number): Buffer {
  const key = Buffer.alloc(11);
  key[0] = TABLE.slots;
  key.writeUInt32BE(epoch, 1);
  key.writeUIntBE(slot, 5, 6);
  return key;
}

export function slotOf(key: Buffer): { epoch: number; slot: number } {
  return { epoch: key.readUInt32BE(1), slot: key.readUIntBE(5, 6) };
}

/** All slots lie below it. */
export const SLOTS_END = Buffer.from([TABLE.slots + 1]);

export function chunkKey(nonce: string, i: number): Buffer {
  const at = Buffer.alloc(4);
  at.writeUInt32BE(i);
  return Buffer.concat([chunkPrefix(nonce), at]);
}

/** The nonce's own length goes first: no nonce's chunks can lie among those of another. */
export function chunkPrefix(nonce: string): Buffer {
  const bytes = Buffer.from(nonce);
  return Buffer.concat([Buffer.from([TABLE.chunks, bytes.length]), bytes]);
}

export function cellKey(name: string): Buffer {
  return Buffer.concat([Buffer.from([TABLE.cells]), Buffer.from(name)]);
}

export function level(table: Table, generation: number): Level {
  const head = Buffer.alloc(5);
  head[0] = TABLE[table];
  head.writeUInt32BE(generation, 1);
  return { head };
}

/** Heads of everything that a generation of a table holds: its first level and all nested ones. */
export function generationHeads(table: Table, generation: number): Buffer[] {
  const { head } = level(table, generation);
  const nested = Buffer.from(head);
  nested[0] = TABLE[table] | NESTED;
  return [head, nested];
}

/** The level below a pointer. */
export function below(pointer: Buffer): Level {
  const digest = createHash('sha256').update(pointer).digest().subarray(0, 20);
  const head = Buffer.concat([pointer.subarray(0, 5), digest]);
  head[0] = pointer.readUInt8(0) | NESTED;
  return { head };
}

export function pointerAt(at: Level, key: Buffer): Buffer {
  return Buffer.concat([at.head, key.subarray(0, PIECE), Buffer.from([1])]);
}

export function isPointer(at: Level, physical: Buffer): boolean {
  return physical.length === at.head.length + PIECE + 1;
}

export function layout(first: Level, key: Buffer): Layout {
  const pointers: Buffer[] = [];
  let at = first;
  let rest = key;
  while (rest.length > PIECE) {
    const pointer = pointerAt(at, rest);
    pointers.push(pointer);
    at = below(pointer);
    rest = rest.subarray(PIECE);
  }
  return { pointers, leaf: Buffer.concat([at.head, rest]) };
}

/** An index row's place: parts are kept apart by their length, keys are ordered within a part. */
export function indexKey(part: Buffer, key: Buffer): Buffer {
  return Buffer.concat([indexPrefix(part), key]);
}

export function indexPrefix(part: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(part.length);
  return Buffer.concat([length, part]);
}

export function splitIndexKey(composite: Buffer): { part: Buffer; key: Buffer } {
  const end = 2 + composite.readUInt16BE(0);
  return { part: composite.subarray(2, end), key: composite.subarray(end) };
}

/** The first key after all that begin with `prefix`, or null if there is none. */
export function afterPrefix(prefix: Buffer): Buffer | null {
  let end = prefix.length;
  while (end > 0 && prefix[end - 1] === 0xff) end--;
  if (end === 0) return null;
  const next = Buffer.from(prefix.subarray(0, end));
  next[end - 1] = next.readUInt8(end - 1) + 1;
  return next;
}
