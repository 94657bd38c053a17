import { setImmediate as nextTurn } from 'node:timers/promises';
import { NxnwError } from '../../errors.js';
import type { RowImage, ShardReader } from '../../shards/types.js';
import { justAfter, startsWith } from '../bytes.js';
import { evaluator } from './evaluate.js';
import type { Evaluator } from './evaluate.js';
import type { ShardQuery, ShardResult } from './shard-query.js';
import type { Budget } from './streams.js';

/** Entities fetched between two looks at the event loop. */
export const CHUNK = 64;

export interface PlacedResult extends ShardResult {
  readonly bytes: number;
}

/** One run of a query at an owner: its reader, its budget and the results so far. */
export class Run {
  readonly budget: Budget;
  /** Positions below this are dealt with: the query's `from`, raised when a strategy hands over to another. */
  from: Buffer | null;
  readonly results: ShardResult[] = [];
  private bytes = 0;
  private readonly evaluate: Evaluator;

  constructor(
    readonly query: ShardQuery,
    readonly reader: ShardReader,
    private readonly signal: AbortSignal,
  ) {
    this.budget = { rows: query.maxRows };
    this.from = query.from;
    this.evaluate = evaluator(query);
  }

  /** Results that still fit. */
  get room(): number {
    return this.bytes >= this.query.maxBytes ? 0 : this.query.maxResults - this.results.length;
  }

  get chunk(): number {
    return Math.min(CHUNK, this.room + 2);
  }

  get bytesLeft(): number {
    return Math.max(0, this.query.maxBytes - this.bytes);
  }

  /** Lets other work run, and stops if nobody waits for the answer any more. */
  async breathe(): Promise<void> {
    await nextTurn();
    if (this.signal.aborted)
      throw new NxnwError('CANCELLED', 'the query was given up: its caller has gone or its deadline has passed');
  }

  /**
   * The candidates' entities at T that are results between the paging bounds, each with its place; in the candidates'
   * order. With a `prefix`, only if the place begins with it: an entity with several values has a row for each, and
   * counts at the row that places it.
   */
  async place(candidates: readonly { key: Buffer; prefix: Buffer | null }[]): Promise<PlacedResult[]> {
    if (candidates.length === 0) return [];
    const placed: PlacedResult[] = [];
    const rows = await this.reader.get(candidates.map((c) => c.key));
    candidates.forEach(({ prefix }, i) => {
      const row = rows[i];
      const position = row && this.evaluate.place(row);
      if (row && position && this.inside(position) && (prefix === null || startsWith(position, prefix)))
        placed.push(this.result(row, position));
    });
    return placed;
  }

  private inside(position: Buffer): boolean {
    const { to } = this.query;
    return (this.from === null || position.compare(this.from) >= 0) && (to === null || position.compare(to) < 0);
  }

  private result(row: RowImage, position: Buffer): PlacedResult {
    const { carry } = this.query;
    return {
      position,
      key: carry === 'position' ? null : row.key,
      entity: carry === 'entity' ? row.entity : null,
      version: row.version,
      createdUs: row.createdUs,
      updatedUs: row.updatedUs,
      bytes: position.length + row.key.length + (carry === 'entity' ? (row.entity?.length ?? 0) : 0),
    };
  }

  /** Adds the next results of the order; false = no room for one of them, and the run must end. */
  addAll(results: readonly PlacedResult[]): boolean {
    for (const { bytes, ...result } of results) {
      if (this.room <= 0) return false;
      this.results.push(result);
      this.bytes += bytes;
    }
    return true;
  }

  /** The frontier of a run that ends because it is full. */
  afterLast(): Buffer | null {
    const last = this.results.at(-1);
    return last ? justAfter(last.position) : this.query.from;
  }
}
