import { NxnwError } from '../errors.js';
import { JuteWriter } from './jute.js';
import type { JuteReader } from './jute.js';

/** Operation codes of ZooKeeper 3.9 (ZooDefs.OpCode). */
export const Op = {
  delete: 2,
  exists: 3,
  getData: 4,
  setData: 5,
  getAcl: 6,
  setAcl: 7,
  sync: 9,
  getChildren2: 12,
  check: 13,
  multi: 14,
  create2: 15,
  removeWatches: 18,
  addWatch: 106,
  error: -1,
} as const;

/** One permission: `perms` is a sum of read 1, write 2, create 4, delete 8, admin 16. */
export interface Acl {
  readonly perms: number;
  readonly scheme: string;
  readonly id: string;
}

export const OPEN_ACL: readonly Acl[] = [{ perms: 31, scheme: 'world', id: 'anyone' }];

/** A znode's state as ZooKeeper tells it. Times are milliseconds by the server's clock. */
export interface Stat {
  readonly czxid: bigint;
  readonly mzxid: bigint;
  readonly ctimeMs: number;
  readonly mtimeMs: number;
  readonly version: number;
  readonly cversion: number;
  readonly aversion: number;
  readonly ephemeralOwner: bigint;
  readonly dataBytes: number;
  readonly numChildren: number;
  readonly pzxid: bigint;
}

export type CreateMode = 'persistent' | 'persistent-sequential' | 'ephemeral' | 'ephemeral-sequential';

const MODE_FLAGS: Readonly<Record<CreateMode, number>> = {
  persistent: 0,
  ephemeral: 1,
  'persistent-sequential': 2,
  'ephemeral-sequential': 3,
};

/** An operation of a multi; `version` -1 means any. */
export type MultiOp =
  | { readonly op: 'create'; readonly path: string; readonly data: Buffer | null; readonly mode?: CreateMode; readonly acl?: readonly Acl[] }
  | { readonly op: 'set'; readonly path: string; readonly data: Buffer | null; readonly version?: number }
  | { readonly op: 'remove'; readonly path: string; readonly version?: number }
  | { readonly op: 'check'; readonly path: string; readonly version: number }; // prettier-ignore

/** A multi's answers in the order of its operations. */
export type MultiResult =
  | { readonly op: 'create'; readonly path: string; readonly stat: Stat }
  | { readonly op: 'set'; readonly stat: Stat }
  | { readonly op: 'remove' | 'check' };

/**
 * What kind of node a stat describes. Servers tell clients of container and TTL nodes as of persistent ones
 * (DataNode.getClientEphemeralOwner).
 */
export function nodeKind(stat: Stat): 'persistent' | 'ephemeral' {
  return stat.ephemeralOwner === 0n ? 'persistent' : 'ephemeral';
}

/**
 * The number that the next sequential child gets. ZooKeeper keeps a count of creates and shows it as
 * cversion = 2 * creates - children (DataNode.copyStat), so the count can be computed without touching the node.
 */
export function nextSequence(stat: Stat): number {
  return ((stat.cversion + stat.numChildren) >>> 0) / 2;
}

export function readStat(r: JuteReader): Stat {
  return {
    czxid: r.long(),
    mzxid: r.long(),
    ctimeMs: Number(r.long()),
    mtimeMs: Number(r.long()),
    version: r.int(),
    cversion: r.int(),
    aversion: r.int(),
    ephemeralOwner: r.long(),
    dataBytes: r.int(),
    numChildren: r.int(),
    pzxid: r.long(),
  };
}

export function readAcl(r: JuteReader): Acl {
  return { perms: r.int(), scheme: r.text(), id: r.text() };
}

export function writeAcl(w: JuteWriter, acl: readonly Acl[]): void {
  w.list(acl, (x, a) => x.int(a.perms).text(a.scheme).text(a.id));
}

export function writeCreate(
  w: JuteWriter,
  path: string,
  data: Buffer | null,
  acl: readonly Acl[],
  mode: CreateMode,
): void {
  w.text(path).bytes(data);
  writeAcl(w, acl);
  w.int(MODE_FLAGS[mode]);
}

