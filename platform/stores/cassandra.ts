import { NxnwError } from '../errors.js';
import type { Position, RowImage, ShardId } from '../shards/types.js';
import { BATCH_BYTES, CassandraPayload } from './cassandra-payload.js';
import { CassandraSchema } from './cassandra-schema.js';
import { CassandraSession, type CassandraConfig } from './cassandra-session.js';
import { CassandraSlots, CHUNK_BYTES, MAX_ENTRY_BYTES } from './cassandra-slots.js';
import { checkNumber } from './limits.js';
import type { AppendOutcome, Cell, IndexRow, RowRange, Store, StoreCapabilities } from './port.js';

/** The first version whose SERIAL reads are linearizable against conditional writes in all cases. */
const OLDEST = [4, 0] as const;

/** A platform's store on Cassandra: the log by conditional statements, everything else by writes with versions. */
export class CassandraStore implements Store {
  readonly capabilities: StoreCapabilities = {
    kind: 'cassandra',
    maxEntryBytes: MAX_ENTRY_BYTES,
    chunkBytes: CHUNK_BYTES,
    maxBatchBytes: BATCH_BYTES,
  };
  private readonly slots: CassandraSlots;
  private readonly payload: CassandraPayload;

  private constructor(
    private readonly session: CassandraSession,
    private readonly schema: CassandraSchema,
    private readonly copies: number,
  ) {
    this.slots = new CassandraSlots(session, schema);
    this.payload = new CassandraPayload(session, schema);
  }

  static async connect(config: CassandraConfig): Promise<CassandraStore> {
    const { keyspace = 'nxnw', localDataCenter = 'datacenter1', replication = 1 } = config;
    const session = await CassandraSession.connect(config);
    const schema = new CassandraSchema(session, keyspace, { dataCenter: localDataCenter, copies: replication });
    return new CassandraStore(session, schema, replication);
  }

  async ensureApp(app: string, shards: number): Promise<void> {
    checkNumber('number of shards', shards, 1 << 16);
    await this.schema.ensureApp(app);
    await this.session.run(`INSERT INTO ${this.schema.meta} (app, name, value) VALUES (?, 'shards', ?)`, [
      app,
      String(shards),
    ]);
  }

  /** Refuses versions before 4.0, and a commit log that loses acknowledged writes where a node is the only copy. */
  async checkSafety(): Promise<void> {
    for (const host of this.session.client.hosts.values()) {
      const [major = 0, minor = 0] = host.cassandraVersion.split('.').map(Number);
      if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) throw new NxnwError('FAILED_PRECONDITION', `Cassandra ${host.cassandraVersion} on ${host.address}; needed is ${OLDEST.join('.')} or later, whose conditional writes are linearizable; upgrade it`, { version: host.cassandraVersion }); // prettier-ignore
      if (this.copies > 1) continue;
      const sync = await this.session.setting(host, 'commitlog_sync');
      if (sync !== 'batch' && sync !== 'group') throw new NxnwError('FAILED_PRECONDITION', `Cassandra on ${host.address} has commitlog_sync: ${sync}, which loses acknowledged writes at a crash, and replication is 1; set commitlog_sync to batch or group in cassandra.yaml, or replicate`, { commitlogSync: sync }); // prettier-ignore
    }
  }

  /** Cassandra does not tell; the agents of its machines do. */
  async freeBytes(): Promise<number | null> {
    return null;
  }

  async close(): Promise<void> {
    await this.session.close();
  }

  append(shard: ShardId, at: Position, bytes: Buffer): Promise<AppendOutcome> {
    return this.slots.append(shard, at, bytes);
  }

  appendRun(shard: ShardId, epoch: number, run: readonly { slot: number; bytes: Buffer }[]): Promise<boolean> {
    return this.slots.appendRun(shard, epoch, run);
  }
  read(shard: ShardId, at: Position): Promise<Buffer | null> {
    return this.slots.read(shard, at);
  }
  last(shard: ShardId, epoch: number): Promise<number | null> {
    return this.slots.last(shard, epoch);
  }
  scan(shard: ShardId, epoch: number, from: number, limit: number): Promise<{ slot: number; bytes: Buffer }[]> {
    return this.slots.scan(shard, epoch, from, limit);
  }
  lastEpoch(shard: ShardId): Promise<number | null> {
    return this.slots.lastEpoch(shard);
  }
  truncate(shard: ShardId, epoch: number, below: number): Promise<void> {
    return this.slots.truncate(shard, epoch, below);
  }
  putChunk(shard: ShardId, nonce: string, i: number, bytes: Buffer): Promise<void> {
    return this.slots.putChunk(shard, nonce, i, bytes);
  }
  getChunk(shard: ShardId, nonce: string, i: number): Promise<Buffer | null> {
    return this.slots.getChunk(shard, nonce, i);
  }
  dropChunks(shard: ShardId, nonce: string): Promise<void> {
    return this.slots.dropChunks(shard, nonce);
  }
  putRows(shard: ShardId, generation: number, rows: readonly RowImage[], index: readonly IndexRow[]): Promise<void> {
    return this.payload.putRows(shard, generation, rows, index);
  }
  getRows(shard: ShardId, generation: number, keys: readonly Buffer[]): Promise<(RowImage | null)[]> {
    return this.payload.getRows(shard, generation, keys);
  }
  scanRows(shard: ShardId, generation: number, range: RowRange): AsyncIterable<RowImage> {
    return this.payload.scanRows(shard, generation, range);
  }
  scanIndex(shard: ShardId, generation: number, part: Buffer, range: RowRange): AsyncIterable<IndexRow> {
    return this.payload.scanIndex(shard, generation, part, range);
  }
  scanAllIndexes(shard: ShardId, generation: number): AsyncIterable<IndexRow> {
    return this.payload.scanAllIndexes(shard, generation);
  }
  prune(shard: ShardId, generation: number, beforeUs: number): Promise<number> {
    return this.payload.prune(shard, generation, beforeUs);
  }
  putCell(shard: ShardId, cell: Cell): Promise<void> {
    return this.payload.putCell(shard, cell);
  }
  getCell(shard: ShardId, name: string): Promise<Cell | null> {
    return this.payload.getCell(shard, name);
  }
  dropGeneration(shard: ShardId, generation: number): Promise<void> {
    return this.payload.dropGeneration(shard, generation);
  }
}
