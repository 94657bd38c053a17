import { NxnwError } from '../../errors.js';
import { decodeBytes, inverted, justAfter, prefixSuccessor } from '../bytes.js';
import { propertyPart, splitPropertyRow } from '../indexes.js';
import { ABOVE_VALUES, LOWEST_VALUE, valueLength } from '../values.js';
import { CHUNK } from './run.js';
import type { PlacedResult, Run } from './run.js';
import { keyComponent, keyWithin, valueComponent } from './evaluate.js';
import { candidates } from './key-order.js';
import type { QueryOrder, ShardQuery } from './shard-query.js';
import { Smallest } from './smallest.js';
import { targetBehind } from './streams.js';

/**
 * Up to this many candidates by equality filters and key ranges, found in this many index rows, are fetched and sorted instead of
 * scanning the ordered property; and never more than a share of the run's rows, so that looking for them costs little.
 */
const SORTED_CANDIDATES = 500;
const SORTED_ROWS = 2000;
const SORTED_SHARE = 8;
/** Rows of the ordered property that are tried before: enough where many entities satisfy the filters. */
const PROBE_ROWS = 32;
const PROBE_PER_RESULT = 4;
/** Entities that may share the first ordered value when there are more orders to sort them by. */
const MAX_TIED = 50_000;
/** Behind every position that begins with a given value component, before every other greater position. */
const GROUP_END = 0xff;

interface Bounds {
  from: Buffer | null;
  to: Buffer | null;
}

/** The part of the first ordered property's index that holds the rows of all results, paging aside. */
function hull(q: ShardQuery, property: string): Bounds {
  let from: Buffer | null = null;
  let to: Buffer | null = null;
  for (const c of q.anyOf) {
    const limits = [
      ...c.ranges.filter((r) => r.property === property),
      ...c.equals
        .filter((e) => e.property === property)
        .map((e) => ({ from: e.value, to: prefixSuccessor(e.value) ?? ABOVE_VALUES })),
    ];
    for (const limit of limits.length ? limits : [{ from: LOWEST_VALUE, to: ABOVE_VALUES }]) {
      if (from === null || limit.from.compare(from) < 0) from = limit.from;
      if (to === null || limit.to.compare(to) > 0) to = limit.to;
    }
  }
  return { from, to };
}

/** The index rows at or behind the paging position `from`: a superset (positions are compared again afterwards). */
function resume(rows: Bounds, order: QueryOrder, from: Buffer): Bounds {
  const plain = order.descending ? inverted(from) : from;
  let n: number;
  try {
    n = valueLength(plain);
  } catch (e) {
    throw new NxnwError(
      'INVALID_ARGUMENT',
      `the cursor does not belong to a query ordered by ${order.property}`,
      {},
      e,
    );
  }
  const value = plain.subarray(0, n);
  const groupDone = from.length === n + 1 && from[n] === GROUP_END;
  if (!order.descending) {
    const start = groupDone ? prefixSuccessor(value) : value;
    return { from: start && rows.from && start.compare(rows.from) < 0 ? rows.from : start, to: rows.to };
  }
  const end = groupDone ? value : prefixSuccessor(value);
  return { from: rows.from, to: end && rows.to && end.compare(rows.to) > 0 ? rows.to : end };
}

/** Narrows `resume` to the row itself, where rows lie in the order of positions. */
function resumeExactly(rows: Bounds, order: QueryOrder, from: Buffer): Bounds {
  const wide = resume(rows, order, from);
  if (!order.descending) return { from: wide.from && from.compare(wide.from) > 0 ? from : wide.from, to: wide.to };
  const plain = inverted(from);
  const n = valueLength(plain);
  if (from.length <= n + 1) return wide;
  const key = decodeBytes(plain, n);
  const row = Buffer.concat([plain.subarray(0, n), key.raw]);
  const end = from.length > key.next ? row : justAfter(row);
  return { from: wide.from, to: wide.to && end.compare(wide.to) > 0 ? wide.to : end };
}

/** Runs a query that is ordered by a property first. Answers the frontier. */
export async function byProperty(run: Run): Promise<Buffer | null> {
  const { query } = run;
  const first = query.orders[0];
  if (!first) throw new NxnwError('INTERNAL', 'a query by property order without an order');
  const exact = query.orders.length === 1 && query.keyDescending === first.descending;
  if (exact) {
    const reached = await inRowOrder(run, first, query.maxResults * PROBE_PER_RESULT + PROBE_ROWS);
    if (reached === null || run.room <= 0 || run.budget.rows <= 0) return reached;
    run.from = reached;
  }
  const few = await fewCandidates(run);
  if (few) return sorted(run, few);
  return exact ? inRowOrder(run, first, Infinity) : inGroups(run, first);
}

/** All candidates by equality filters and key ranges if they are few, else null. */
async function fewCandidates(run: Run): Promise<Buffer[] | null> {
  const keys: Buffer[] = [];
  const budget = { rows: Math.min(SORTED_ROWS, run.query.maxRows / SORTED_SHARE) };
  const stream = candidates(run, { from: null, to: null }, 'asc', budget);
  try {
    for (let target: Buffer | null = null; keys.length <= SORTED_CANDIDATES;) {
      const found = await stream.seek(target);
      if (!found) return keys;
      if (!found.sure || budget.rows <= 0) return null;
      keys.push(found.key);
      target = targetBehind(found.key, 'asc');
    }
    return null;
  } finally {
    await stream.close();
  }
}