/** Bytes that an operation takes in a multi, at most; for keeping a batch below the server's jute.maxbuffer. */
export function multiOpBytes(o: MultiOp): number {
  let bytes = 32 + Buffer.byteLength(o.path);
  if ('data' in o) bytes += o.data?.length ?? 0;
  if (o.op === 'create') for (const a of o.acl ?? OPEN_ACL) bytes += 16 + Buffer.byteLength(a.scheme + a.id);
  return bytes;
}

/** The body of a multi; paths are absolute (chroot already in them). */
export function writeMulti(ops: readonly MultiOp[]): Buffer {
  const w = new JuteWriter(ops.reduce((n, o) => n + multiOpBytes(o), 16));
  for (const o of ops) {
    switch (o.op) {
      case 'create':
        w.int(Op.create2).bool(false).int(-1);
        writeCreate(w, o.path, o.data, o.acl ?? OPEN_ACL, o.mode ?? 'persistent');
        break;
      case 'set':
        w.int(Op.setData)
          .bool(false)
          .int(-1)
          .text(o.path)
          .bytes(o.data)
          .int(o.version ?? -1);
        break;
      case 'remove':
        w.int(Op.delete)
          .bool(false)
          .int(-1)
          .text(o.path)
          .int(o.version ?? -1);
        break;
      case 'check':
        w.int(Op.check).bool(false).int(-1).text(o.path).int(o.version);
        break;
    }
  }
  return w.int(-1).bool(true).int(-1).done();
}

/** Parses a multi's answer; throws the error of the operation that failed, with its `index` and `path`. */
export function readMulti(r: JuteReader, ops: readonly MultiOp[]): MultiResult[] {
  const results: MultiResult[] = [];
  let failed: { code: number; index: number } | undefined;
  for (let index = 0; ; index++) {
    const type = r.int();
    const done = r.bool();
    r.int();
    if (done) break;
    if (type === Op.create2) results.push({ op: 'create', path: r.text(), stat: readStat(r) });
    else if (type === Op.setData) results.push({ op: 'set', stat: readStat(r) });
    else if (type === Op.delete) results.push({ op: 'remove' });
    else if (type === Op.check) results.push({ op: 'check' });
    else if (type === Op.error) {
      const code = r.int();
      // -2 marks operations that were not tried, 0 those rolled back.
      if (code !== 0 && code !== -2) failed ??= { code, index };
    } else throw new NxnwError('PROTOCOL_ERROR', `unknown type ${type} in a multi's answer`);
  }
  if (failed) throw zkError(failed.code, 'multi', ops[failed.index]?.path ?? '', { index: failed.index });
  return results;
}

const CODES: ReadonlyMap<number, string> = new Map([
  [-4, 'CONNECTION_LOSS'],
  [-5, 'PROTOCOL_ERROR'],
  [-6, 'UNIMPLEMENTED'],
  [-8, 'INVALID_ARGUMENT'],
  [-101, 'NO_NODE'],
  [-102, 'NO_AUTH'],
  [-103, 'BAD_VERSION'],
  [-108, 'NO_CHILDREN_FOR_EPHEMERALS'],
  [-110, 'NODE_EXISTS'],
  [-111, 'NOT_EMPTY'],
  [-112, 'SESSION_EXPIRED'],
  [-114, 'INVALID_ACL'],
  [-115, 'AUTH_FAILED'],
  [-118, 'CONNECTION_LOSS'],
  [-125, 'QUOTA_EXCEEDED'],
]);

/** The error of a ZooKeeper code. CONNECTION_LOSS = the outcome is unknown. */
export function zkError(
  code: number,
  what: string,
  path: string,
  fields: Readonly<Record<string, unknown>> = {},
): NxnwError {
  const name = CODES.get(code) ?? 'ZOOKEEPER_ERROR';
  const unknown = name === 'CONNECTION_LOSS' ? '; whether it was done is unknown: read before trying again' : '';
  return new NxnwError(name, `ZooKeeper ${what} ${path}: ${name} (${code})${unknown}`, { path, code, ...fields });
}
