import type { Position, ShardId } from '../shards/types.js';
import type { CassandraSchema } from './cassandra-schema.js';
import { applied, blobOf, longOf, type CassandraSession } from './cassandra-session.js';
import { checkNumber, checkSize } from './limits.js';
import type { AppendOutcome, Slots } from './port.js';

/** Mutations may be half a commit log segment; the smallest that we run has 4 MiB. */
export const MAX_ENTRY_BYTES = 1 << 20;
export const CHUNK_BYTES = 512 << 10;
const SCAN_PAGE = 64;

/**
 * The log table: written by conditional statements only, read at SERIAL only, one partition per (shard, segment). No
 * statement on it names a timestamp, none deletes without a condition.
 */
export class CassandraSlots implements Slots {
  constructor(
    private readonly session: CassandraSession,
    private readonly schema: CassandraSchema,
  ) {}

  async append(shard: ShardId, at: Position, bytes: Buffer): Promise<AppendOutcome> {
    checkNumber('epoch', at.epoch, 2 ** 53 - 1);
    checkNumber('slot', at.slot, 2 ** 53 - 1);
    checkSize('log entry', bytes.length, MAX_ENTRY_BYTES);
    const { slots, epochs } = this.schema.app(shard.app);
    // Durable before START can be held, so that lastEpoch finds every segment that has one.
    if (at.slot === 0)
      await this.session.run(`INSERT INTO ${epochs} (shard, epoch) VALUES (?, ?)`, [shard.index, at.epoch]);
    const outcome = await this.session.runConditional(
      `INSERT INTO ${slots} (shard, epoch, slot, data) VALUES (?, ?, ?, ?) IF NOT EXISTS`,
      [shard.index, at.epoch, at.slot, bytes],
    );
    return outcome.applied ? { won: true } : { won: false, held: blobOf(outcome.row, 'data') };
  }

  /** One conditional batch, so one Paxos round: the slots of a segment are one partition. */
  async appendRun(shard: ShardId, epoch: number, run: readonly { slot: number; bytes: Buffer }[]): Promise<boolean> {
    if (run.length === 0) return true;
    const { slots } = this.schema.app(shard.app);
    const query = `INSERT INTO ${slots} (shard, epoch, slot, data) VALUES (?, ?, ?, ?) IF NOT EXISTS`;
    const result = await this.session.batch(
      run.map(({ slot, bytes }) => ({ query, params: [shard.index, epoch, slot, bytes] })),
    );
    return applied(result).applied;
  }

  async read(shard: ShardId, at: Position): Promise<Buffer | null> {
    const [row] = await this.session.runSerial(
      `SELECT data FROM ${this.schema.app(shard.app).slots} WHERE shard = ? AND epoch = ? AND slot = ?`,
      [shard.index, at.epoch, at.slot],
    );
    return row === undefined ? null : blobOf(row, 'data');
  }

  async last(shard: ShardId, epoch: number): Promise<number | null> {
    const [row] = await this.session.runSerial(
      `SELECT slot FROM ${this.schema.app(shard.app).slots} WHERE shard = ? AND epoch = ? AND slot >= 0 ORDER BY slot DESC LIMIT 1`,
      [shard.index, epoch],
    );
    return row === undefined ? null : longOf(row, 'slot');
  }

  async scan(shard: ShardId, epoch: number, from: number, limit: number): Promise<{ slot: number; bytes: Buffer }[]> {
    const query = `SELECT slot, data FROM ${this.schema.app(shard.app).slots} WHERE shard = ? AND epoch = ? AND slot >= ? LIMIT ?`;
    const found: { slot: number; bytes: Buffer }[] = [];
    for (let next = from; found.length < limit;) {
      const wanted = Math.min(limit - found.length, SCAN_PAGE);
      const rows = await this.session.runSerial(query, [shard.index, epoch, next, wanted]);
      for (const row of rows) found.push({ slot: longOf(row, 'slot'), bytes: blobOf(row, 'data') });
      if (rows.length < wanted) break;
      next = (found.at(-1)?.slot ?? next) + 1;
    }
    return found;
  }

  async lastEpoch(shard: ShardId): Promise<number | null> {
    const { epochs } = this.schema.app(shard.app);
    const query = `SELECT epoch FROM ${epochs} WHERE shard = ? ORDER BY epoch DESC`;
    for await (const row of this.session.pages(query, [shard.index], 10)) {
      const epoch = longOf(row, 'epoch');
      if ((await this.read(shard, { epoch, slot: 0 })) !== null) return epoch;
    }
    return null;
  }

  /** One conditional batch whatever the number of slots: it notes the floor and deletes the range below it. */
  async truncate(shard: ShardId, epoch: number, below: number): Promise<void> {
    if (below <= 1) return;
    const { slots } = this.schema.app(shard.app);
    const result = await this.session.batch([
      { query: `UPDATE ${slots} SET floor = ? WHERE shard = ? AND epoch = ? IF floor != ?`, params: [below, shard.index, epoch, below] }, // prettier-ignore
      { query: `DELETE FROM ${slots} WHERE shard = ? AND epoch = ? AND slot > 0 AND slot < ?`, params: [shard.index, epoch, below] }, // prettier-ignore
    ]);
    applied(result); // not applied: the floor is there already
  }

  async putChunk(shard: ShardId, nonce: string, i: number, bytes: Buffer): Promise<void> {
    checkSize('chunk', bytes.length, CHUNK_BYTES);
    const { chunks } = this.schema.app(shard.app);
    await this.session.run(`INSERT INTO ${chunks} (shard, nonce, i, data) VALUES (?, ?, ?, ?)`, [
      shard.index,
      nonce,
      i,
      bytes,
    ]);
  }

  async getChunk(shard: ShardId, nonce: string, i: number): Promise<Buffer | null> {
    const { chunks } = this.schema.app(shard.app);
    const [row] = await this.session.run(`SELECT data FROM ${chunks} WHERE shard = ? AND nonce = ? AND i = ?`, [shard.index, nonce, i]); // prettier-ignore
    return row === undefined ? null : blobOf(row, 'data');
  }

  async dropChunks(shard: ShardId, nonce: string): Promise<void> {
    const { chunks } = this.schema.app(shard.app);
    await this.session.run(`DELETE FROM ${chunks} WHERE shard = ? AND nonce = ?`, [shard.index, nonce]);
  }
}
