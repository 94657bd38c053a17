import { NxnwError } from '../../errors.js';
import { decodeBytes, inverted, justAfter } from '../bytes.js';
import type { Run } from './run.js';
import { keyComponent } from './evaluate.js';
import { conjunctStream, targetBehind, union } from './streams.js';
import type { KeyStream, Order } from './streams.js';

/** Candidates of all conjunctions in key order, between the query's paging bounds if its order is by key. */
export function candidates(run: Run, keys: { from: Buffer | null; to: Buffer | null }, order: Order): KeyStream {
  const { query, reader, budget } = run;
  return union(
    query.anyOf.map((c) => conjunctStream(c, query, keys, order, reader, budget)),
    order,
  );
}

/** Key bounds for the positions of a descending key order; null where the position holds no whole key. */
function keyOf(position: Buffer | null): Buffer | null {
  if (position === null) return null;
  try {
    return decodeBytes(inverted(position), 0).raw;
  } catch (e) {
    throw new NxnwError('INVALID_ARGUMENT', 'the cursor does not belong to a query in descending key order', {}, e);
  }
}

/** Runs a query ordered by key alone. Answers the frontier. */
export async function inKeyOrder(run: Run): Promise<Buffer | null> {
  const { query } = run;
  const order: Order = query.keyDescending ? 'desc' : 'asc';
  const upper = keyOf(query.keyDescending ? query.from : null);
  const stream = query.keyDescending
    ? candidates(run, { from: keyOf(query.to), to: upper && justAfter(upper) }, order)
    : candidates(run, { from: query.from, to: query.to }, order);
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
