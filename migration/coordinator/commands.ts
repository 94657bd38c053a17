import { NxnwError } from '@nxnw/platform/errors';
import type { PhaseName } from './api.js';
import { STAGE_OF, stageRank } from './api.js';
import { checkedApps, refuseClosing, refuseFinalized, refuseLatched, refuseSwitched } from './refusals.js';
import { beginBack, beginForward } from './routes.js';
import { allAt, anyAwayFromSource, isReached, phaseList, phasesFor, routeOf } from './state.js';
import type { MigrationState, PhaseState } from './state.js';
import type { EventOf, Outcome } from './step.js';

const same = (state: MigrationState): Outcome => ({ state, entries: [] });
const sameJson = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

export function withPhase(s: MigrationState, phase: PhaseName, p: PhaseState): MigrationState {
  return { ...s, phases: { ...s.phases, [phase]: p } };
}

function running(actor: string, nowMs: number, step = ''): PhaseState {
  return { at: 'running', step, sinceMs: nowMs, actor, tries: 0, error: null, facts: {} };
}

/** Starts the phases that `Migration` alone starts, when they are not on their way or reached. */
function startPhases(s: MigrationState, actor: string, nowMs: number): MigrationState {
  return phasesFor(s.wanted).reduce((acc, phase) => {
    const at = acc.phases[phase].at;
    return at === 'idle' || at === 'failed' ? withPhase(acc, phase, running(actor, nowMs)) : acc;
  }, s);
}

export function startMigration(s: MigrationState, e: EventOf<'start'>): Outcome {
  if (isReached(s.phases.Finalize)) return e.wanted === 'finalized' ? same(s) : refuseFinalized(s);
  if (e.attempt < s.attempt)
    throw new NxnwError(
      'BAD_CONFIG',
      `nxnw:migration.attempt is ${e.attempt}, but ${s.attempt} was used before; it may only rise: set it to ${s.attempt} or, to switch again after a way back, to ${s.attempt + 1}`,
      { given: e.attempt, known: s.attempt },
    );
  const dropped = s.apps.filter((a) => !e.apps.includes(a) && routeOf(s, a).at !== 'source');
  if (dropped.length > 0)
    throw new NxnwError(
      'SWITCHED',
      `nxnw:migration.apps leaves out ${dropped.join(', ')}, which N2 serves: list it, or first run \`nxnw back --app ${dropped[0] ?? ''} --reason …\``,
      { dropped },
    );
  const unlatched = s.latch !== null && e.attempt > s.latch.attempt;
  const restarted: MigrationState = startPhases(
    {
      ...s,
      attempt: e.attempt,
      apps: [...e.apps],
      wanted: e.wanted,
      options: e.options,
      // What `nxnw throttle` set holds until the configuration itself changes.
      throttle: sameJson(s.options.load, e.options.load) ? s.throttle : null,
      latch: unlatched ? null : s.latch,
      ended: false,
    },
    e.actor,
    e.nowMs,
  );
  if (sameJson(restarted, s)) return same(s);
  const entries = [
    {
      actor: e.actor,
      what: 'migration.intent',
      text: `attempt ${e.attempt}, applications ${e.apps.join(', ')}, wanted stage ${e.wanted}`,
    },
  ];
  if (unlatched)
    entries.push({ actor: e.actor, what: 'latch.released', text: `attempt ${e.attempt} releases the latch` });
  return { state: restarted, entries };
}

export function setStage(s: MigrationState, e: EventOf<'setStage'>): Outcome {
  if (e.stage === s.wanted) return same(s);
  if (isReached(s.phases.Finalize)) refuseFinalized(s);
  const state = startPhases({ ...s, wanted: e.stage }, e.actor, e.nowMs);
  return {
    state,
    entries: [{ actor: e.actor, what: 'stage.wanted', text: `wanted stage ${s.wanted} → ${e.stage}` }],
  };
}

export function startPhase(s: MigrationState, e: EventOf<'startPhase'>): Outcome {
  if (s.ended)
    throw new NxnwError('NO_MIGRATION', 'the migration was ended; start it again with `nxnw up`', { phase: e.phase });
  if (e.phase === 'Cutover') return beginForward(s, null, e.gates, e.actor, e.nowMs);
  const p = s.phases[e.phase];
  if (p.at === 'running' || isReached(p)) return same(s);
  if (p.at === 'undoing')
    throw new NxnwError('BUSY', `${e.phase} is being undone; wait until \`nxnw status\` shows it idle`, {
      phase: e.phase,
    });
  if (e.phase === 'DnsHandoff') requireSwitched(s);
  if (e.phase === 'Finalize') requireMoved(s);
  const first = e.phase === 'DnsHandoff' ? 'lowerTtl' : e.phase === 'Finalize' ? 'verify' : '';
  return {
    state: withPhase(s, e.phase, running(e.actor, e.nowMs, first)),
    entries: [{ actor: e.actor, what: 'phase.started', text: e.phase }],
  };
}

function requireSwitched(s: MigrationState): void {
  if (s.latch) refuseLatched(s);
  if (!allAt(s, 'target'))
    throw new NxnwError(
      'GATE_CLOSED',
      `DNS may move only when N2 serves every application; still at ${s.source}: ${s.apps.filter((a) => routeOf(s, a).at !== 'target').join(', ')}; switch them first (\`nxnw switch\`)`,
    );
}

function requireMoved(s: MigrationState): void {
  if (s.latch) refuseLatched(s);
  if (!isReached(s.phases.DnsHandoff))
    throw new NxnwError(
      'GATE_CLOSED',
      'finalising closes the way back and needs stage moved; move DNS first (stage moved)',
    );
}

