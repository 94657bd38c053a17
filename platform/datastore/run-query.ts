import type { Authority, ShardId } from '../shards/types.js';
import { encodeAnswer } from './api.js';
import type { RunAggregationQueryRequest, RunQueryRequest } from './api.js';
import { checkKey, checkPartition } from './checks.js';
import type { Partition } from './keys.js';
import { decodeKey } from './keys.js';
import { fullResult } from './lookup.js';
import { keyMessage, timestampMessage } from './messages.js';
import { entityCodec, fromBigInt, toBigInt } from './proto.js';
import { justAfter } from './bytes.js';
import { encodeCursor } from './query/cursor.js';
import { nextStretch } from './query/merge.js';
import type { Ask, Stretch } from './query/merge.js';
import { planQuery } from './query/plan.js';
import type { Plan } from './query/plan.js';
import { MORE, RESULT } from './query/request.js';
import type { QueryMessage } from './query/request.js';
import type { ShardQuery, ShardResult } from './query/shard-query.js';
import { readAtUs, readMode } from './reads.js';
import type { ReadMode } from './reads.js';
import { invalid, unimplemented } from './refuse.js';
import { allShards, checkDeadline } from './service.js';
import type { Call, Service } from './service.js';
import { shardOf } from './token.js';

const MERGE_LIMITS = { minAsk: 10, maxAsk: 500, maxAskBytes: 1 << 20, maxRows: 20_000 };
/** Positions carry no entity, so that more of them are skipped or counted at once. */
const SKIP_LIMITS = { minAsk: 200, maxAsk: 2000, maxAskBytes: 1 << 20, maxRows: 20_000 };
const SKIP_STRETCH = 5000;
/** Kept from the deadline for the answer's way back. */
const ANSWER_MS = 250;

function plan(service: Service, q: QueryMessage, partition: Partition): Plan {
  return planQuery(q, partition, {
    queryKey: (m, what) => {
      const key = checkKey(m, service, what, 'read');
      if (key.namespace !== partition.namespace)
        throw invalid(
          `${what} is in namespace ${JSON.stringify(key.namespace)}, the query in ${JSON.stringify(partition.namespace)}`,
        );
      return key;
    },
    checkKey: (m, what) => void checkKey(m, service, what, 'read'),
  });
}

/** A planned query on its way: the shards that can hold results, one time for all, reads noted in the transaction. */
class Scan {
  /** The one time of the answers; null as long as each shard's present is read. */
  private atUs: number | null;
  private readonly expires: number;

  private constructor(
    private readonly call: Call,
    readonly plan: Plan,
    private readonly mode: ReadMode,
    private readonly shards: readonly ShardId[],
  ) {
    this.atUs = readAtUs(call.service, mode.transaction, shards.length);
    this.expires = Math.min(Date.now() + call.service.limits.queryMs, call.deadlineMs - ANSWER_MS);
  }

  static async open(call: Call, p: Plan, mode: ReadMode): Promise<Scan> {
    const all = await allShards(call.service);
    if (p.shard.anyOf.length === 0) return new Scan(call, p, mode, []);
    const wanted = p.groups && new Set(p.groups.map((g) => shardOf(g, all.length)));
    return new Scan(call, p, mode, wanted ? all.filter((s) => wanted.has(s.index)) : all);
  }

  private ask: Ask = async (shard, query, atUs) => {
    checkDeadline(this.call, 'the query');
    const { client, transactions } = this.call.service;
    const answer = await client.query(shard, query, atUs, this.call.deadlineMs);
    if (this.mode.transaction) this.note(transactions, answer.authority);
    return answer;
  };

  private note(transactions: Service['transactions'], authority: Authority): void {
    const { transaction } = this.mode;
    const group = this.plan.groups?.length === 1 ? (this.plan.groups[0] ?? null) : null;
    if (transaction) transactions.noteRange(transaction, group, this.plan.shard.kind, authority);
  }

  expired(): boolean {
    return Date.now() >= this.expires;
  }

  /** The next results. One shard's later results are read at the time of its first. */
  async next(from: Buffer | null, carry: ShardQuery['carry'], maxResults: number): Promise<Stretch> {
    const stretch = await nextStretch(
      {
        shards: this.shards,
        query: { ...this.plan.shard, carry },
        from,
        to: this.plan.to,
        atUs: this.atUs,
        maxResults,
        maxBytes: this.call.service.limits.batchBytes,
        expired: () => this.expired(),
      },
      this.ask,
      carry === 'position' ? SKIP_LIMITS : MERGE_LIMITS,
    );
    if (this.shards.length === 1) this.atUs ??= stretch.atUs;
    return stretch;
  }

  /** What the answer names as its time. */
  readUs(): number {
    return this.atUs ?? this.call.service.readTime.now();
  }
}

function checkQueryRequest(r: RunQueryRequest | RunAggregationQueryRequest): void {
  if (r.gqlQuery) throw unimplemented('gql_query');
  if (r.explainOptions) throw unimplemented('explain_options');
}

interface Skipped {
  readonly skipped: number;
  /** Where it came to; null = the beginning. */
  readonly at: Buffer | null;
  /** True if nothing follows. */
  readonly ended: boolean;
}

