import { NxnwError } from '../../errors.js';
import { decodeBytes, inverted, justAfter } from '../bytes.js';
import type { Run } from './run.js';
import { keyComponent } from './evaluate.js';
import type { ShardQuery } from './shard-query.js';
import { conjunctStream, targetBehind, union } from './streams.js';
import type { Budget, KeyStream, Order } from './streams.js';

/** Candidates of all conjunctions in key order, between the given keys. */
export function candidates(
  run: Run,
  keys: { from: Buffer | null; to: Buffer | null },
  order: Order,
  budget: Budget,
): KeyStream {
  const { query, reader } = run;
  return union(
    query.anyOf.map((c) => conjunctStream(c, query, keys, order, reader, budget)),
    order,
  );
}

/** The key of a position in descending key order, and whether the position lies behind that key's own. */
function keyAt(position: Buffer): { readonly key: Buffer; readonly behind: boolean } {
  try {
    const { raw, next } = decodeBytes(inverted(position), 0);
    return { key: raw, behind: position.length > next };
  } catch (e) {
    throw new NxnwError('INVALID_ARGUMENT', 'the cursor does not belong to a query in descending key order', {}, e);
  }
}

/** Keys between the query's paging bounds. */
function pagedKeys({ from, to, keyDescending }: ShardQuery): { from: Buffer | null; to: Buffer | null } {
  if (!keyDescending) return { from, to };
  const upper = from && keyAt(from);
  return { from: to && keyAt(to).key, to: upper && (upper.behind ? upper.key : justAfter(upper.key)) };
}

/** Runs a query ordered by key alone. Answers the frontier. */
export async function inKeyOrder(run: Run): Promise<Buffer | null> {
  const { query } = run;
  const order: Order = query.keyDescending ? 'desc' : 'asc';
  const stream = candidates(run, pagedKeys(query), order, run.budget);
  try {
    for (let target: Buffer | null = null; ;) {
      const chunk: Buffer[] = [];
      let stop: Buffer | null = null;
      let ended = false;
      while (chunk.length < run.chunk) {
        const found = await stream.seek(target);
        if (!found) {
          ended = true;
          break;
        }
        if (!found.sure) {
          stop = keyComponent(found.key, query.keyDescending);
          break;
        }
        chunk.push(found.key);
        target = targetBehind(found.key, order);
        if (run.budget.rows <= 0) {
          stop = justAfter(keyComponent(found.key, query.keyDescending));
          break;
        }
      }
      if (!run.addAll(await run.place(chunk.map((key) => ({ key, prefix: null }))))) return run.afterLast();
      if (ended) return null;
      if (stop) return stop;
      if (run.room <= 0) return run.afterLast();
      await run.breathe();
    }
  } finally {
    await stream.close();
  }
}
