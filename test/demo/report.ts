import { z } from 'zod';
import type { Finding, Kind, OracleReport } from '../oracle/index.js';
import type { DemoState } from './context.js';
import type { Counted } from './counters.js';
import type { LoadWindow } from './progress.js';
import { SWITCHES } from './spans.js';
import type { SwitchName } from './spans.js';
import { hitRate } from '../load/traffic.js';
import type { SpanSum, Traffic } from '../load/traffic.js';

/** What the slides measured, beside which the demo's figures stand. */
export const SLIDES = {
  switchS: { value: 46.4, text: 'average switch-over time, by DNS' },
  loadMsPerEntity: { value: [2.45, 3.18], text: 'loading from the snapshot, entities of 100 B to 100 KB' },
  cacheCowMs: { value: 0.17, text: 'overhead of copy-on-write, 5 KB entities' },
  cacheCorMs: { value: 0.85, text: 'overhead of copy-on-read, 5 KB entities' },
} as const;

const verifyFact = z.looseObject({ outcome: z.enum(['equal', 'different', 'failed']), why: z.string() });

const position = z.strictObject({ epoch: z.int(), slot: z.int() });

/** The parts of the migration's own report that are judged here. */
const migrationReport = z.looseObject({
  events: z.array(z.looseObject({ atMs: z.number(), what: z.string(), text: z.string() })).default([]),
  apps: z.array(
    z.looseObject({
      app: z.string(),
      shards: z.array(
        z.looseObject({
          shard: z.int(),
          authority: z.string(),
          entities: z.number(),
          bytes: z.number(),
          digest: z.string().nullable(),
          handover: z
            .looseObject({
              from: z.string(),
              to: z.string(),
              move: position,
              start: position.nullable(),
              heldRequests: z.int(),
              holdMs: z.number(),
              firstAnswerMs: z.number().nullable(),
              atMs: z.number(),
              slots: z.array(
                z.strictObject({ platform: z.string(), move: z.string().nullable(), start: z.string().nullable() }),
              ),
            })
            .nullable(),
        }),
      ),
    }),
  ),
});
type MigrationReport = z.infer<typeof migrationReport>;

export interface ShardSwitch {
  readonly shard: number;
  readonly from: string;
  readonly to: string;
  readonly heldRequests: number;
  readonly holdMs: number;
  /** Hold → first answer of the new owner. */
  readonly firstAnswerMs: number | null;
  readonly move: string;
  readonly start: string | null;
  /** What each platform's store holds in these two slots. */
  readonly slots: readonly { readonly platform: string; readonly move: string | null; readonly start: string | null }[];
}

export interface SwitchReport {
  readonly longestStallMs: number;
  readonly longest: SpanSum['longest'];
  readonly schedulingGapMs: number;
  readonly requests: number;
  readonly failedRequests: number;
  readonly errorsRound: Readonly<Record<string, number>>;
  readonly appRetriesRound: number;
  /** At the doors of both platforms, and HAProxy's retries, in the same time; null = not sampled. */
  readonly countersRound: Counted | null;
  /** What the coordinator did while the longest request waited. */
  readonly during: readonly string[];
  readonly shards: readonly ShardSwitch[];
  readonly slides: (typeof SLIDES)['switchS'];
}

export interface DemoReport {
  readonly full: boolean;
  readonly entities: number;
  readonly bytes: number;
  /** Places a second through N1's public API, before the migration. */
  readonly loadedPerS: number | null;
  /** N2's load from the snapshot. */
  readonly load: Partial<LoadWindow> & {
    readonly msPerEntity: number | null;
    readonly slides: (typeof SLIDES)['loadMsPerEntity'];
  };
  readonly requests: number;
  readonly writes: number;
  readonly writeShare: number;
  readonly failedRequests: number;
  readonly failures: Traffic['failures'];
  readonly conflicts: number;
  readonly found: Readonly<Record<Kind, number>>;
  readonly lost: number;
  readonly torn: number;
  readonly resurrected: number;
  readonly duplicated: number;
  readonly duplicateIds: number;
  readonly stale: number;
  readonly findings: readonly Finding[];
  readonly oracle: Omit<OracleReport, 'findings'>;
  readonly longestStallMs: Readonly<Partial<Record<SwitchName, number>>>;
  readonly switches: Readonly<Partial<Record<SwitchName, SwitchReport>>>;
  readonly latency: readonly SpanSum[];
  readonly cache: {
    readonly n1HitRate: number | null;
    /** N2's in the first ten seconds of its traffic. */
    readonly n2First10sHitRate: number | null;
    readonly ratio: number | null;
    /** In the two seconds from N2's first answer on. */
    readonly cacheWritesWithin2s: number;
    readonly n2HitRateBySecond: readonly { readonly s: number; readonly rate: number | null }[];
  };
  readonly dns: {
    /** From a change's first sighting to its last client's. */
    readonly changes: readonly { readonly addresses: readonly string[]; readonly clientsS: readonly number[] }[];
  };
  readonly ab: readonly unknown[];
  /** What the last deep verification said; null = there was none. */
  readonly verify: z.infer<typeof verifyFact> | null;
  readonly digestsEqual: boolean;
  readonly timelineS: Readonly<Record<string, number>>;
  readonly bySecond: Traffic['seconds'];
}

