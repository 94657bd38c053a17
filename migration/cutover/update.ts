import { createHmac, timingSafeEqual } from 'node:crypto';
import { name as domainName, record } from 'dns-packet';
import { NxnwError } from '@nxnw/platform/errors';
import type { RecordSet, RecordType } from './dns.js';

/**
 * Messages of dynamic update (RFC 2136), signed by TSIG with hmac-sha256 (RFC 8945). dns-packet writes neither: it has
 * no class NONE and no signatures.
 */
const TYPES: Readonly<Record<RecordType | 'SOA' | 'TSIG', number>> = { A: 1, AAAA: 28, SOA: 6, TSIG: 250 };
const CLASS = { IN: 1, NONE: 254, ANY: 255 } as const;
const OPCODE_UPDATE = 5 << 11;
const ALGORITHM = domainName.encode('hmac-sha256');
/**
 * Seconds by which our clock and the server's may differ. Also the longest time for which an update that got stuck on
 * its way can still be carried out, so it is short.
 */
const FUDGE_S = 30;

export interface TsigKey {
  readonly name: string;
  readonly secret: Buffer;
}

interface Rr {
  readonly name: string;
  readonly type: number;
  readonly class: number;
  readonly ttlS: number;
  readonly data: Buffer;
}

const NOTHING = Buffer.alloc(0);

function u16(n: number): Buffer {
  const b = Buffer.alloc(2);
  b.writeUInt16BE(n);
  return b;
}

function encodeRr(r: Rr): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(r.type, 0);
  fixed.writeUInt16BE(r.class, 2);
  fixed.writeUInt32BE(r.ttlS, 4);
  fixed.writeUInt16BE(r.data.length, 8);
  return Buffer.concat([domainName.encode(r.name), fixed, r.data]);
}

function addresses(s: RecordSet, ttlS: number): Rr[] {
  return s.values.map((v) => ({
    ...{ name: s.name, type: TYPES[s.type], class: CLASS.IN, ttlS },
    data: record(s.type).encode(v).subarray(2),
  }));
}

/**
 * An update of one set: its prerequisite is that the set holds exactly `expected`'s values (a TTL cannot be asked for),
 * or does not exist.
 */
export function encodeUpdate(o: {
  readonly id: number;
  readonly zone: string;
  readonly name: string;
  readonly type: RecordType;
  readonly expected: RecordSet | null;
  readonly wanted: RecordSet | null;
}): Buffer {
  const { name } = o;
  const set = { name, type: TYPES[o.type], ttlS: 0, data: NOTHING };
  const prerequisites: Rr[] = o.expected ? addresses(o.expected, 0) : [{ ...set, class: CLASS.NONE }];
  const updates: Rr[] = [{ ...set, class: CLASS.ANY }, ...(o.wanted ? addresses(o.wanted, o.wanted.ttlS) : [])];
  const header = Buffer.concat([o.id, OPCODE_UPDATE, 1, prerequisites.length, updates.length, 0].map(u16));
  const zone = Buffer.concat([domainName.encode(o.zone), u16(TYPES.SOA), u16(CLASS.IN)]);
  return Buffer.concat([header, zone, ...[...prerequisites, ...updates].map(encodeRr)]);
}

export interface Signed {
  readonly message: Buffer;
  readonly mac: Buffer;
}

/** The fields of a TSIG record that are signed with the message. */
function variables(key: TsigKey, timeS: number, fudgeS: number, error: number, other: Buffer): Buffer {
  const time = Buffer.alloc(8);
  time.writeUIntBE(timeS, 0, 6);
  time.writeUInt16BE(fudgeS, 6);
  const head = Buffer.concat([domainName.encode(key.name), u16(CLASS.ANY), Buffer.alloc(4), ALGORITHM]);
  return Buffer.concat([head, time, u16(error), u16(other.length), other]);
}

function macOf(key: TsigKey, ...parts: readonly Buffer[]): Buffer {
  const mac = createHmac('sha256', key.secret);
  for (const p of parts) mac.update(p);
  return mac.digest();
}

/** The message with its TSIG record. `nowS`: seconds since 1970. */
export function sign(message: Buffer, key: TsigKey, nowS: number): Signed {
  const mac = macOf(key, message, variables(key, nowS, FUDGE_S, 0, NOTHING));
  const time = Buffer.alloc(8);
  time.writeUIntBE(nowS, 0, 6);
  time.writeUInt16BE(FUDGE_S, 6);
  const data = Buffer.concat([ALGORITHM, time, u16(mac.length), mac, message.subarray(0, 2), u16(0), u16(0)]);
  const tsig = encodeRr({ name: key.name, type: TYPES.TSIG, class: CLASS.ANY, ttlS: 0, data });
  const signed = Buffer.concat([message, tsig]);
  signed.writeUInt16BE(signed.readUInt16BE(10) + 1, 10);
  return { message: signed, mac };
}

const TSIG_ERRORS: Readonly<Record<number, string>> = {
  16: 'BADSIG: the secret of the key differs',
  17: 'BADKEY: the server does not know the key',
  18: 'BADTIME: the clocks differ by more than 30 s',
  22: 'BADTRUNC: the server wants a longer signature',
};

/**
 * Checks the answer's signature, whose data is `tsig` (the last record's). DNS_REFUSED, with the reason, for an answer
 * that is not signed by the key or that says that our own signature is bad.
 */
export function checkAnswer(answer: Buffer, tsig: unknown, key: TsigKey, requestMac: Buffer): void {
  if (!Buffer.isBuffer(tsig)) throw refused('the server did not sign its answer');
  const start = answer.length - tsig.length - domainName.encode(key.name).length - 10;
  let at = tsig.indexOf(0) + 1; // behind the algorithm's name
  const timeS = tsig.readUIntBE(at, 6);
  const fudgeS = tsig.readUInt16BE(at + 6);
  const macBytes = tsig.readUInt16BE(at + 8);
  at += 10;
  const mac = tsig.subarray(at, at + macBytes);
  at += macBytes;
  const id = tsig.readUInt16BE(at);
  const error = tsig.readUInt16BE(at + 2);
  const other = tsig.subarray(at + 6, at + 6 + tsig.readUInt16BE(at + 4));
  if (error !== 0 && error !== 18) throw refused(TSIG_ERRORS[error] ?? `TSIG error ${error}`);
  const bare = Buffer.from(answer.subarray(0, Math.max(12, start)));
  bare.writeUInt16BE(id, 0);
  bare.writeUInt16BE(bare.readUInt16BE(10) - 1, 10);
  const right = macOf(key, u16(requestMac.length), requestMac, bare, variables(key, timeS, fudgeS, error, other));
  if (mac.length !== right.length || !timingSafeEqual(mac, right)) throw refused("the answer's signature is wrong");
  if (error !== 0) throw refused(TSIG_ERRORS[error] ?? `TSIG error ${error}`);
}

function refused(why: string): NxnwError {
  return new NxnwError('DNS_REFUSED', `signed update failed: ${why}. Check the key's name and secret, and the clocks.`);
}
