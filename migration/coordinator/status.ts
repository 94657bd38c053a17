import { shardName } from '@nxnw/platform/shards/types';
import type {
  AppStatus,
  Gate,
  JournalEvent,
  MigrationFacts,
  MigrationStatus,
  PhaseName,
  PhaseStatus,
  Progress,
} from './api.js';
import { stageRank } from './api.js';
import { lagOf, switchGates } from './gates.js';
import type { AppSeen, Seen } from './gates.js';
import { digestOf } from './reach.js';
import { anyAwayFromSource, isReached, phaseList, reachedStage, routeOf, servingOf } from './state.js';
import type { MigrationState, PhaseState } from './state.js';

export interface StatusParts {
  readonly state: MigrationState;
  readonly seen: Seen;
  readonly samplesOf: (app: string) => readonly { readonly atMs: number; readonly scanned: number }[];
  readonly events: readonly JournalEvent[];
  readonly coordinator: { readonly epoch: number; readonly startedMs: number };
  readonly nowMs: number;
}

/** The one structure that `nxnw status` prints; pure. */
export function statusOf(p: StatusParts): MigrationStatus {
  const { state: s, seen, nowMs } = p;
  const gates = gatesOf(p);
  const load = s.throttle ?? s.options.load;
  return {
    source: s.source,
    target: s.target,
    attempt: s.attempt,
    stage: { wanted: s.wanted, reached: reachedStage(s) },
    apps: s.apps.map((app) => appStatus(s, app, seen.apps[app])),
    phases: phaseList(s).map(([name]) => phaseStatus(p, name)),
    gates,
    holds: s.holds,
    latch: s.latch,
    pause: s.pause,
    throttle: { entitiesPerS: load.entitiesPerS, sourceLatencyRatio: load.sourceLatencyRatio },
    events: p.events.slice(-5),
    next: nextOf(s, gates),
    back: backOf(s, seen),
    counts: s.counts,
    coordinator: p.coordinator,
    atMs: nowMs,
  };
}

/** Gates of the applications that a switch would move now; none when there is nothing to move. */
export function gatesOf(p: StatusParts): readonly Gate[] {
  const atSource = p.state.apps.filter((app) => routeOf(p.state, app).at === 'source');
  return atSource.length === 0 ? [] : switchGates(p.state, atSource, p.seen, p.nowMs);
}

function appStatus(s: MigrationState, app: string, seen: AppSeen | undefined): AppStatus {
  const shards = seen?.shards ?? [];
  return {
    app,
    serving: servingOf(routeOf(s, app)),
    shardsTotal: shards.length,
    shardsAtTarget: shards.filter((x) => x.authority === s.target).length,
    lagMs: lagOf(seen),
    entities: shards.reduce((n, x) => n + x.entities, 0),
    bytes: shards.reduce((n, x) => n + x.bytes, 0),
    verifiedAtMs: seen?.verifiedAtMs ?? null,
    handovers: shards.flatMap((x) => (x.handover === null ? [] : [x.handover])),
  };
}

const PAUSED_BY: Readonly<Record<'load' | 'follow', readonly PhaseName[]>> = {
  load: ['SnapshotLoad', 'Verification'],
  follow: ['SnapshotLoad', 'Verification', 'DataFollow'],
};

export function phaseStatus(p: StatusParts, phase: PhaseName): PhaseStatus {
  const { state: s } = p;
  const st = s.phases[phase];
  const paused = s.pause !== null && st.at === 'running' && PAUSED_BY[s.pause.what].includes(phase);
  return {
    phase,
    at: paused ? 'paused' : st.at,
    reached: isReached(st),
    detail: paused ? `paused by ${s.pause?.actor ?? ''}: ${s.pause?.reason ?? ''}` : detailOf(p, phase, st),
    sinceMs: st.at === 'idle' ? null : st.sinceMs,
    progress: phase === 'SnapshotLoad' && st.at !== 'idle' ? loadProgress(p) : null,
    facts: 'facts' in st ? st.facts : {},
    error: 'error' in st ? st.error : null,
  };
}