export type CountedBySwitch = Readonly<Partial<Record<SwitchName, Counted | null>>>;

export interface ReportInput {
  readonly state: DemoState;
  readonly oracle: OracleReport;
  readonly traffic: Traffic;
  readonly window: LoadWindow | null;
  readonly counted: CountedBySwitch;
}

export function makeReport(o: ReportInput): DemoReport {
  const { state, oracle, traffic, window } = o;
  const { findings, ...counts } = oracle;
  const last = lastReport(state);
  const shards = last?.apps.flatMap((a) => a.shards) ?? [];
  const loaded = z.looseObject({ entities: z.number(), bytes: z.number(), seconds: z.number() });
  const entities = shards.reduce((n, s) => n + s.entities, 0);
  const load = loaded.safeParse(state.facts['loaded']).data ?? null;
  const switches = Object.fromEntries(SWITCHES.flatMap((name) => switchReport(name, state, traffic, o.counted)));
  const verify = verifyFact.safeParse(state.facts['verify']).data ?? null;
  const { n1HitRate, n2First10sHitRate, cacheWritesWithin2s } = firstHits(traffic);
  return {
    full: state.full,
    entities,
    bytes: shards.reduce((n, s) => n + s.bytes, 0),
    loadedPerS: load === null ? null : Math.round(load.entities / load.seconds),
    load: {
      ...(window ?? {}),
      msPerEntity: window === null || entities === 0 ? null : (window.seconds * 1000) / entities,
      slides: SLIDES.loadMsPerEntity,
    },
    requests: traffic.requests,
    writes: traffic.writes,
    writeShare: traffic.writes / Math.max(1, traffic.requests),
    failedRequests: traffic.failedRequests,
    failures: traffic.failures,
    conflicts: traffic.conflicts,
    found: findings.counts,
    lost: findings.counts.lost,
    torn: findings.counts.torn,
    resurrected: findings.counts.resurrected,
    duplicated: findings.counts.duplicated,
    duplicateIds: findings.counts.duplicateIds,
    stale: findings.counts.stale,
    findings: findings.kept,
    oracle: counts,
    longestStallMs: Object.fromEntries(Object.entries(switches).map(([n, s]) => [n, s.longestStallMs])),
    switches,
    latency: traffic.spans,
    cache: {
      n1HitRate,
      n2First10sHitRate,
      ratio: n1HitRate === null || n2First10sHitRate === null ? null : n2First10sHitRate / n1HitRate,
      cacheWritesWithin2s,
      n2HitRateBySecond: traffic.seconds
        .filter((s) => s.atTarget > 0)
        .map((s) => ({ s: s.s, rate: hitRate(traffic, 'target', s.s, s.s + 1) })),
    },
    dns: { changes: dnsChanges(traffic) },
    ab: ['ab-before', 'ab-during', 'ab-after'].flatMap((n) => state.facts[n] ?? []),
    verify,
    digestsEqual: verify?.outcome === 'equal',
    timelineS: Object.fromEntries(
      Object.entries(state.marks).map(([n, at]) => [n, Math.round((at - traffic.firstUs) / 1e4) / 100]),
    ),
    bySecond: traffic.seconds,
  };
}

