import type { Fault } from './api.js';
import { withPhase } from './commands.js';
import type { Act } from './plan.js';
import { automaticBack, forwardFrom, settleCutover, withRoute } from './routes.js';
import { BACK_STEPS, DNS_STEPS, FINALIZE_STEPS, FORWARD_STEPS, routeOf } from './state.js';
import type { Facts, MigrationState } from './state.js';
import type { Entry, EventOf, Outcome } from './step.js';

const COORDINATOR = 'coordinator';
/** Tries of a step before anything has moved; then the switch ends where it began. */
const TRIES_BEFORE_MOVE = 3;
/** Tries of a step after the shards have moved; then the switch is taken back. */
const TRIES_AFTER_MOVE = 10;

/** Failures that trying again cannot mend: the phase fails, and the next `up` (or `startPhase`) begins it anew. */
const PERMANENT = new Set([
  'NO_COMMON_PROTOCOL',
  'SHARDS_DIFFER',
  'TARGET_NOT_EMPTY',
  'DISK_TOO_SMALL',
  'BAD_JOIN',
  'JOIN_EXPIRED',
  'BUNDLE_DIFFERS',
  'UNEQUAL',
]);

const entry = (what: string, text: string): Entry => ({ actor: COORDINATOR, what, text });
const same = (state: MigrationState): Outcome => ({ state, entries: [] });

function next<S extends string>(order: readonly S[], step: S): S | null {
  return order[order.indexOf(step) + 1] ?? null;
}

export function finishedAct(s: MigrationState, e: EventOf<'finished'>): Outcome {
  const a = e.act;
  switch (a.kind) {
    case 'reach':
      return reached(s, a, e.facts, e.nowMs);
    case 'undo': {
      if (s.phases[a.phase].at !== 'undoing') return same(s);
      return {
        state: withPhase(s, a.phase, { at: 'idle' }),
        entries: [entry('phase.undone', a.phase)],
      };
    }
    case 'forward':
      return forwardDone(s, a, e.facts, e.nowMs);
    case 'back':
      return backDone(s, a, e.facts, e.nowMs);
    case 'dns':
    case 'finalize':
      return sequenceDone(s, a, e.facts, e.nowMs);
  }
}

function reached(s: MigrationState, a: Extract<Act, { kind: 'reach' }>, facts: Facts, nowMs: number): Outcome {
  if (s.phases[a.phase].at !== 'running') return same(s);
  const at = a.phase === 'SnapshotLoad' ? 'done' : 'standing';
  return {
    state: withPhase(s, a.phase, { at, sinceMs: nowMs, facts }),
    entries: [entry('phase.reached', a.phase)],
  };
}

function forwardDone(s: MigrationState, a: Extract<Act, { kind: 'forward' }>, facts: Facts, nowMs: number): Outcome {
  const route = routeOf(s, a.app);
  if (route.at !== 'forward' || route.step !== a.step) return same(s);
  const following = next(FORWARD_STEPS, a.step);
  const all = { ...route.facts, ...facts };
  const moved = withRoute(
    s,
    a.app,
    following === null
      ? { at: 'target', sinceMs: nowMs, facts: all }
      : { ...route, step: following, tries: 0, error: null, facts: all },
  );
  const entries = [entry('switch.step', `${a.app}: ${a.step} done`)];
  if (following === null) entries.push(entry('switch.done', `${s.target} serves ${a.app}`));
  return { state: settleCutover(moved, null, nowMs), entries };
}

function backDone(s: MigrationState, a: Extract<Act, { kind: 'back' }>, facts: Facts, nowMs: number): Outcome {
  const route = routeOf(s, a.app);
  if (route.at !== 'back' || route.step !== a.step) return same(s);
  const following = next(BACK_STEPS, a.step);
  const moved = withRoute(
    s,
    a.app,
    following === null
      ? { at: 'source' }
      : { ...route, step: following, tries: 0, error: null, facts: { ...route.facts, ...facts } },
  );
  const entries = [entry('back.step', `${a.app}: ${a.step} done`)];
  if (following === null) entries.push(entry('back.done', `${s.source} serves ${a.app}`));
  return { state: settleCutover(moved, null, nowMs), entries };
}

function sequenceDone(
  s: MigrationState,
  a: Extract<Act, { kind: 'dns' | 'finalize' }>,
  facts: Facts,
  nowMs: number,
): Outcome {
  const phase = a.kind === 'dns' ? 'DnsHandoff' : 'Finalize';
  const p = s.phases[phase];
  if (p.at !== 'running' || p.step !== a.step) return same(s);
  const following: string | null = a.kind === 'dns' ? next(DNS_STEPS, a.step) : next(FINALIZE_STEPS, a.step);
  const all = { ...p.facts, ...facts };
  const entries = [entry('phase.step', `${phase}: ${a.step} done`)];
  if (following === null) entries.push(entry('phase.reached', phase));
  const state = withPhase(
    s,
    phase,
    following === null
      ? { at: 'done', sinceMs: nowMs, facts: all }
      : { ...p, step: following, tries: 0, error: null, facts: all },
  );
  return { state, entries };
}

