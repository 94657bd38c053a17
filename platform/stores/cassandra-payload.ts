import { NxnwError } from '../errors.js';
import type { RowImage, ShardId } from '../shards/types.js';
import * as rows from './cassandra-rows.js';
import type { CassandraSchema, GenerationTables } from './cassandra-schema.js';
import { blobOf, intOf, longOf, type CassandraSession, type Statement } from './cassandra-session.js';
import { checkNumber } from './limits.js';
import type { Cell, IndexRow, Payload, RowRange } from './port.js';

export const BATCH_BYTES = 256 << 10;
const BATCH_STATEMENTS = 200;
/** Batches in flight for one call. */
const IN_FLIGHT = 16;
/** Rows of a page: at most 4 MiB of pieces. */
const PAGE_ROWS = 128;
const INDEX_PAGE_ROWS = 1000;
const KEYS_PER_READ = 20;
const MAX_GENERATION = 999_999;

/**
 * Rows, index rows and cells by plain writes whose timestamp is the version: Cassandra itself keeps the higher one,
 * whatever the order of arrival (C8). At equal timestamps it keeps either, which are equal by design.
 */
export class CassandraPayload implements Payload {
  constructor(
    private readonly session: CassandraSession,
    private readonly schema: CassandraSchema,
  ) {}

  async putRows(
    shard: ShardId,
    generation: number,
    images: readonly RowImage[],
    index: readonly IndexRow[],
  ): Promise<void> {
    const t = await this.tables(shard, generation);
    const writes = [
      ...images.map((image) => rows.rowWrite(t.rows, shard.index, image)),
      ...index.map((row) => rows.indexWrite(t.index, shard.index, row)),
    ];
    await this.writeAll(rows.batches(writes, BATCH_BYTES, BATCH_STATEMENTS));
  }

  async getRows(shard: ShardId, generation: number, keys: readonly Buffer[]): Promise<(RowImage | null)[]> {
    const t = await this.tables(shard, generation);
    const found = new Map<string, RowImage>();
    const groups = Array.from({ length: Math.ceil(keys.length / KEYS_PER_READ) }, (_, i) => keys.slice(i * KEYS_PER_READ, (i + 1) * KEYS_PER_READ)); // prettier-ignore
    await eachBounded(groups, IN_FLIGHT, async (group) => {
      const unique = [...new Map(group.map((key) => [key.toString('latin1'), key])).values()];
      for await (const row of this.images(t, shard.index, `AND key IN ?`, [unique])) found.set(row.key.toString('latin1'), row); // prettier-ignore
    });
    return keys.map((key) => found.get(key.toString('latin1')) ?? null);
  }

  async *scanRows(shard: ShardId, generation: number, range: RowRange): AsyncIterable<RowImage> {
    const t = await this.tables(shard, generation);
    const { where, params } = within(range);
    const order = range.order === 'desc' ? ' ORDER BY key DESC, piece DESC' : '';
    yield* this.images(t, shard.index, where + order, params);
  }

  async *scanIndex(shard: ShardId, generation: number, part: Buffer, range: RowRange): AsyncIterable<IndexRow> {
    const t = await this.tables(shard, generation);
    const { where, params } = within(range);
    const order = range.order === 'desc' ? ' ORDER BY key DESC' : '';
    const query = `SELECT key, v, present FROM ${t.index} WHERE shard = ? AND part = ? ${where}${order}`;
    for await (const row of this.session.pages(query, [shard.index, part, ...params], INDEX_PAGE_ROWS)) {
      yield rows.indexRowOf(row, part);
    }
  }

  async *scanAllIndexes(shard: ShardId, generation: number): AsyncIterable<IndexRow> {
    const t = await this.tables(shard, generation);
    for await (const part of this.parts(t, shard.index)) {
      yield* this.scanIndex(shard, generation, part, { from: null, to: null, order: 'asc' });
    }
  }

  /** Also removes what older, longer versions of an entity have left behind. */
  async prune(shard: ShardId, generation: number, beforeUs: number): Promise<number> {
    const t = await this.tables(shard, generation);
    const doomed = new Deletions((batches) => this.writeAll(batches));
    let removed = 0;
    const keys = `SELECT key, piece, v, pieces FROM ${t.rows} WHERE shard = ?`;
    const deleteRow = `DELETE FROM ${t.rows} USING TIMESTAMP ? WHERE shard = ? AND key = ?`;
    for await (const pieces of rows.byKey(this.session.pages(keys, [shard.index], INDEX_PAGE_ROWS))) {
      const head = rows.headOf(pieces);
      if (head === null) continue;
      const version = longOf(head, 'v');
      const old = intOf(head, 'pieces') === 0 && version < beforeUs;
      if (old) removed++;
      // At its own timestamp the deletion takes the record; one below, it takes only what is older than the row.
      if (old || pieces.rows.some((row) => longOf(row, 'v') < version)) {
        await doomed.add('', deleteRow, [old ? version : version - 1, shard.index, pieces.key]);
      }
    }
    const deleteIndex = `DELETE FROM ${t.index} USING TIMESTAMP ? WHERE shard = ? AND part = ? AND key = ?`;
    for await (const row of this.scanAllIndexes(shard, generation)) {
      if (row.present || row.version >= beforeUs) continue;
      removed++;
      await doomed.add(row.part.toString('latin1'), deleteIndex, [row.version, shard.index, row.part, row.key]);
    }
    await doomed.flush();
    return removed;
  }