/** Skips up to `count` results until `stop` answers true. */
async function skip(scan: Scan, from: Buffer | null, count: number, stop: () => boolean): Promise<Skipped> {
  let at = from;
  let skipped = 0;
  while (skipped < count && !(skipped > 0 && stop())) {
    const stretch = await scan.next(at, 'position', Math.min(SKIP_STRETCH, count - skipped));
    skipped += stretch.results.length;
    const last = stretch.results.at(-1);
    if (stretch.next === null) return { skipped, at: last ? justAfter(last.position) : at, ended: true };
    at = stretch.next;
  }
  return { skipped, at, ended: false };
}

function resultOf(r: ShardResult, p: Plan): object {
  const cursor = encodeCursor(p.shape, justAfter(r.position));
  if (!p.keysOnly) return { ...fullResult(r), cursor };
  const key = decodeKey(r.key ?? Buffer.alloc(0));
  return { entity: entityCodec.encode({ key: keyMessage(key), properties: {} }), cursor };
}

export async function runQuery(call: Call, request: RunQueryRequest): Promise<Buffer> {
  const { service } = call;
  checkQueryRequest(request);
  if (request.propertyMask) throw unimplemented('property_mask of RunQuery');
  if (!request.query) throw invalid('RunQuery needs a query');
  const partition = checkPartition(request.partitionId, service, 'partition_id');
  const p = plan(service, request.query, partition);
  const mode = readMode(service, request.readOptions);
  const scan = await Scan.open(call, p, mode);

  const skipping = await skip(scan, p.from, p.offset, () => scan.expired());
  const wanted = Math.min(p.limit ?? Infinity, service.limits.batchResults);
  const ready = skipping.skipped === p.offset && !skipping.ended && wanted > 0;
  const stretch: Stretch = ready
    ? await scan.next(skipping.at, p.keysOnly ? 'key' : 'entity', wanted)
    : { results: [], next: skipping.ended ? null : skipping.at, atUs: null };

  const last = stretch.results.at(-1);
  const end = stretch.next ?? (last ? justAfter(last.position) : skipping.at);
  const ended = stretch.next === null && (ready || skipping.ended);
  const limitReached = skipping.skipped === p.offset && p.limit !== null && stretch.results.length >= p.limit;
  const more = ended ? (p.to ? MORE.AFTER_CURSOR : MORE.NONE) : limitReached ? MORE.AFTER_LIMIT : MORE.NOT_FINISHED;
  const readUs = scan.readUs();
  const batch = {
    skippedResults: skipping.skipped,
    ...(skipping.skipped > 0 ? { skippedCursor: encodeCursor(p.shape, skipping.at) } : {}),
    entityResultType: p.keysOnly ? RESULT.KEY_ONLY : RESULT.FULL,
    entityResults: stretch.results.map((r) => resultOf(r, p)),
    endCursor: encodeCursor(p.shape, end),
    moreResults: more,
    snapshotVersion: fromBigInt(BigInt(readUs)),
    readTime: timestampMessage(readUs),
  };
  return encodeAnswer('RunQuery', { batch, ...(mode.begun ? { transaction: mode.begun } : {}) });
}

const MAX_AGGREGATIONS = 5;

/** COUNT over any query that RunQuery can run; SUM and AVG are refused by name. */
export async function runAggregationQuery(call: Call, request: RunAggregationQueryRequest): Promise<Buffer> {
  const { service } = call;
  checkQueryRequest(request);
  const { nestedQuery, aggregations = [] } = request.aggregationQuery ?? {};
  if (!nestedQuery) throw invalid('RunAggregationQuery needs an aggregation_query with a nested_query');
  if (aggregations.length === 0 || aggregations.length > MAX_AGGREGATIONS)
    throw invalid(`${aggregations.length} aggregations; allowed are 1 to ${MAX_AGGREGATIONS}`);
  const partition = checkPartition(request.partitionId, service, 'partition_id');
  const p = plan(service, nestedQuery, partition);
  let unnamed = 0;
  const counts = aggregations.map((a) => {
    if (a.operator !== 'count') throw unimplemented(`the aggregation ${a.operator ?? '(none)'}`);
    const upTo = a.count?.upTo ? Number(toBigInt(a.count.upTo.value)) : Infinity;
    if (upTo < 0) throw invalid(`count.up_to is ${upTo}; it must be at least 0`);
    return { alias: a.alias || `property_${++unnamed}`, upTo: Math.min(upTo, p.limit ?? Infinity) };
  });
  if (new Set(counts.map((c) => c.alias)).size < counts.length)
    throw invalid('the aliases of aggregations must differ');
  const mode = readMode(service, request.readOptions);
  const scan = await Scan.open(call, p, mode);

  const never = () => false;
  const bound = Math.max(...counts.map((c) => c.upTo));
  const start = await skip(scan, p.from, p.offset, never);
  const total = start.ended ? 0 : (await skip(scan, start.at, bound, never)).skipped;
  const readUs = scan.readUs();
  const aggregateProperties = Object.fromEntries(
    counts.map((c) => [c.alias, { integerValue: fromBigInt(BigInt(Math.min(total, c.upTo))) }]),
  );
  const batch = {
    aggregationResults: [{ aggregateProperties }],
    moreResults: MORE.NONE,
    readTime: timestampMessage(readUs),
  };
  return encodeAnswer('RunAggregationQuery', { batch, ...(mode.begun ? { transaction: mode.begun } : {}) });
}
