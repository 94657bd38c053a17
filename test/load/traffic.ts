import { z } from 'zod';
import type { Source } from '../oracle/index.js';

/** The lines that the clients wrote for the report; times in microseconds of the monotonic clock. */
const reqLine = z.looseObject({
  k: z.literal('req'),
  nonce: z.string(),
  op: z.string(),
  /** When it was scheduled. */
  at: z.number(),
  ms: z.number(),
  status: z.int(),
  error: z.string().default(''),
  failed: z.string().nullable(),
  instance: z.string().default(''),
  cache: z.string().default(''),
  retries: z.number().default(0),
  errors: z.string().default(''),
  to: z.string().default(''),
});
type Req = z.infer<typeof reqLine>;

const dnsLine = z.looseObject({ k: z.literal('dns'), atUs: z.number(), addresses: z.array(z.string()) });
const lagLine = z.looseObject({ k: z.enum(['lag', 'gap']), at: z.number(), gapUs: z.number() });

/** A stretch of time whose traffic is summed up by itself. */
export interface Span {
  readonly name: string;
  readonly fromUs: number;
  readonly toUs: number;
}

export interface SpanSum {
  readonly name: string;
  readonly seconds: number;
  readonly requests: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Longest latency from the scheduled time, with its request. */
  readonly longestMs: number;
  readonly longest: { readonly nonce: string; readonly op: string; readonly atUs: number } | null;
  /** Longest time for which the timer process was not run while the longest request waited, ms. */
  readonly schedulingGapMs: number;
  /** Datastore errors that the application met, by code, and its retries. */
  readonly datastoreErrors: Readonly<Record<string, number>>;
  readonly appRetries: number;
}

export interface Failure {
  readonly nonce: string;
  readonly op: string;
  readonly atUs: number;
  readonly why: string;
}

export interface Second {
  /** Seconds since the first request. */
  readonly s: number;
  readonly requests: number;
  readonly maxMs: number;
  /** Answered by the instances of the target. */
  readonly atTarget: number;
  readonly hits: number;
  readonly misses: number;
  readonly targetHits: number;
  readonly targetMisses: number;
  /** Values stored and generations set in memcached: one for each miss and for each place that was written. */
  readonly cacheWrites: number;
}

export interface Traffic {
  readonly requests: number;
  readonly writes: number;
  readonly failedRequests: number;
  readonly failures: readonly Failure[];
  readonly conflicts: number;
  readonly firstUs: number;
  readonly spans: readonly SpanSum[];
  readonly seconds: readonly Second[];
  /** First answer from an instance of the target, µs. */
  readonly firstAtTargetUs: number | null;
  /** Every change of the address that a client saw. */
  readonly dns: readonly { readonly client: number; readonly atUs: number; readonly addresses: readonly string[] }[];
}

const READS = new Set(['get', 'book', 'search', 'note.get']);
const PLACE_WRITES = new Set(['sign', 'edit', 'create', 'remove', 'move']);
const MAX_FAILURES = 50;
const STEP_MS = 0.25;
const STEPS = 40_000;

/** Latencies in steps of a quarter of a millisecond: bounded memory, whatever the run's length. */
class Latencies {
  private readonly counts = new Uint32Array(STEPS);
  private total = 0;

  add(ms: number): void {
    const i = Math.min(STEPS - 1, Math.max(0, Math.floor(ms / STEP_MS)));
    this.counts[i] = (this.counts[i] ?? 0) + 1;
    this.total++;
  }

  quantile(q: number): number {
    let left = Math.ceil(this.total * q);
    for (let i = 0; i < STEPS; i++) {
      left -= this.counts[i] ?? 0;
      if (left <= 0) return (i + 1) * STEP_MS;
    }
    return STEPS * STEP_MS;
  }
}

class SpanWork {
  requests = 0;
  failed = 0;
  appRetries = 0;
  longest: Req | null = null;
  readonly latencies = new Latencies();
  readonly errors: Record<string, number> = {};

  constructor(readonly span: Span) {}

  add(r: Req): void {
    // A request belongs to a span if any of its time lies in it.
    if (r.at > this.span.toUs || r.at + r.ms * 1000 < this.span.fromUs) return;
    this.requests++;
    this.latencies.add(r.ms);
    this.appRetries += r.retries;
    if (r.failed !== null) this.failed++;
    // ABORTED on a contended place is an answer, not an error.
    for (const code of r.errors.split(','))
      if (code !== '' && code !== 'ABORTED') this.errors[code] = (this.errors[code] ?? 0) + 1;
    if (this.longest === null || r.ms > this.longest.ms) this.longest = r;
  }
}

/**
 * Sums the clients' logs up.
 * @param o.isTarget whether an instance (`127.1.2.101:9100`) belongs to the target platform
 */