async function sorted(run: Run, keys: readonly Buffer[]): Promise<Buffer | null> {
  const smallest = new Smallest<PlacedResult>(run.room, Math.max(1, run.bytesLeft));
  for (let at = 0; at < keys.length; at += CHUNK) {
    const chunk = keys.slice(at, at + CHUNK).map((key) => ({ key, prefix: null }));
    for (const r of await run.place(chunk)) smallest.add(r);
    await run.breathe();
  }
  const full = !run.addAll(smallest.items());
  return full || smallest.dropped ? run.afterLast() : null;
}

interface OrderedRow {
  readonly key: Buffer;
  /** The row's value as the first part of a position. */
  readonly component: Buffer;
  /** False if the key alone says that the entity is no result. */
  readonly candidate: boolean;
}

/** Index rows of the first order in its direction. */
async function* rowsOf(run: Run, order: QueryOrder, rows: Bounds): AsyncGenerator<OrderedRow> {
  const part = propertyPart(run.query.namespace, run.query.kind ?? '', order.property);
  if (rows.from && rows.to && rows.from.compare(rows.to) >= 0) return;
  for await (const hit of run.reader.scanIndex(part, rows.from, rows.to, order.descending ? 'desc' : 'asc')) {
    const { value, key } = splitPropertyRow(hit.key);
    const component = valueComponent(value, order.descending);
    if (run.query.to && component.compare(run.query.to) >= 0) return;
    run.budget.rows--;
    yield { key, component, candidate: run.query.anyOf.some((c) => keyWithin(key, c)) };
  }
}

/**
 * One ordered property, and the key in the same direction: the index rows lie in the order of the results. Ends when
 * `maxRows` were read.
 */
async function inRowOrder(run: Run, order: QueryOrder, maxRows: number): Promise<Buffer | null> {
  const { query, budget } = run;
  const all = hull(query, order.property);
  const rows = run.from ? resumeExactly(all, order, run.from) : all;
  let left = maxRows;
  let chunk: { key: Buffer; prefix: Buffer }[] = [];
  for await (const { key, component, candidate } of rowsOf(run, order, rows)) {
    const position = Buffer.concat([component, keyComponent(key, order.descending)]);
    if (candidate) chunk.push({ key, prefix: position });
    left--;
    if (chunk.length < run.chunk && budget.rows > 0 && left > 0) continue;
    if (!run.addAll(await run.place(chunk)) || run.room <= 0) return run.afterLast();
    if (budget.rows <= 0 || left <= 0) return justAfter(position);
    chunk = [];
    await run.breathe();
  }
  return run.addAll(await run.place(chunk)) ? null : run.afterLast();
}

/** Results that share the first ordered value, sorted by the other orders with the first ones kept. */
class Group {
  private readonly smallest: Smallest<PlacedResult>;
  private chunk: { key: Buffer; prefix: Buffer }[] = [];
  private tied = 0;

  constructor(
    private readonly run: Run,
    readonly component: Buffer,
  ) {
    this.smallest = new Smallest(run.room, Math.max(1, run.bytesLeft));
  }

  async offer(key: Buffer): Promise<void> {
    if (++this.tied > MAX_TIED) {
      const names = this.run.query.orders.map((o) => o.property).join(', ');
      throw new NxnwError(
        'UNIMPLEMENTED',
        `order by ${names}: more than ${MAX_TIED} entities of a shard have the same first value, and composite indexes are not there yet; filter further or order by another property first`,
      );
    }
    this.chunk.push({ key, prefix: this.component });
    if (this.chunk.length >= CHUNK) await this.flush();
  }

  private async flush(): Promise<void> {
    for (const r of await this.run.place(this.chunk)) this.smallest.add(r);
    this.chunk = [];
    await this.run.breathe();
  }

  /** Hands the results to the run; answers the frontier if the run is to end here. */
  async close(): Promise<Buffer | null> {
    await this.flush();
    const full = !this.run.addAll(this.smallest.items());
    if (full || this.smallest.dropped) return this.run.afterLast();
    const end = this.run.room <= 0 || this.run.budget.rows <= 0;
    return end ? Buffer.concat([this.component, Buffer.of(GROUP_END)]) : null;
  }
}

/** Several orders: rows with one first value after another, each group sorted. */
async function inGroups(run: Run, order: QueryOrder): Promise<Buffer | null> {
  const { query } = run;
  const all = hull(query, order.property);
  let group: Group | null = null;
  const rows = run.from ? resume(all, order, run.from) : all;
  for await (const { key, component, candidate } of rowsOf(run, order, rows)) {
    if (!group?.component.equals(component)) {
      const end = group && (await group.close());
      if (end) return end;
      group = new Group(run, component);
    }
    if (candidate) await group.offer(key);
  }
  const end = group && (await group.close());
  // A run that ends with the last group has answered everything, even if it was full or its rows were used up.
  return end && end.at(-1) !== GROUP_END ? end : null;
}
