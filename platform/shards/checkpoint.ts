import { Packr } from 'msgpackr';
import type { Payload } from '../stores/port.js';
import type { Position, ShardId } from './types.js';

const packr = new Packr({ useRecords: false, moreTypes: false });
/** Slots per segment that a position's number has room for; epochs then stay below 2^17 within 2^53. */
const SLOTS = 2 ** 35;

/** Each generation of tables (each load, C10) has a checkpoint of its own. */
const cellName = (generation: number): string => `checkpoint.${generation}`;

/** Positions as one rising number, the version of the checkpoint's cell: a late write can never lower it (C5). */
export function positionNumber(p: Position): number {
  return p.epoch * SLOTS + p.slot;
}

/** What a shard is at one position of its log; where a successor's replay begins (C5). */
export interface Checkpoint {
  readonly at: Position;
  readonly hash: Buffer;
  readonly tsUs: number;
  /** Additive digest of present rows at `at`; null on a replica that has not counted yet. */
  readonly digest: string | null;
  readonly entities: number;
  readonly bytes: number;
  readonly idFloor: number;
  readonly reserved: readonly number[];
  readonly authority: string;
  readonly generation: number;
  /** The history window (answers of transactions, conflicts) is what lies behind this position; at or below `at`. */
  readonly window: Position;
  /** Reads at a T below this cannot be answered from the window. */
  readonly windowUs: number;
}

export async function readCheckpoint(store: Payload, shard: ShardId, generation: number): Promise<Checkpoint | null> {
  const cell = await store.getCell(shard, cellName(generation));
  return cell ? (packr.unpack(cell.value) as Checkpoint) : null;
}

/** At one position a checkpoint that has counted the rows replaces one that has not. */
export async function writeCheckpoint(store: Payload, shard: ShardId, c: Checkpoint): Promise<void> {
  await store.putCell(shard, {
    name: cellName(c.generation),
    version: positionNumber(c.at),
    value: Buffer.from(packr.pack(c)),
  });
}

/** A small versioned cell of the shard's own, MessagePack inside. */
export async function readCell<T>(
  store: Payload,
  shard: ShardId,
  name: string,
): Promise<{ version: number; value: T } | null> {
  const cell = await store.getCell(shard, name);
  return cell ? { version: cell.version, value: packr.unpack(cell.value) as T } : null;
}

export async function writeCell(
  store: Payload,
  shard: ShardId,
  name: string,
  version: number,
  value: unknown,
): Promise<void> {
  await store.putCell(shard, { name, version, value: Buffer.from(packr.pack(value)) });
}