function detailOf(p: StatusParts, phase: PhaseName, st: PhaseState): string {
  if (st.at === 'idle') return '';
  if (st.at === 'failed') return `${st.error.code}: ${st.error.message}`;
  if (st.at === 'undoing') return `${st.step === '' ? 'undoing' : `going back, step ${st.step}`}: ${st.reason}`;
  const { seen, state: s } = p;
  const each = (f: (a: AppSeen) => string | undefined): string =>
    s.apps.map((app) => `${app}: ${(seen.apps[app] ? f(seen.apps[app]) : undefined) ?? 'not seen yet'}`).join('; ');
  switch (phase) {
    case 'AppSync':
      return each((a) => a.app?.detail);
    case 'LockSync':
      return each((a) => a.locks?.detail);
    case 'CacheWarmup':
      return each((a) => a.cache?.detail);
    case 'DataFollow':
      return each((a) => `lag ${lagOf(a) ?? '?'} ms`);
    case 'SnapshotLoad':
      return st.at === 'done' ? '' : each((a) => countPhases(a));
    case 'Verification':
      return each((a) =>
        a.verifiedAtMs === null
          ? 'not verified yet'
          : `verified ${Math.round((p.nowMs - a.verifiedAtMs) / 1000)} s ago`,
      );
    case 'Cutover':
    case 'DnsHandoff':
    case 'Finalize':
      return st.at === 'running' ? `step ${st.step}${untilWhen(st)}` : '';
  }
}

/** When the step ends, where that is known: the TTL that a name had is an hour on many. */
function untilWhen(st: Extract<PhaseState, { at: 'running' }>): string {
  const { oldTtlGoneAtMs } = st.facts;
  if (st.step !== 'waitTtl' || typeof oldTtlGoneAtMs !== 'number') return '';
  return ` until ${new Date(oldTtlGoneAtMs).toISOString()}: resolvers may hold the name with its old TTL`;
}

function countPhases(a: AppSeen): string {
  const n: Record<string, number> = {};
  for (const x of a.shards) {
    const k = x.replica?.phase ?? 'none';
    n[k] = (n[k] ?? 0) + 1;
  }
  const failed = a.shards.find((x) => x.replica?.phase === 'failed');
  const text = Object.entries(n)
    .map(([k, v]) => `${v} ${k}`)
    .join(', ');
  return failed === undefined ? text : `${text} (${shardName(failed.shard)}: ${failed.replica?.error ?? ''})`;
}

/** Rows scanned of all applications, with the rate of the last minute and of the whole. */
export function loadProgress(p: StatusParts): Progress {
  const st = p.state.phases.SnapshotLoad;
  if (st.at === 'done') return loadedProgress(st.facts);
  const shards = p.state.apps.flatMap((app) => p.seen.apps[app]?.shards ?? []).filter((x) => x.replica !== null);
  const done = shards.reduce((n, x) => n + (x.replica?.scanned ?? 0), 0);
  const total = shards.reduce((n, x) => n + (x.replica?.scanTotal ?? 0), 0);
  const whole =
    shards.length > 0 && shards.every((x) => ['following', 'serving', 'redoing'].includes(x.replica?.phase ?? ''));
  let minute = 0;
  let mean = 0;
  for (const app of p.state.apps) {
    const list = p.samplesOf(app);
    const [first, second, last] = [list[0], list[1], list[list.length - 1]];
    if (first === undefined || second === undefined || last === undefined) continue;
    minute += rate(list.length > 2 ? second : first, last);
    mean += rate(first, last);
  }
  const left = Math.max(0, total - done);
  const [low, high] = [Math.min(minute, mean), Math.max(minute, mean)];
  const slowest = shards.reduce<{ name: string; share: number } | null>((worst, x) => {
    const r = x.replica;
    if (r === null || r.phase !== 'scanning') return worst;
    const share = r.scanTotal === 0 ? 0 : r.scanned / r.scanTotal;
    return worst === null || share < worst.share ? { name: shardName(x.shard), share } : worst;
  }, null);
  return {
    done,
    total: shards.length === 0 ? null : Math.max(total, done),
    unit: 'entities',
    basis: "counted by N1's owners when the scan began",
    ratePerS1m: minute > 0 ? minute : null,
    ratePerSMean: mean > 0 ? mean : null,
    remainingS: whole || left === 0 ? { low: 0, high: 0 } : low > 0 ? { low: left / high, high: left / low } : null,
    slowest: slowest?.name ?? null,
    retries: shards.reduce((n, x) => n + (x.replica?.retries ?? 0), 0),
  };
}

/** A finished part stays listed, with what it came to. */
function loadedProgress(facts: Readonly<Record<string, unknown>>): Progress {
  const number = (name: string): number => (typeof facts[name] === 'number' ? facts[name] : 0);
  const done = number('entities');
  const tookMs = number('tookMs');
  return {
    done,
    total: done,
    unit: 'entities',
    basis: 'counted on N2 at the end of the load',
    ratePerS1m: null,
    ratePerSMean: tookMs > 0 ? (1000 * done) / tookMs : null,
    remainingS: { low: 0, high: 0 },
    slowest: null,
    retries: number('retries'),
  };
}

