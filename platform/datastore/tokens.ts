import { createHash } from 'node:crypto';
import { Packr } from 'msgpackr';
import { z } from 'zod';
import type { TxId } from '../shards/types.js';
import { invalid } from './refuse.js';

/** The process that keeps a transaction's read set and answers; a restarted process is another home (`boot`). */
export interface TransactionHome {
  readonly platform: string;
  readonly process: string;
  readonly boot: string;
}

/** What a transaction's bytes say. They are no secret and no proof: the home's table decides. */
export interface TransactionToken {
  readonly home: TransactionHome;
  readonly tx: TxId;
  readonly readOnly: boolean;
  /** Microseconds since 1970, by the home's clock. */
  readonly beganUs: number;
}

const VERSION = 1;
const packr = new Packr({ useRecords: false, moreTypes: false });
const schema = z.tuple([
  z.string(),
  z.string(),
  z.string(),
  z.instanceof(Buffer).refine((b) => b.length === 16),
  z.boolean(),
  z.number().int(),
]);

function checksum(body: Buffer): Buffer {
  return createHash('sha256').update(body).digest().subarray(0, 4);
}

/** Version, checksum, MessagePack of platform, process, boot, tx, readOnly, beganUs. */
export function encodeToken(t: TransactionToken): Buffer {
  const { platform, process, boot } = t.home;
  const body = packr.pack([platform, process, boot, Buffer.from(t.tx, 'hex'), t.readOnly, t.beganUs]);
  return Buffer.concat([Buffer.of(VERSION), checksum(body), body]);
}

/** INVALID_ARGUMENT for bytes that no platform of ours gave out. */
export function decodeToken(bytes: Buffer): TransactionToken {
  const body = bytes.subarray(5);
  if (bytes[0] === VERSION && body.length > 0 && checksum(body).equals(bytes.subarray(1, 5))) {
    const parsed = schema.safeParse(packr.unpack(body));
    if (parsed.success) {
      const [platform, process, boot, tx, readOnly, beganUs] = parsed.data;
      return { home: { platform, process, boot }, tx: tx.toString('hex'), readOnly, beganUs };
    }
  }
  throw invalid('the transaction identifier is not one that BeginTransaction or a read gave out');
}
