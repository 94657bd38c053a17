import type { ShardReader } from '../../shards/types.js';
import { earlierEnd, justAfter, laterStart, prefixSuccessor } from '../bytes.js';
import { kindPart, propertyPart } from '../indexes.js';
import type { Conjunct } from './shard-query.js';

/** Rows that one run may still read from indexes; shared by the streams of a query. */
export interface Budget {
  rows: number;
}

/** `sure`: `key` is a candidate. Otherwise the budget is spent: nothing lies before `key`, more may follow from it on. */
export interface Found {
  readonly key: Buffer;
  readonly sure: boolean;
}

/**
 * Candidate entity keys in key order (either direction). `seek` answers the first one within `target`, which is an
 * inclusive lower bound going up and an exclusive upper bound going down; null = none. Targets never go backwards.
 */
export interface KeyStream {
  seek(target: Buffer | null): Promise<Found | null>;
  close(): Promise<void>;
}

export type Order = 'asc' | 'desc';

type Bounds = { readonly from: Buffer | null; readonly to: Buffer | null };
type OpenScan = (bounds: Bounds) => AsyncIterator<Buffer>;

/** Rows read one by one before a seek opens a new scan at its target. */
const STEPS_BEFORE_SEEK = 16;

async function* keysOf<T>(rows: AsyncIterable<T>, key: (row: T) => Buffer): AsyncGenerator<Buffer> {
  for await (const row of rows) yield key(row);
}

function leaf(open: OpenScan, bounds: Bounds, order: Order, budget: Budget): KeyStream {
  let scan: AsyncIterator<Buffer> | null = null;
  let current: Buffer | null = null;
  let ended = false;
  const reached = (key: Buffer, target: Buffer): boolean =>
    order === 'asc' ? key.compare(target) >= 0 : key.compare(target) < 0;

  async function step(): Promise<void> {
    const r = await scan?.next();
    budget.rows--;
    if (!r || r.done) {
      ended = true;
      current = null;
    } else current = r.value;
  }

  async function openAt(target: Buffer | null): Promise<void> {
    await scan?.return?.();
    scan = open(
      target === null
        ? bounds
        : order === 'asc'
          ? { from: laterStart(bounds.from, target), to: bounds.to }
          : { from: bounds.from, to: earlierEnd(bounds.to, target) },
    );
    await step();
  }

  return {
    async seek(target) {
      if (!scan) await openAt(target);
      else if (target !== null) {
        for (let n = 0; current && !reached(current, target) && n < STEPS_BEFORE_SEEK; n++) await step();
        if (current && !reached(current, target)) await openAt(target);
      }
      return ended || !current ? null : { key: current, sure: true };
    },
    async close() {
      await scan?.return?.();
    },
  };
}

/** The target that begins with `key` itself. */
function targetAt(key: Buffer, order: Order): Buffer {
  return order === 'asc' ? key : justAfter(key);
}

/** The target that begins just behind `key`. */
export function targetBehind(key: Buffer, order: Order): Buffer {
  return order === 'asc' ? justAfter(key) : key;
}

/** Keys that all streams hold (merge join). */
function intersection(streams: readonly KeyStream[], order: Order, budget: Budget): KeyStream {
  return {
    async seek(target) {
      let goal: Buffer | null = null;
      for (let agreed = 0; ;) {
        for (const s of streams) {
          const found = await s.seek(goal === null ? target : targetAt(goal, order));
          if (!found) return null;
          agreed = goal?.equals(found.key) ? agreed + 1 : 1;
          goal = found.key;
          if (agreed === streams.length) return { key: goal, sure: true };
        }
        if (goal !== null && budget.rows <= 0) return { key: goal, sure: false };
      }
    },
    async close() {
      for (const s of streams) await s.close();
    },
  };
}

/** Keys that any stream holds, each once. */
export function union(streams: readonly KeyStream[], order: Order): KeyStream {
  const first = streams[0];
  if (first && streams.length === 1) return first;
  return {
    async seek(target) {
      let best: Found | null = null;
      for (const s of streams) {
        const found = await s.seek(target);
        if (!found) continue;
        const c = best === null ? -1 : found.key.compare(best.key) * (order === 'asc' ? 1 : -1);
        if (c < 0 || (c === 0 && !found.sure)) best = found;
      }
      return best;
    },
    async close() {
      for (const s of streams) await s.close();
    },
  };
}

/** Candidates of one conjunction, narrowed to the given key bounds: a superset of its results, in key order. */
export function conjunctStream(
  c: Conjunct,
  about: { readonly namespace: string; readonly kind: string | null },
  keys: Bounds,
  order: Order,
  reader: ShardReader,
  budget: Budget,
): KeyStream {
  const bounds = { from: laterStart(c.keyFrom, keys.from), to: earlierEnd(c.keyTo, keys.to) };
  const { namespace, kind } = about;
  if (bounds.from && bounds.to && bounds.from.compare(bounds.to) >= 0) return empty;
  if (kind === null) {
    const open: OpenScan = (b) => keysOf(reader.scanEntities(b.from, b.to, order), (row) => row.key);
    return leaf(open, bounds, order, budget);
  }
  if (c.equals.length === 0) {
    const part = kindPart(namespace, kind);
    return leaf((b) => keysOf(reader.scanIndex(part, b.from, b.to, order), (hit) => hit.key), bounds, order, budget);
  }
  return intersection(
    c.equals.map(({ property, value }) => {
      const part = propertyPart(namespace, kind, property);
      const open: OpenScan = (b) =>
        keysOf(
          reader.scanIndex(
            part,
            b.from ? Buffer.concat([value, b.from]) : value,
            b.to ? Buffer.concat([value, b.to]) : prefixSuccessor(value),
            order,
          ),
          (hit) => hit.key.subarray(value.length),
        );
      return leaf(open, bounds, order, budget);
    }),
    order,
    budget,
  );
}

const empty: KeyStream = { seek: () => Promise.resolve(null), close: () => Promise.resolve() };