export async function sumTraffic(o: {
  readonly logs: readonly Source[];
  readonly lagLogs: readonly Source[];
  readonly spans: readonly Span[];
  isTarget(instance: string): boolean;
}): Promise<Traffic> {
  const spans = o.spans.map((s) => new SpanWork(s));
  const seconds = new Map<number, { -readonly [K in keyof Second]: Second[K] }>();
  const failures: Failure[] = [];
  const dns: { client: number; atUs: number; addresses: string[] }[] = [];
  const sum = { requests: 0, writes: 0, failedRequests: 0, conflicts: 0, firstUs: Infinity };
  let firstAtTargetUs: number | null = null;

  for (const [client, log] of o.logs.entries()) {
    let address = '';
    for await (const value of log.read()) {
      const kind = typeof value === 'object' && value !== null && 'k' in value ? value.k : '';
      if (kind === 'dns') {
        const d = dnsLine.parse(value);
        if (d.addresses.join() !== address) dns.push({ client, atUs: d.atUs, addresses: d.addresses });
        address = d.addresses.join();
      }
      if (kind !== 'req') continue;
      const r = reqLine.parse(value);
      sum.requests++;
      sum.writes += READS.has(r.op) ? 0 : 1;
      sum.conflicts += r.error === 'ABORTED' ? 1 : 0;
      sum.firstUs = Math.min(sum.firstUs, r.at);
      if (r.failed !== null) {
        sum.failedRequests++;
        if (failures.length < MAX_FAILURES) failures.push({ nonce: r.nonce, op: r.op, atUs: r.at, why: r.failed });
      }
      for (const s of spans) s.add(r);
      const target = o.isTarget(r.instance);
      const endUs = r.at + r.ms * 1000;
      if (target && (firstAtTargetUs === null || endUs < firstAtTargetUs)) firstAtTargetUs = endUs;
      const s = Math.floor(r.at / 1e6);
      let second = seconds.get(s);
      if (second === undefined) {
        second = {
          s,
          requests: 0,
          maxMs: 0,
          atTarget: 0,
          hits: 0,
          misses: 0,
          targetHits: 0,
          targetMisses: 0,
          cacheWrites: 0,
        };
        seconds.set(s, second);
      }
      second.requests++;
      second.maxMs = Math.max(second.maxMs, r.ms);
      second.atTarget += target ? 1 : 0;
      if (r.cache === 'hit') second[target ? 'targetHits' : 'hits']++;
      if (r.cache === 'miss' || (r.status === 200 && PLACE_WRITES.has(r.op))) second.cacheWrites++;
      if (r.cache === 'miss') second[target ? 'targetMisses' : 'misses']++;
    }
  }
  const gaps = await longGaps(o.lagLogs);
  const firstS = Math.floor(sum.firstUs / 1e6);
  return {
    ...sum,
    failures: failures.sort((a, b) => a.atUs - b.atUs),
    spans: spans.map((s) => finish(s, gaps)),
    seconds: [...seconds.values()].sort((a, b) => a.s - b.s).map((x) => ({ ...x, s: x.s - firstS })),
    firstAtTargetUs,
    dns: dns.sort((a, b) => a.atUs - b.atUs),
  };
}

interface Gap {
  readonly at: number;
  readonly gapUs: number;
}

async function longGaps(logs: readonly Source[]): Promise<Gap[]> {
  const gaps: Gap[] = [];
  for (const log of logs)
    for await (const value of log.read()) {
      const line = lagLine.parse(value);
      if (line.k === 'gap') gaps.push({ at: line.at, gapUs: line.gapUs });
    }
  return gaps;
}

function finish(w: SpanWork, gaps: readonly Gap[]): SpanSum {
  const { span, longest } = w;
  const from = longest?.at ?? 0;
  const to = from + (longest?.ms ?? 0) * 1000;
  const gapUs = Math.max(0, ...gaps.filter((g) => g.at >= from && g.at - g.gapUs <= to).map((g) => g.gapUs));
  return {
    name: span.name,
    seconds: (span.toUs - span.fromUs) / 1e6,
    requests: w.requests,
    failed: w.failed,
    p50Ms: w.latencies.quantile(0.5),
    p99Ms: w.latencies.quantile(0.99),
    longestMs: longest?.ms ?? 0,
    longest: longest === null ? null : { nonce: longest.nonce, op: longest.op, atUs: longest.at },
    schedulingGapMs: gapUs / 1000,
    datastoreErrors: w.errors,
    appRetries: w.appRetries,
  };
}

/** Share of cache hits in the seconds from `from` up to before `to` (as in `Second.s`), of one side; null without reads. */
export function hitRate(t: Traffic, side: 'source' | 'target', from: number, to: number): number | null {
  let hits = 0;
  let all = 0;
  for (const s of t.seconds) {
    if (s.s < from || s.s >= to) continue;
    hits += side === 'target' ? s.targetHits : s.hits;
    all += side === 'target' ? s.targetHits + s.targetMisses : s.hits + s.misses;
  }
  return all === 0 ? null : hits / all;
}