export function failedAct(given: MigrationState, e: EventOf<'failed'>): Outcome {
  const s = { ...given, counts: { ...given.counts, errors: given.counts.errors + 1 } };
  const a = e.act;
  if (a.kind === 'forward') return forwardFailed(s, a, e.error, e.nowMs);
  if (a.kind === 'back') {
    const route = routeOf(s, a.app);
    if (route.at !== 'back' || route.step !== a.step) return same(given);
    const again = withRoute(s, a.app, { ...route, tries: route.tries + 1, error: e.error });
    return {
      state: settleCutover(again, null, e.nowMs),
      entries: retryEntry(route.error, `${a.app}: ${a.step}`, e.error),
    };
  }
  const phase = a.kind === 'dns' ? 'DnsHandoff' : a.kind === 'finalize' ? 'Finalize' : a.phase;
  const p = s.phases[phase];
  if (p.at !== 'running' && p.at !== 'undoing') return same(given);
  if ((a.kind === 'dns' || a.kind === 'finalize') && p.step !== a.step) return same(given);
  if (p.at === 'running' && PERMANENT.has(e.error.code))
    return {
      state: withPhase(s, phase, { at: 'failed', sinceMs: e.nowMs, error: e.error }),
      entries: [entry('phase.failed', `${phase}: ${e.error.code}: ${e.error.message}`)],
    };
  return {
    state: withPhase(s, phase, { ...p, tries: p.tries + 1, error: e.error }),
    entries: retryEntry(p.error, phase, e.error),
  };
}

/** One line for a new failure; the same one again only counts. */
function retryEntry(before: Fault | null, about: string, error: Fault): Entry[] {
  if (before?.code === error.code) return [];
  return [entry('retry', `${about}: ${error.code}: ${error.message}`)];
}

function forwardFailed(s: MigrationState, a: Extract<Act, { kind: 'forward' }>, error: Fault, nowMs: number): Outcome {
  const route = routeOf(s, a.app);
  if (route.at !== 'forward' || route.step !== a.step) return same(s);
  const tries = route.tries + 1;
  const passed = FORWARD_STEPS.indexOf(a.step);
  const shards = FORWARD_STEPS.indexOf('shards');
  if (passed < shards && (tries >= TRIES_BEFORE_MOVE || PERMANENT.has(error.code))) {
    const state = settleCutover(withRoute(s, a.app, { at: 'source' }), error, nowMs);
    return {
      state,
      entries: [entry('switch.given-up', `${a.app}: ${error.code}: ${error.message}; nothing had moved`)],
    };
  }
  // The act has tried each shard several times itself.
  if (passed === shards || tries >= TRIES_AFTER_MOVE) return automaticBack(s, a.app, error, nowMs);
  const again = withRoute(s, a.app, { ...route, tries, error });
  return { state: settleCutover(again, null, nowMs), entries: retryEntry(route.error, `${a.app}: ${a.step}`, error) };
}

export function unequal(s: MigrationState, e: EventOf<'unequal'>): Outcome {
  return {
    state: { ...s, counts: { ...s.counts, unequal: s.counts.unequal + 1 } },
    entries: [entry('verify.unequal', `${e.app}: ${e.text}`)],
  };
}

export function repaired(s: MigrationState, e: EventOf<'repaired'>): Outcome {
  return {
    state: { ...s, counts: { ...s.counts, repairs: s.counts.repairs + 1 } },
    entries: [entry('load.again', `${e.app}: ${e.text}`)],
  };
}

export function guardrail(s: MigrationState, e: EventOf<'guardrail'>): Outcome {
  if (routeOf(s, e.app).at !== 'target') return same(s);
  return automaticBack(s, e.app, { code: 'GUARDRAIL', message: e.reason }, e.nowMs);
}

/**
 * Brings a lost journal back in line with the logs. An application whose shards are all N2's goes on behind the move of
 * its shards, with every later step done again; half-way, the wanted stage says in which direction it goes on.
 */
export function authority(s: MigrationState, e: EventOf<'authority'>): Outcome {
  if (routeOf(s, e.app).at !== 'source' || e.atTarget === 0) return same(s);
  const whole = e.atTarget === e.shards;
  const onward = whole || s.wanted === 'switched' || s.wanted === 'moved' || s.wanted === 'finalized';
  const text = `${e.app}: ${e.atTarget} of ${e.shards} shards are ${s.target}'s by their logs`;
  const route = onward
    ? forwardFrom(whole ? 'edge' : 'shards', COORDINATOR, e.nowMs)
    : ({
        at: 'back',
        step: 'shards',
        turned: 'no',
        actor: COORDINATOR,
        reason: 'the journal was lost half-way through a switch that is not wanted',
        sinceMs: e.nowMs,
        tries: 0,
        error: null,
        facts: {},
      } as const);
  return {
    state: settleCutover(withRoute(s, e.app, route), null, e.nowMs),
    entries: [entry('journal.rebuilt', `${text}; going ${onward ? 'on' : 'back'}`)],
  };
}
