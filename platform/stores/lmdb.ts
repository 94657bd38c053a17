import { existsSync, mkdirSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { NxnwError } from '../errors.js';
import type { Position, RowImage, ShardId } from '../shards/types.js';
import * as keys from './lmdb-keys.js';
import { freeToOpen, LmdbEnv } from './lmdb-env.js';
import {
  HEADER,
  header,
  indexPuts,
  indexRowOf,
  isOldRecord,
  putNewer,
  removeOld,
  rowOf,
  rowPuts,
} from './lmdb-values.js';
import type { Put } from './lmdb-values.js';
import { checkNumber, checkSize } from './limits.js';
import type { AppendOutcome, Cell, IndexRow, RowRange, Store, StoreCapabilities } from './port.js';

export interface LmdbConfig {
  readonly kind: 'lmdb';
  /** Directory of the platform's data; an environment per shard lies in `DIR/APP/INDEX`. */
  readonly dir: string;
  /** Longest wait for a commit, the writer lock included, ms. @default 5000 */
  readonly writeTimeoutMs?: number | undefined;
}

/** Rows and index rows of one write transaction: it runs on the event loop's thread. */
const TXN_ROWS = 1000;
const TXN_BYTES = 1 << 20;

const MEMORY_FS = [0x01021994, 0x858458f6]; // tmpfs, ramfs
const NETWORK_FS = [0x6969, 0x517b, 0xff534d42, 0xfe534d42]; // NFS, SMB, CIFS, SMB2

export class LmdbStore implements Store {
  readonly capabilities: StoreCapabilities = {
    kind: 'lmdb',
    maxEntryBytes: 1 << 20,
    chunkBytes: 512 << 10,
    maxBatchBytes: 4 << 20,
  };
  private readonly envs = new Map<string, Promise<LmdbEnv>>();
  private readonly writeTimeoutMs: number;

  constructor(private readonly config: LmdbConfig) {
    this.writeTimeoutMs = config.writeTimeoutMs ?? 5000;
  }

  async append(shard: ShardId, at: Position, bytes: Buffer): Promise<AppendOutcome> {
    checkSize('log entry', bytes.length, this.capabilities.maxEntryBytes);
    const key = slotKey(at);
    const env = await this.env(shard);
    if (await env.putIfAbsent(key, bytes)) return { won: true };
    const held = env.get(key);
    if (held !== null) return { won: false, held };
    throw new NxnwError('UNAVAILABLE', `slot ${at.epoch}.${at.slot} was held and is truncated now; read the checkpoint again`); // prettier-ignore
  }

  async appendRun(shard: ShardId, epoch: number, run: readonly { slot: number; bytes: Buffer }[]): Promise<boolean> {
    for (const { bytes } of run) checkSize('log entry', bytes.length, this.capabilities.maxEntryBytes);
    const puts = run.map(({ slot, bytes }) => ({ key: slotKey({ epoch, slot }), bytes }));
    return (await this.env(shard)).write((txn) => {
      const absent = puts.filter(({ key }) => txn.peek(key) === null);
      absent.forEach(({ key, bytes }) => txn.put(key, bytes));
      return absent.length === puts.length;
    });
  }

  async read(shard: ShardId, at: Position): Promise<Buffer | null> {
    return (await this.env(shard)).get(slotKey(at));
  }

  async last(shard: ShardId, epoch: number): Promise<number | null> {
    const env = await this.env(shard);
    const [top] = env.chunk(slotKey({ epoch, slot: 0 }), afterSegment(epoch), 'desc', 1);
    return top === undefined ? null : keys.slotOf(top.key).slot;
  }

  async scan(shard: ShardId, epoch: number, from: number, limit: number): Promise<{ slot: number; bytes: Buffer }[]> {
    const env = await this.env(shard);
    const found: { slot: number; bytes: Buffer }[] = [];
    const within = env.range(slotKey({ epoch, slot: from }), afterSegment(epoch), 'asc', limit);
    for await (const { key, value } of within) found.push({ slot: keys.slotOf(key).slot, bytes: value });
    return found;
  }

  async lastEpoch(shard: ShardId): Promise<number | null> {
    const env = await this.env(shard);
    let end: Buffer = keys.SLOTS_END;
    for (;;) {
      const [top] = env.chunk(keys.slotKey(0, 0), end, 'desc', 1);
      if (top === undefined) return null;
      const { epoch } = keys.slotOf(top.key);
      end = keys.slotKey(epoch, 0);
      if (env.get(end) !== null) return epoch;
    }
  }

  async truncate(shard: ShardId, epoch: number, below: number): Promise<void> {
    if (below <= 1) return;
    await this.removeRange(await this.env(shard), slotKey({ epoch, slot: 1 }), slotKey({ epoch, slot: below }));
  }

  async putChunk(shard: ShardId, nonce: string, i: number, bytes: Buffer): Promise<void> {
    checkSize('chunk', bytes.length, this.capabilities.chunkBytes);
    const key = keys.chunkKey(nonce, i);
    await (await this.env(shard)).write((txn) => txn.put(key, bytes));
  }

  async getChunk(shard: ShardId, nonce: string, i: number): Promise<Buffer | null> {
    return (await this.env(shard)).get(keys.chunkKey(nonce, i));
  }

  async dropChunks(shard: ShardId, nonce: string): Promise<void> {
    const prefix = keys.chunkPrefix(nonce);
    await this.removeRange(await this.env(shard), prefix, keys.afterPrefix(prefix));
  }

  async putRows(
    shard: ShardId,
    generation: number,
    rows: readonly RowImage[],
    index: readonly IndexRow[],
  ): Promise<void> {
    const env = await this.env(shard);
    const puts = [...rowPuts(generation, rows), ...indexPuts(generation, index)];
    let at = 0;
    while (at < puts.length) {
      const batch: Put[] = [];
      for (let bytes = 0; at < puts.length && batch.length < TXN_ROWS && bytes < TXN_BYTES; at++) {
        const put = puts[at];
        if (put === undefined) break;
        batch.push(put);
        bytes += put.value.length;
      }
      await env.write((txn) => batch.forEach((put) => putNewer(txn, put)));
    }
  }

  async getRows(shard: ShardId, generation: number, wanted: readonly Buffer[]): Promise<(RowImage | null)[]> {
    const env = await this.env(shard);
    const at = keys.level('rows', generation);
    return wanted.map((key) => {
      const value = env.get(keys.layout(at, key).leaf);
      return value === null ? null : rowOf(key, value);
    });
  }

  async *scanRows(shard: ShardId, generation: number, range: RowRange): AsyncIterable<RowImage> {
    const env = await this.env(shard);
    for await (const { key, value } of this.walk(env, keys.level('rows', generation), range)) yield rowOf(key, value);
  }

  async *scanIndex(shard: ShardId, generation: number, part: Buffer, range: RowRange): AsyncIterable<IndexRow> {
    const env = await this.env(shard);
    const prefix = keys.indexPrefix(part);
    const from = range.from === null ? prefix : Buffer.concat([prefix, range.from]);
    const to = range.to === null ? keys.afterPrefix(prefix) : Buffer.concat([prefix, range.to]);
    const within = this.walk(env, keys.level('index', generation), { from, to, order: range.order });
    for await (const { key, value } of within) yield indexRowOf(key, value);
  }

  async *scanAllIndexes(shard: ShardId, generation: number): AsyncIterable<IndexRow> {
    const env = await this.env(shard);
    const all = this.walk(env, keys.level('index', generation), { from: null, to: null, order: 'asc' });
    for await (const { key, value } of all) yield indexRowOf(key, value);
  }

  /** The pointers of pruned long keys stay until the generation is dropped: a few bytes for each, and no reader waits. */
  async prune(shard: ShardId, generation: number, beforeUs: number): Promise<number> {
    const env = await this.env(shard);
    let removed = 0;
    for (const table of ['rows', 'index'] as const) {
      for (const head of keys.generationHeads(table, generation)) {
        let batch: Buffer[] = [];
        const flush = async (): Promise<void> => {
          const doomed = batch;
          batch = [];
          removed += await env.write((txn) => doomed.filter((key) => removeOld(txn, key, beforeUs)).length);
        };
        for await (const { key, value } of env.range(head, keys.afterPrefix(head), 'asc')) {
          if (!isOldRecord(value, beforeUs)) continue;
          batch.push(key);
          if (batch.length >= TXN_ROWS) await flush();
        }
        if (batch.length > 0) await flush();
      }
    }
    return removed;
  }

  async putCell(shard: ShardId, cell: Cell): Promise<void> {
    const put = {
      pointers: [],
      key: keys.cellKey(cell.name),
      value: Buffer.concat([header(cell.version, 1), cell.value]),
    };
    await (await this.env(shard)).write((txn) => putNewer(txn, put));
  }

  async getCell(shard: ShardId, name: string): Promise<Cell | null> {
    const value = (await this.env(shard)).get(keys.cellKey(name));
    return value === null ? null : { name, version: value.readDoubleBE(0), value: value.subarray(HEADER) };
  }

  async dropGeneration(shard: ShardId, generation: number): Promise<void> {
    const env = await this.env(shard);
    const heads = [...keys.generationHeads('rows', generation), ...keys.generationHeads('index', generation)];
    for (const head of heads) await this.removeRange(env, head, keys.afterPrefix(head));
  }

  /** An environment that another process blocks at the moment is left to its first use. */
  async ensureApp(app: string, shards: number): Promise<void> {
    checkNumber('number of shards', shards, 1 << 16);
    const paths = Array.from({ length: shards }, (_, index) => this.path({ app, index }));
    for (const path of paths) mkdirSync(path, { recursive: true });
    const absent = paths.filter((path) => !this.envs.has(path));
    for (const path of await freeToOpen(absent, this.writeTimeoutMs)) {
      if (!this.envs.has(path)) this.envs.set(path, Promise.resolve(LmdbEnv.open(path, this.writeTimeoutMs)));
    }
  }

  /** Refuses a directory that cannot be written, and file systems that lose data at a restart or break LMDB's locks. */
  async checkSafety(): Promise<void> {
    mkdirSync(this.config.dir, { recursive: true });
    const { type } = await statfs(this.config.dir);
    const why = MEMORY_FS.includes(type) ? 'keeps its data in memory' : NETWORK_FS.includes(type) ? 'is a network file system' : null; // prettier-ignore
    if (why === null) return;
    throw new NxnwError('FAILED_PRECONDITION', `the store's directory ${this.config.dir} ${why}, which LMDB cannot be durable on; give a directory on a local disk (nxnw:store dir)`); // prettier-ignore
  }

  async freeBytes(): Promise<number | null> {
    const fs = await statfs(this.config.dir);
    return fs.bavail * fs.bsize;
  }

  async close(): Promise<void> {
    const envs = await Promise.allSettled(this.envs.values());
    this.envs.clear();
    for (const env of envs) if (env.status === 'fulfilled') await env.value.close();
  }

  private path(shard: ShardId): string {
    const app = shard.app.replace(/[^a-z0-9_-]/g, (c) => `%${Buffer.from(c).toString('hex')}`);
    return join(this.config.dir, app, String(shard.index));
  }

  private env(shard: ShardId): Promise<LmdbEnv> {
    const path = this.path(shard);
    const known = this.envs.get(path);
    if (known !== undefined) return known;
    if (!existsSync(path)) return Promise.reject(new NxnwError('NOT_FOUND', `no data of ${shard.app}/${shard.index} in ${this.config.dir}; ensureApp makes it`)); // prettier-ignore
    const opening = freeToOpen([path], this.writeTimeoutMs).then((free) => {
      if (!free.has(path)) throw LmdbEnv.blocked(path, this.writeTimeoutMs);
      return LmdbEnv.open(path, this.writeTimeoutMs);
    });
    this.envs.set(path, opening);
    opening.catch(() => this.envs.delete(path)); // the caller has the error; the next use tries again
    return opening;
  }

  private async removeRange(env: LmdbEnv, lo: Buffer, hi: Buffer | null): Promise<void> {
    for (let more = true; more;) {
      more = await env.write((txn) => {
        const found = txn.keys(lo, hi, TXN_ROWS);
        found.forEach((key) => txn.remove(key));
        return found.length === TXN_ROWS;
      });
    }
  }

  /** Entries of a table in the order of their keys, long ones included. `key` is the table's key, not LMDB's. */
  private async *walk(
    env: LmdbEnv,
    at: keys.Level,
    range: RowRange,
    above: Buffer = Buffer.alloc(0),
  ): AsyncGenerator<{ key: Buffer; value: Buffer }> {
    const { from, to, order } = range;
    const lo =
      from === null ? at.head : from.length > keys.PIECE ? keys.pointerAt(at, from) : Buffer.concat([at.head, from]);
    const hi =
      to === null
        ? keys.afterPrefix(at.head)
        : to.length > keys.PIECE
          ? keys.afterPrefix(keys.pointerAt(at, to))
          : Buffer.concat([at.head, to]);
    for await (const { key, value } of env.range(lo, hi, order)) {
      const piece = key.subarray(at.head.length);
      if (!keys.isPointer(at, key)) {
        yield { key: above.length === 0 ? piece : Buffer.concat([above, piece]), value };
        continue;
      }
      const bytes = piece.subarray(0, keys.PIECE);
      const rest = (bound: Buffer | null): Buffer | null =>
        bound !== null && bound.length > keys.PIECE && bytes.equals(bound.subarray(0, keys.PIECE)) ? bound.subarray(keys.PIECE) : null; // prettier-ignore
      yield* this.walk(env, keys.below(key), { from: rest(from), to: rest(to), order }, Buffer.concat([above, bytes]));
    }
  }
}

function slotKey(at: Position): Buffer {
  checkNumber('epoch', at.epoch, 0xffff_fffe);
  checkNumber('slot', at.slot, 2 ** 48 - 1);
  return keys.slotKey(at.epoch, at.slot);
}

function afterSegment(epoch: number): Buffer {
  return keys.slotKey(epoch + 1, 0);
}