function rate(a: { atMs: number; scanned: number }, b: { atMs: number; scanned: number }): number {
  return b.atMs > a.atMs ? (1000 * (b.scanned - a.scanned)) / (b.atMs - a.atMs) : 0;
}

export function nextOf(s: MigrationState, gates: readonly Gate[]): string {
  if (s.ended) return `ended; ${s.source} serves and is untouched; N2's data is kept until destroy`;
  const reached = reachedStage(s);
  const failed = phaseList(s).find(([, p]) => p.at === 'failed');
  if (failed?.[1].at === 'failed' && failed[0] !== 'Cutover')
    return `${failed[0]} failed (${failed[1].error.code}); mend it and run \`nxnw up\``;
  if (s.phases.Cutover.at === 'undoing') return `going back to ${s.source} (step ${s.phases.Cutover.step})`;
  if (s.phases.Cutover.at === 'running') return `switching to ${s.target} (step ${s.phases.Cutover.step})`;
  if (s.pause) return `paused by ${s.pause.actor} (${s.pause.reason}); go on with \`nxnw resume\``;
  if (s.latch && !anyAwayFromSource(s))
    return `latched (${s.latch.reason}); to switch again raise nxnw:migration.attempt to ${s.attempt + 1} and run \`nxnw up\`, or \`nxnw release --latch\``;
  if (stageRank(reached) < stageRank('synced'))
    return s.wanted === 'built' && reached === 'built'
      ? 'set nxnw:stage to synced and run `nxnw up`'
      : `working towards ${s.wanted === 'built' ? 'built' : 'synced'}`;
  if (reached === 'synced') {
    const closed = gates.filter((g) => !g.open);
    return closed.length > 0
      ? `a switch would be refused by: ${closed.map((g) => g.name).join(', ')}`
      : 'ready: set nxnw:stage to switched and run `nxnw up`, or run `nxnw switch`';
  }
  if (reached === 'switched')
    return isReached(s.phases.DnsHandoff) || s.phases.DnsHandoff.at === 'running'
      ? 'moving DNS'
      : 'set nxnw:stage to moved and run `nxnw up`';
  if (reached === 'moved')
    return s.phases.Finalize.at === 'running'
      ? 'finalising'
      : 'when sure: set nxnw:stage to finalized and run `nxnw up` (closes the way back)';
  return 'finished: nxnw:migrateFrom may be taken out';
}

function backOf(s: MigrationState, seen: Seen): MigrationStatus['back'] {
  if (isReached(s.phases.Finalize)) return { command: null, cost: 'the migration is finalised: there is no way back' };
  const f = s.phases.Finalize;
  if (f.at === 'running' && f.step !== 'verify')
    return { command: null, cost: 'being finalised: the way back is closed' };
  if (!anyAwayFromSource(s)) return { command: null, cost: `${s.source} serves: there is nothing to go back from` };
  const shards = s.apps.flatMap((app) => seen.apps[app]?.shards ?? []);
  const here = shards.filter((x) => x.authority === s.target).length;
  const dns = s.phases.DnsHandoff.at === 'idle' ? '' : "DNS and edge to N1's first, ";
  return {
    command: 'nxnw back --reason "…"',
    cost: `${dns}${here} shards handed back one stall each (budget ${s.options.switch.stallBudgetMs} ms), no write lost; latches`,
  };
}

export function factsOf(p: StatusParts, report: MigrationFacts['report']): MigrationFacts {
  const { state: s, seen } = p;
  const verified = s.phases.Verification;
  const cut = s.phases.Cutover;
  const dns = s.phases.DnsHandoff;
  const fact = (st: PhaseState, name: string): number | null => {
    const v = 'facts' in st ? st.facts[name] : undefined;
    return typeof v === 'number' ? v : null;
  };
  const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
  const digest = 'facts' in verified ? verified.facts['digest'] : undefined;
  return {
    stage: reachedStage(s),
    serving: Object.fromEntries(s.apps.map((app) => [app, servingOf(routeOf(s, app))])),
    entities: fact(verified, 'entities') ?? 0,
    bytes: fact(verified, 'bytes') ?? 0,
    digest: typeof digest === 'string' ? digest : digestOf(s.apps.map((a) => [a, seen.apps[a]] as const)),
    stallMs: fact(cut, 'stallMs'),
    switchedAt: iso(cut.at === 'done' ? fact(cut, 'switchedAtMs') : null),
    movedAt: iso(dns.at === 'done' ? dns.sinceMs : null),
    report,
  };
}
