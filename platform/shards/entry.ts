import { createHash } from 'node:crypto';
import { Packr } from 'msgpackr';
import { NxnwError } from '../errors.js';
import type { MutationAnswer, Position, RowImage, ShardId, TxId } from './types.js';

const packr = new Packr({ useRecords: false, moreTypes: false });

/** A row in the log: the full after-image, and what it replaces, so that the digest follows from the log alone. */
export interface LogRow extends RowImage {
  /** The first `groupBytes` bytes of `key` name the entity group. */
  readonly groupBytes: number;
  readonly kind: string;
  /** Digest (16 bytes) of the present row that this one replaces, or null if there was none; and its size. */
  readonly was: Buffer | null;
  readonly wasBytes: number;
}

export interface PreparedTx {
  readonly tx: TxId;
  readonly beganUs: number;
  readonly participants: readonly ShardId[];
  readonly proposal: number;
  readonly rows: readonly LogRow[];
  readonly answers: readonly MutationAnswer[];
  /** What the transaction has read here: others may not write it before the decision. */
  readonly readKeys: readonly Buffer[];
  readonly readRanges: readonly { readonly group: Buffer | null; readonly kind: string | null }[];
}

export interface DecidedTx {
  readonly tx: TxId;
  readonly beganUs: number;
  readonly commit: boolean;
  readonly version: number;
  readonly participants: readonly ShardId[];
}

/** What a slot may hold, beside its chain: one START or terminal alone, or any number of the others. */
export type LogRecord =
  | {
      readonly t: 'start';
      readonly platform: string;
      readonly process: string;
      readonly nonce: string;
      /** End of the previous segment, or null in the first one. */
      readonly prev: Position | null;
      readonly checkpoint: Position | null;
      /** Undecided prepares with after-images, each with the position of its PREPARE (C1). */
      readonly prepares: readonly (PreparedTx & { readonly at: Position })[];
      /** Decided transactions that not all participants have noted. */
      readonly decided: readonly (DecidedTx & { readonly at: Position })[];
      readonly idFloor: number;
      readonly reserved: readonly number[];
      readonly protocol: number;
    }
  | { readonly t: 'commit'; readonly tx: TxId; readonly version: number; readonly rows: readonly LogRow[]; readonly answers: readonly MutationAnswer[] } // prettier-ignore
  | ({ readonly t: 'prepare' } & PreparedTx)
  | ({ readonly t: 'decide' } & DecidedTx)
  | { readonly t: 'note'; readonly tx: TxId; readonly beganUs: number; readonly commit: boolean; readonly version: number } // prettier-ignore
  | { readonly t: 'ids'; readonly upTo: number }
  | { readonly t: 'reserve'; readonly counters: readonly number[] }
  /** All participants have noted these decisions: nobody will ask for them any more. */
  | { readonly t: 'noted'; readonly txs: readonly TxId[] }
  | { readonly t: 'final' }
  | { readonly t: 'end'; readonly epoch: number; readonly nonce: string }
  | { readonly t: 'move'; readonly platform: string; readonly epoch: number; readonly nonce: string };

export type StartRecord = Extract<LogRecord, { t: 'start' }>;

/** One slot's content: hash of the previous entry (zeros before the first), a rising timestamp, records. */
export interface LogEntry {
  readonly prev: Buffer;
  readonly tsUs: number;
  readonly records: readonly LogRecord[];
}

/** An entry with its place and its encoded form. */
export interface PlacedEntry {
  readonly at: Position;
  readonly entry: LogEntry;
  readonly bytes: Buffer;
  readonly hash: Buffer;
}

export const ZERO_HASH = Buffer.alloc(32);

export function sha256(b: Buffer): Buffer {
  return createHash('sha256').update(b).digest();
}

export function encodeEntry(e: LogEntry): Buffer {
  // a copy: the packer hands out slices of a buffer that it goes on using
  return Buffer.from(packr.pack([1, e.prev, e.tsUs, e.records]));
}

export function decodeEntry(bytes: Buffer, at: Position): PlacedEntry {
  const x = packr.unpack(bytes) as [number, Buffer, number, LogRecord[]];
  if (!Array.isArray(x) || x[0] !== 1)
    throw new NxnwError('LOG_FORMAT', `slot ${at.epoch}.${at.slot} holds an entry of an unknown format ${String(x[0])}; this version reads format 1: upgrade this platform first`, { at }); // prettier-ignore
  return { at, entry: { prev: x[1], tsUs: x[2], records: x[3] }, bytes, hash: sha256(bytes) };
}

/** START, END and MOVE open or close a segment and stand alone in their slot. */
export function terminalOf(e: LogEntry): Extract<LogRecord, { t: 'end' | 'move' }> | null {
  const r = e.records[0];
  return r?.t === 'end' || r?.t === 'move' ? r : null;
}

export function startOf(e: LogEntry): StartRecord | null {
  const r = e.records[0];
  return r?.t === 'start' ? r : null;
}

/** Digest of one present row: key, version and content. */
export function rowDigest(r: RowImage): Buffer {
  const h = createHash('sha256');
  const head = Buffer.alloc(12);
  head.writeUInt32BE(r.key.length, 0);
  head.writeBigUInt64BE(BigInt(r.version), 4);
  h.update(head).update(r.key);
  if (r.entity) h.update(r.entity);
  return h.digest().subarray(0, 16);
}

const MOD = 1n << 128n;

/** Additive digest of a set of rows: the order of additions does not matter. */
export class Digest {
  constructor(private sum = 0n) {}

  static fromHex(hex: string): Digest {
    return new Digest(BigInt(`0x${hex}`));
  }

  add(row: Buffer): void {
    this.sum = (this.sum + BigInt(`0x${row.toString('hex')}`)) % MOD;
  }

  remove(row: Buffer): void {
    this.sum = (this.sum - BigInt(`0x${row.toString('hex')}`) + MOD) % MOD;
  }

  /** What must be added to `from` to get this digest. */
  minus(from: string): bigint {
    return (this.sum - BigInt(`0x${from}`) + MOD) % MOD;
  }

  shift(by: bigint): void {
    this.sum = (this.sum + by) % MOD;
  }

  get hex(): string {
    return this.sum.toString(16).padStart(32, '0');
  }
}

/** Rows that an entry makes true, at the place where it does: commits, and decisions or notes of prepared ones. */
export function rowBytes(r: RowImage): number {
  return r.key.length + (r.entity?.length ?? 0);
}
