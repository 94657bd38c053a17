import type { QueryEngine } from '../../shards/types.js';
import { inKeyOrder } from './key-order.js';
import { byProperty } from './property-order.js';
import { Run } from './run.js';
import { decodeQuery, encodeBatch } from './shard-query.js';

/**
 * Runs a shard query at the owner: candidates from index scans, each checked against the entity at T, in the query's
 * order, with bounded memory. A run that has read its share of rows answers what it has and how far it came.
 */
export const queryEngine: QueryEngine = async (raw, reader, signal) => {
  const query = decodeQuery(raw);
  const run = new Run(query, reader, signal);
  const frontier = query.orders.length === 0 ? await inKeyOrder(run) : await byProperty(run);
  return encodeBatch({ atUs: reader.atUs, results: run.results, frontier });
};
