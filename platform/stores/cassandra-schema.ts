import { createHash } from 'node:crypto';
import { NxnwError } from '../errors.js';
import type { CassandraSession } from './cassandra-session.js';

/** What one application's tables are called. */
export interface AppTables {
  readonly slots: string;
  readonly epochs: string;
  readonly chunks: string;
  readonly cells: string;
}

/** The tables of one load of an application (C10). */
export interface GenerationTables {
  readonly rows: string;
  readonly index: string;
}

/**
 * Names, definitions and changes of the schema. Tables carry an id made from their name: two processes that create a
 * table at once through different nodes then create the same one, where ids drawn by the nodes would collide.
 *
 * Partition sizes: a shard's rows are one partition, and each of its index parts another; Cassandra is at ease with
 * partitions of some hundred MB and still works with a few GB, so a shard should stay below about 1 GB of entities.
 * Choose the number of shards accordingly.
 */
export class CassandraSchema {
  private readonly generations = new Map<string, Promise<GenerationTables>>();

  constructor(
    private readonly session: CassandraSession,
    readonly keyspace: string,
    private readonly replication: { readonly dataCenter: string; readonly copies: number },
  ) {
    if (!/^[a-z][a-z0-9_]{0,47}$/.test(keyspace)) throw new NxnwError('INVALID_ARGUMENT', `keyspace "${keyspace}": allowed are 1 to 48 lower-case letters, digits and _, a letter first`, { keyspace }); // prettier-ignore
  }

  get meta(): string {
    return `${this.keyspace}.meta`;
  }

  app(app: string): AppTables {
    const name = (table: string): string => `${this.keyspace}.${table}_${tableSuffix(app)}`;
    return { slots: name('slots'), epochs: name('epochs'), chunks: name('chunks'), cells: name('cells') };
  }

  /** Makes the keyspace and an application's own tables. Can be repeated, and run by several processes at once. */
  async ensureApp(app: string): Promise<void> {
    const { dataCenter, copies } = this.replication;
    await this.session.define(`CREATE KEYSPACE IF NOT EXISTS ${this.keyspace} WITH replication = {'class': 'NetworkTopologyStrategy', '${dataCenter}': ${copies}}`); // prettier-ignore
    const t = this.app(app);
    await this.create(this.meta, 'app text, name text, value text, PRIMARY KEY (app, name)');
    await this.create(t.slots, 'shard int, epoch bigint, slot bigint, data blob, floor bigint static, PRIMARY KEY ((shard, epoch), slot)'); // prettier-ignore
    await this.create(t.epochs, 'shard int, epoch bigint, PRIMARY KEY (shard, epoch)');
    await this.create(t.chunks, 'shard int, nonce text, i int, data blob, PRIMARY KEY ((shard, nonce), i)');
    await this.create(t.cells, 'shard int, name text, v bigint, data blob, PRIMARY KEY (shard, name)');
    await this.session.agreeOnSchema();
  }

  /** The tables of a generation, made at their first use. */
  generation(app: string, generation: number): Promise<GenerationTables> {
    const key = `${generation} ${app}`;
    const known = this.generations.get(key);
    if (known !== undefined) return known;
    const tables = this.createGeneration(this.names(app, generation));
    this.generations.set(key, tables);
    tables.catch(() => this.generations.delete(key)); // the caller has the error; the next use tries again
    return tables;
  }

  async dropGeneration(app: string, generation: number): Promise<void> {
    const { rows, index } = this.names(app, generation);
    this.generations.delete(`${generation} ${app}`);
    await this.session.define(`DROP TABLE IF EXISTS ${rows}`);
    await this.session.define(`DROP TABLE IF EXISTS ${index}`);
    await this.session.agreeOnSchema();
  }

  private names(app: string, generation: number): GenerationTables {
    const suffix = `${tableSuffix(app)}_${generation}`;
    return { rows: `${this.keyspace}.rows_${suffix}`, index: `${this.keyspace}.index_${suffix}` };
  }

  private async createGeneration(t: GenerationTables): Promise<GenerationTables> {
    // An entity is cut into pieces of 32 KiB, so that a page of a scan is small whatever the entities' sizes.
    await this.create(t.rows, 'shard int, key blob, piece int, v bigint, pieces int, created bigint, updated bigint, data blob, PRIMARY KEY (shard, key, piece)'); // prettier-ignore
    await this.create(t.index, 'shard int, part blob, key blob, v bigint, present boolean, PRIMARY KEY ((shard, part), key)'); // prettier-ignore
    await this.session.agreeOnSchema();
    return t;
  }

  private create(table: string, columns: string): Promise<void> {
    const id = createHash('sha256').update(table).digest('hex');
    const uuid = [
      id.slice(0, 8),
      id.slice(8, 12),
      `4${id.slice(13, 16)}`,
      `8${id.slice(17, 20)}`,
      id.slice(20, 32),
    ].join('-');
    // A single copy has no other to repair from, so its tombstones may go at the next compaction.
    const grace = this.replication.copies === 1 ? ' AND gc_grace_seconds = 0' : '';
    return this.session.define(`CREATE TABLE IF NOT EXISTS ${table} (${columns}) WITH id = ${uuid}${grace}`);
  }
}

/** Readable, unique, and short enough for a table's name (48 characters with its prefix and generation). */
function tableSuffix(app: string): string {
  const readable = app.toLowerCase().replace(/[^a-z0-9]/g, '_').slice(0, 18); // prettier-ignore
  return `${readable}_${createHash('sha256').update(app).digest('hex').slice(0, 8)}`;
}