  async putCell(shard: ShardId, cell: Cell): Promise<void> {
    const { cells } = this.schema.app(shard.app);
    await this.session.run(`INSERT INTO ${cells} (shard, name, v, data) VALUES (?, ?, ?, ?) USING TIMESTAMP ?`, [shard.index, cell.name, cell.version, cell.value, cell.version]); // prettier-ignore
  }

  async getCell(shard: ShardId, name: string): Promise<Cell | null> {
    const { cells } = this.schema.app(shard.app);
    const [row] = await this.session.run(`SELECT v, data FROM ${cells} WHERE shard = ? AND name = ?`, [
      shard.index,
      name,
    ]);
    return row === undefined ? null : { name, version: longOf(row, 'v'), value: blobOf(row, 'data') };
  }

  /**
   * Deletes the shard's partitions and notes it; the shard that is the last of its application to do so drops the
   * tables. (A shard never writes to a generation again that it has dropped.)
   */
  async dropGeneration(shard: ShardId, generation: number): Promise<void> {
    const t = await this.tables(shard, generation);
    for await (const part of this.parts(t, shard.index)) {
      await this.session.run(`DELETE FROM ${t.index} WHERE shard = ? AND part = ?`, [shard.index, part]);
    }
    await this.session.run(`DELETE FROM ${t.rows} WHERE shard = ?`, [shard.index]);
    const noted = `dropped/${generation}/`;
    await this.session.run(`INSERT INTO ${this.schema.meta} (app, name, value) VALUES (?, ?, '')`, [shard.app, noted + String(shard.index)]); // prettier-ignore
    const meta = await this.session.run(`SELECT name, value FROM ${this.schema.meta} WHERE app = ?`, [shard.app]);
    const shards = Number(meta.find((row) => row.get('name') === 'shards')?.get('value'));
    const dropped = meta.filter((row) => String(row.get('name')).startsWith(noted)).length;
    if (dropped >= shards) await this.schema.dropGeneration(shard.app, generation);
  }

  private tables(shard: ShardId, generation: number): Promise<GenerationTables> {
    checkNumber('generation', generation, MAX_GENERATION);
    return this.schema.generation(shard.app, generation);
  }

  private async *images(
    t: GenerationTables,
    shard: number,
    where: string,
    params: readonly unknown[],
  ): AsyncGenerator<RowImage> {
    // prettier-ignore
    const query = `SELECT key, piece, v, pieces, created, updated, data FROM ${t.rows} WHERE shard = ? ${where}`;
    for await (const pieces of rows.byKey(this.session.pages(query, [shard, ...params], PAGE_ROWS))) {
      const row = rows.assemble(pieces);
      if (row === 'torn') yield* await this.again(t, shard, pieces.key);
      else if (row !== null) yield row;
    }
  }

  /** One key in one page, which a write cannot tear. */
  private async again(t: GenerationTables, shard: number, key: Buffer): Promise<RowImage[]> {
    const query = `SELECT key, piece, v, pieces, created, updated, data FROM ${t.rows} WHERE shard = ? AND key = ?`;
    const row = rows.assemble({ key, rows: await this.session.run(query, [shard, key]) });
    if (row === 'torn') throw new NxnwError('DATA_LOSS', `the entity with key ${key.toString('hex')} lacks pieces in ${t.rows}, shard ${shard}; reload the shard`); // prettier-ignore
    return row === null ? [] : [row];
  }

  /** The shard's index parts. There are few partitions, so reading the keys of all is cheap. */
  private async *parts(t: GenerationTables, shard: number): AsyncGenerator<Buffer> {
    for await (const row of this.session.pages(`SELECT DISTINCT shard, part FROM ${t.index}`, [], 100)) {
      if (intOf(row, 'shard') === shard) yield blobOf(row, 'part');
    }
  }

  private writeAll(batches: readonly (readonly Statement[])[]): Promise<void> {
    return eachBounded(batches, IN_FLIGHT, async (batch) => void (await this.session.batch(batch)));
  }
}

/** Deletions, written in batches per partition as they come. */
class Deletions {
  private waiting: rows.Write[] = [];

  constructor(private readonly write: (batches: Statement[][]) => Promise<void>) {}

  async add(partition: string, query: string, params: readonly unknown[]): Promise<void> {
    this.waiting.push({ partition, bytes: 100, statements: [{ query, params }] });
    if (this.waiting.length >= 1000) await this.flush();
  }

  async flush(): Promise<void> {
    const writes = this.waiting;
    this.waiting = [];
    await this.write(rows.batches(writes, BATCH_BYTES, BATCH_STATEMENTS));
  }
}

function within(range: RowRange): { where: string; params: Buffer[] } {
  const where = (range.from === null ? '' : ' AND key >= ?') + (range.to === null ? '' : ' AND key < ?');
  return { where, params: [range.from, range.to].filter((bound) => bound !== null) };
}

/** Runs `work` on all items, at most `inFlight` at once; the first error stops the rest and is thrown. */
async function eachBounded<T>(items: readonly T[], inFlight: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  let failed = false;
  const lane = async (): Promise<void> => {
    for (const item of queue) {
      if (failed) return;
      await work(item).catch((e: unknown) => {
        failed = true;
        throw e;
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(inFlight, items.length) }, lane));
}