export function undoPhase(s: MigrationState, e: EventOf<'undoPhase'>): Outcome {
  const p = s.phases[e.phase];
  if (isReached(s.phases.Finalize) || p.at === 'idle' || p.at === 'undoing') return same(s);
  // The wanted stage still needs the phase: a rename or a lost record, not a wish to go back.
  if (stageRank(s.wanted) >= stageRank(STAGE_OF[e.phase])) return same(s);
  const entry = { actor: e.actor, what: 'phase.undo', text: `${e.phase}: ${e.reason}` };
  if (e.phase === 'Cutover') {
    const state = beginBack(s, null, e.actor, e.reason, e.nowMs);
    return { state, entries: [entry] };
  }
  if (e.phase === 'Finalize') {
    refuseClosing(s);
    return { state: withPhase(s, 'Finalize', { at: 'idle' }), entries: [entry] };
  }
  if (e.phase !== 'DnsHandoff' && e.phase !== 'AppSync' && anyAwayFromSource(s)) refuseSwitched(s, `undo ${e.phase}`);
  return { state: withPhase(s, e.phase, undoing(e)), entries: [entry] };
}

function undoing(e: { actor: string; reason: string; nowMs: number }): PhaseState {
  return {
    at: 'undoing',
    step: '',
    sinceMs: e.nowMs,
    actor: e.actor,
    reason: e.reason,
    tries: 0,
    error: null,
  };
}

export function endMigration(s: MigrationState, e: EventOf<'end'>): Outcome {
  if (s.ended || isReached(s.phases.Finalize)) return same(s);
  if (anyAwayFromSource(s)) refuseSwitched(s, 'end the migration');
  const stopped = phaseList(s).reduce(
    (acc, [phase, p]) => (p.at === 'idle' || phase === 'Cutover' ? acc : withPhase(acc, phase, undoing(e))),
    s,
  );
  return {
    state: { ...stopped, ended: true },
    entries: [{ actor: e.actor, what: 'migration.ended', text: e.reason }],
  };
}

export function pause(s: MigrationState, e: EventOf<'pause'>): Outcome {
  if (s.pause?.what === e.what) return same(s);
  const mark = { what: e.what, actor: e.actor, reason: e.reason, atMs: e.nowMs };
  return {
    state: { ...s, pause: mark },
    entries: [{ actor: e.actor, what: 'pause', text: `${e.what}: ${e.reason}` }],
  };
}

export function resume(s: MigrationState, e: EventOf<'resume'>): Outcome {
  if (s.pause === null) return same(s);
  return { state: { ...s, pause: null }, entries: [{ actor: e.actor, what: 'resume', text: s.pause.reason }] };
}

export function throttle(s: MigrationState, e: EventOf<'throttle'>): Outcome {
  const now = s.throttle ?? s.options.load;
  const load = {
    entitiesPerS: e.entitiesPerS ?? now.entitiesPerS,
    sourceLatencyRatio: e.sourceLatencyRatio ?? now.sourceLatencyRatio,
  };
  return {
    state: { ...s, throttle: load },
    entries: [
      {
        actor: e.actor,
        what: 'throttle',
        text: `${load.entitiesPerS} entities/s, source latency ratio ${load.sourceLatencyRatio}`,
      },
    ],
  };
}

export function switchApps(s: MigrationState, e: EventOf<'switch'>): Outcome {
  return beginForward(s, e.apps, e.gates, e.actor, e.nowMs);
}

export function backCommand(s: MigrationState, e: EventOf<'back'>): Outcome {
  if (isReached(s.phases.Finalize)) refuseFinalized(s);
  refuseClosing(s);
  const apps = checkedApps(s, e.apps);
  const away = apps.filter((a) => routeOf(s, a).at !== 'source');
  if (away.length === 0)
    throw new NxnwError(
      'NOT_SWITCHED',
      `${s.source} already serves ${apps.join(', ')}: there is nothing to go back from; to keep a switch from beginning, run \`nxnw hold --reason …\``,
    );
  if (away.every((a) => routeOf(s, a).at === 'back')) return same(s);
  const latched: MigrationState = {
    ...s,
    latch: { actor: e.actor, reason: e.reason, atMs: e.nowMs, attempt: s.attempt },
  };
  return {
    state: beginBack(latched, e.apps, e.actor, e.reason, e.nowMs),
    entries: [
      { actor: e.actor, what: 'back', text: `${away.join(', ')}: ${e.reason}` },
      { actor: e.actor, what: 'latch.set', text: `until attempt ${s.attempt + 1} or \`nxnw release --latch\`` },
    ],
  };
}

export function hold(s: MigrationState, e: EventOf<'hold'>): Outcome {
  const mark = { actor: e.actor, reason: e.reason, atMs: e.nowMs };
  return { state: { ...s, holds: [...s.holds, mark] }, entries: [{ actor: e.actor, what: 'hold', text: e.reason }] };
}

export function release(s: MigrationState, e: EventOf<'release'>): Outcome {
  if (e.what === 'latch') {
    if (s.latch === null) return same(s);
    return {
      state: { ...s, latch: null },
      entries: [{ actor: e.actor, what: 'latch.released', text: s.latch.reason }],
    };
  }
  if (s.holds.length === 0) return same(s);
  const text = s.holds.map((h) => h.reason).join('; ');
  return { state: { ...s, holds: [] }, entries: [{ actor: e.actor, what: 'hold.released', text }] };
}
