import { NxnwError } from '../../errors.js';
import { shardName } from '../../shards/types.js';
import type { Authority, ShardId } from '../../shards/types.js';
import { justAfter } from '../bytes.js';
import { decodeBatch, encodeQuery } from './shard-query.js';
import type { ShardQuery, ShardResult } from './shard-query.js';

/** What a merge asks of one shard. `atUs` null = now. */
export type Ask = (
  shard: ShardId,
  query: Buffer,
  atUs: number | null,
) => Promise<{ readonly batch: Buffer; readonly authority: Authority }>;

export interface MergeLimits {
  /** Results asked of one shard at once, at least and at most. */
  readonly minAsk: number;
  readonly maxAsk: number;
  /** Bytes of entities asked of one shard at once. */
  readonly maxAskBytes: number;
  /** Index rows that a shard reads, about, before it answers what it has. */
  readonly maxRows: number;
}

const EMPTY = Buffer.alloc(0);

/** One shard's results in order, fetched as they are used up. */
class Source {
  private queue: ShardResult[] = [];
  private used = 0;
  /** Every result of the shard below this is in the queue or was taken; null = every result. */
  frontier: Buffer | null;

  constructor(
    readonly shard: ShardId,
    from: Buffer | null,
    public atUs: number | null,
  ) {
    this.frontier = from ?? EMPTY;
  }

  head(): ShardResult | undefined {
    return this.queue[this.used];
  }

  take(): void {
    this.used++;
  }

  /** Nothing before `position` is still to be fetched. */
  knowsBefore(position: Buffer): boolean {
    return this.frontier === null || this.frontier.compare(position) > 0;
  }

  /** Fetches once. Later fetches are at the time of the first, so that the shard's results are of one snapshot. */
  async fill(ask: Ask, query: Omit<ShardQuery, 'format' | 'from'>): Promise<void> {
    const from = this.frontier?.length ? this.frontier : null;
    const answer = decodeBatch((await ask(this.shard, encodeQuery({ ...query, from }), this.atUs)).batch);
    if (answer.results.length === 0 && answer.frontier && answer.frontier.compare(from ?? EMPTY) <= 0)
      throw new NxnwError('INTERNAL', `shard ${shardName(this.shard)} answered a query without any progress`);
    this.atUs ??= answer.atUs;
    this.queue = [...this.queue.slice(this.used), ...answer.results];
    this.used = 0;
    this.frontier = answer.frontier;
  }
}

export interface Stretch {
  readonly results: readonly ShardResult[];
  /** Where the next stretch begins; null = all results of all shards were taken. */
  readonly next: Buffer | null;
  /** The latest time at which a shard was read, microseconds; null if none was asked. */
  readonly atUs: number | null;
}

export interface StretchRequest {
  readonly shards: readonly ShardId[];
  readonly query: Pick<ShardQuery, 'namespace' | 'kind' | 'anyOf' | 'orders' | 'keyDescending' | 'carry'>;
  readonly from: Buffer | null;
  readonly to: Buffer | null;
  readonly atUs: number | null;
  /** At most so many results (> 0) and, after the first, so many bytes of entities. */
  readonly maxResults: number;
  readonly maxBytes: number;
  /** Answers what there is when this becomes true. */
  readonly expired: () => boolean;
}

/** The next results of a query over several shards: a k-way merge by position that fetches from shards as needed. */
export async function nextStretch(r: StretchRequest, ask: Ask, limits: MergeLimits): Promise<Stretch> {
  const sources = r.shards.map((s) => new Source(s, r.from, r.atUs));
  const share = (left: number) =>
    Math.min(limits.maxAsk, Math.max(Math.min(left, limits.minAsk), Math.ceil((left * 1.5) / r.shards.length)));
  const fill = (which: readonly Source[], left: number) =>
    Promise.all(
      which.map((s) =>
        s.fill(ask, {
          ...r.query,
          to: r.to,
          maxResults: share(left),
          maxBytes: limits.maxAskBytes,
          maxRows: limits.maxRows,
        }),
      ),
    );

  const results: ShardResult[] = [];
  let bytes = 0;
  if (r.from === null || r.to === null || r.from.compare(r.to) < 0) await fill(sources, r.maxResults);
  else return { results, next: null, atUs: r.atUs };
  for (;;) {
    const first = smallest(sources);
    if (first && sources.every((s) => s.head() || s.knowsBefore(first.head.position))) {
      if (bytes > r.maxBytes) break;
      results.push(first.head);
      first.source.take();
      bytes += (first.head.entity ?? first.head.key ?? EMPTY).length;
      if (results.length >= r.maxResults) break;
      continue;
    }
    const behind = sources.filter((s) => !s.head() && s.frontier && !(first && s.knowsBefore(first.head.position)));
    if (behind.length === 0) return { results, next: null, atUs: timeOf(sources) };
    if (r.expired()) break;
    await fill(behind, r.maxResults - results.length);
  }
  return { results, next: nextPosition(sources, results.at(-1)), atUs: timeOf(sources) };
}

function timeOf(sources: readonly Source[]): number | null {
  return sources.reduce<number | null>((t, s) => (s.atUs === null ? t : Math.max(t ?? 0, s.atUs)), null);
}

function smallest(sources: readonly Source[]): { source: Source; head: ShardResult } | null {
  let best: { source: Source; head: ShardResult } | null = null;
  for (const source of sources) {
    const head = source.head();
    if (head && (best === null || head.position.compare(best.head.position) < 0)) best = { source, head };
  }
  return best;
}

/** As far as every source is known; null if nothing is left anywhere. */
function nextPosition(sources: readonly Source[], last: ShardResult | undefined): Buffer | null {
  if (sources.every((s) => !s.head() && s.frontier === null)) return null;
  if (last) return justAfter(last.position);
  let next: Buffer | null = null;
  for (const s of sources) {
    const reached = s.head()?.position ?? s.frontier;
    if (reached && (next === null || reached.compare(next) < 0)) next = reached;
  }
  return next;
}