function lastReport(state: DemoState): MigrationReport | null {
  for (const name of ['again', 'back', 'moved', 'switched', 'synced']) {
    const parsed = migrationReport.safeParse(state.facts[`report-${name}`]);
    if (parsed.success) return parsed.data;
  }
  return null;
}

function switchReport(
  name: SwitchName,
  state: DemoState,
  traffic: Traffic,
  counted: CountedBySwitch,
): [SwitchName, SwitchReport][] {
  const span = traffic.spans.find((s) => s.name === name);
  const round = traffic.spans.find((s) => s.name === `round ${name}`);
  if (span === undefined || round === undefined) return [];
  const report = migrationReport.safeParse(state.facts[`report-${name}`]).data;
  // `moved` changes DNS only: no shard moves.
  const moves = name === 'moved' ? [] : (report?.apps.flatMap((a) => a.shards) ?? []);
  const show = (p: z.infer<typeof position>): string => `${p.epoch}.${p.slot}`;
  const to = name === 'back' ? 'blue' : 'green';
  const shards = moves.flatMap(({ shard, handover: h }) =>
    // Facts of the move before, in the other direction, are not this one's.
    h === null || !h.to.endsWith(`-${to}`)
      ? []
      : [
          {
            shard,
            from: h.from,
            to: h.to,
            heldRequests: h.heldRequests,
            holdMs: h.holdMs,
            firstAnswerMs: h.firstAnswerMs,
            move: show(h.move),
            start: h.start === null ? null : show(h.start),
            slots: h.slots,
          },
        ],
  );
  return [
    [
      name,
      {
        longestStallMs: span.longestMs,
        longest: span.longest,
        schedulingGapMs: span.schedulingGapMs,
        requests: span.requests,
        failedRequests: span.failed,
        errorsRound: round.datastoreErrors,
        appRetriesRound: round.appRetries,
        countersRound: counted[name] ?? null,
        during: during(span.longest, span.longestMs, report?.events ?? [], state.clockOffsetUs),
        shards,
        slides: SLIDES.switchS,
      },
    ],
  ];
}

/** The journal's events while a request waited, and the one before. */
function during(
  longest: SpanSum['longest'],
  ms: number,
  events: MigrationReport['events'],
  clockOffsetUs: number,
): string[] {
  if (longest === null) return [];
  const at = (e: { atMs: number }): number => e.atMs * 1000 + clockOffsetUs;
  const before = events.findLast((e) => at(e) < longest.atUs);
  const inside = events.filter((e) => at(e) >= longest.atUs && at(e) <= longest.atUs + ms * 1000);
  return [...(before === undefined ? [] : [before]), ...inside].map((e) => `${e.what} ${e.text}`);
}

/** Hit rates: N1's in the thirty seconds before N2's first answer, N2's in the ten seconds after it. */
function firstHits(t: Traffic): Pick<DemoReport['cache'], 'n1HitRate' | 'n2First10sHitRate' | 'cacheWritesWithin2s'> {
  const first = t.seconds.find((s) => s.atTarget > 0)?.s;
  if (first === undefined) return { n1HitRate: null, n2First10sHitRate: null, cacheWritesWithin2s: 0 };
  return {
    n1HitRate: hitRate(t, 'source', first - 30, first),
    n2First10sHitRate: hitRate(t, 'target', first, first + 10),
    cacheWritesWithin2s: t.seconds
      .filter((s) => s.s >= first && s.s < first + 2)
      .reduce((sum, s) => sum + s.cacheWrites, 0),
  };
}

/** Each change of the name: when each client saw it, seconds after the first one did. */
function dnsChanges(t: Traffic): { addresses: readonly string[]; clientsS: number[] }[] {
  const changes: { addresses: readonly string[]; firstUs: number; seen: Map<number, number> }[] = [];
  for (const d of t.dns) {
    const open = changes.findLast((c) => c.addresses.join() === d.addresses.join() && !c.seen.has(d.client));
    const change = open ?? { addresses: d.addresses, firstUs: d.atUs, seen: new Map<number, number>() };
    if (open === undefined) changes.push(change);
    change.seen.set(d.client, d.atUs);
  }
  return changes.map((c) => ({
    addresses: c.addresses,
    clientsS: [...c.seen.values()].map((at) => Math.round((at - c.firstUs) / 1e4) / 100),
  }));
}
