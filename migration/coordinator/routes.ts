import { NxnwError } from '@nxnw/platform/errors';
import type { Fault, Gate } from './api.js';
import { checkedApps, refuseClosedGates, refuseFinalized, refuseLatched } from './refusals.js';
import { FORWARD_STEPS, allAt, isReached, routeOf } from './state.js';
import type { AppRoute, BackStep, Facts, ForwardStep, MigrationState, PhaseState } from './state.js';
import type { Outcome } from './step.js';

export function withRoute(s: MigrationState, app: string, route: AppRoute): MigrationState {
  return { ...s, routes: { ...s.routes, [app]: route } };
}

export function forwardFrom(step: ForwardStep, actor: string, nowMs: number): AppRoute {
  return { at: 'forward', step, actor, sinceMs: nowMs, tries: 0, error: null, facts: {} };
}

/** A switch of applications (null = all), or joining one that is under way. Latch, hold and gates refuse it. */
export function beginForward(
  s: MigrationState,
  given: readonly string[] | null,
  gates: readonly Gate[],
  actor: string,
  nowMs: number,
): Outcome {
  const apps = checkedApps(s, given);
  const toBegin = apps.filter((a) => !['forward', 'target'].includes(routeOf(s, a).at));
  if (toBegin.length === 0) return { state: s, entries: [] };
  if (isReached(s.phases.Finalize)) refuseFinalized(s);
  if (s.latch) refuseLatched(s);
  const held = s.holds[0];
  if (held)
    throw new NxnwError(
      'HELD',
      `switching is held by ${held.actor}: ${held.reason}; release it with \`nxnw release --hold\``,
      { actor: held.actor, reason: held.reason },
    );
  const goingBack = toBegin.filter((a) => routeOf(s, a).at === 'back');
  if (goingBack.length > 0)
    throw new NxnwError(
      'BUSY',
      `${goingBack.join(', ')} is on its way back; wait until \`nxnw status\` shows it at N1`,
      {
        apps: goingBack,
      },
    );
  refuseClosedGates(gates);
  const state = toBegin.reduce((acc, app) => withRoute(acc, app, forwardFrom('ready', actor, nowMs)), s);
  return {
    state: settleCutover(state, null, nowMs),
    entries: [{ actor, what: 'switch.started', text: toBegin.join(', ') }],
  };
}

/** Where the way back of one route begins; `source` when nothing had happened yet. */
function backRoute(route: AppRoute, actor: string, reason: string, nowMs: number): AppRoute {
  const back = (step: BackStep, turned: 'no' | 'maybe' | 'yes', facts: Facts): AppRoute => ({
    at: 'back',
    step,
    turned,
    actor,
    reason,
    sinceMs: nowMs,
    tries: 0,
    error: null,
    facts,
  });
  if (route.at === 'source' || route.at === 'back') return route;
  if (route.at === 'target') return back('dns', 'yes', {});
  const passed = FORWARD_STEPS.indexOf(route.step);
  if (passed < FORWARD_STEPS.indexOf('shards')) return { at: 'source' };
  // No request has gone to N2 by the edge yet: only shards go back.
  if (passed < FORWARD_STEPS.indexOf('edge')) return back('shards', 'no', {});
  return back('dns', passed <= FORWARD_STEPS.indexOf('locksTurn') ? 'maybe' : 'yes', {});
}

/** Turns the routes of the applications (null = all) round, DNS first. Says nothing about the latch. */
export function beginBack(
  s: MigrationState,
  apps: readonly string[] | null,
  actor: string,
  reason: string,
  nowMs: number,
): MigrationState {
  const turned = checkedApps(s, apps).reduce(
    (acc, app) => withRoute(acc, app, backRoute(routeOf(acc, app), actor, reason, nowMs)),
    s,
  );
  const dns = turned.phases.DnsHandoff;
  const dnsBack: PhaseState = { at: 'undoing', step: '', sinceMs: nowMs, actor, reason, tries: 0, error: null };
  const state =
    dns.at === 'idle' || dns.at === 'undoing'
      ? turned
      : { ...turned, phases: { ...turned.phases, DnsHandoff: dnsBack } };
  return settleCutover(state, null, nowMs);
}

/** A way back that nobody asked for: it latches, and nothing tries again by itself. */
export function automaticBack(s: MigrationState, app: string, cause: Fault, nowMs: number): Outcome {
  const actor = 'coordinator';
  const latched: MigrationState = {
    ...s,
    latch: { actor, reason: cause.message, atMs: nowMs, attempt: s.attempt },
  };
  return {
    state: beginBack(latched, [app], actor, cause.message, nowMs),
    entries: [
      { actor, what: 'back', text: `${app}: ${cause.message}` },
      { actor, what: 'latch.set', text: `until attempt ${s.attempt + 1} or \`nxnw release --latch\`` },
    ],
  };
}

/** Makes the Cutover phase say what the routes say. `failure` = why a switch just ended where it had begun. */
export function settleCutover(s: MigrationState, failure: Fault | null, nowMs: number): MigrationState {
  const was = s.phases.Cutover;
  const routes = s.apps.map((a) => routeOf(s, a));
  const set = (p: PhaseState): MigrationState => ({ ...s, phases: { ...s.phases, Cutover: p } });
  const back = routes.find((r) => r.at === 'back');
  if (back?.at === 'back')
    return set({
      at: 'undoing',
      step: back.step,
      sinceMs: was.at === 'undoing' ? was.sinceMs : nowMs,
      actor: back.actor,
      reason: back.reason,
      tries: back.tries,
      error: back.error,
    });
  const forward = routes.find((r) => r.at === 'forward');
  if (forward?.at === 'forward')
    return set({
      at: 'running',
      step: forward.step,
      sinceMs: was.at === 'running' ? was.sinceMs : nowMs,
      actor: forward.actor,
      tries: forward.tries,
      error: forward.error,
      facts: {},
    });
  if (allAt(s, 'target')) return set(was.at === 'done' ? was : { at: 'done', sinceMs: nowMs, facts: switchFacts(s) });
  if (failure !== null) return set({ at: 'failed', sinceMs: nowMs, error: failure });
  // After an automatic way back the phase tells why, until somebody starts it again.
  if (s.latch !== null && was.at === 'undoing' && was.actor === 'coordinator')
    return set({ at: 'failed', sinceMs: nowMs, error: { code: 'TAKEN_BACK', message: was.reason } });
  return set(was.at === 'failed' ? was : { at: 'idle' });
}

function switchFacts(s: MigrationState): Facts {
  let stallMs = 0;
  let switchedAtMs = 0;
  for (const app of s.apps) {
    const r = routeOf(s, app);
    if (r.at !== 'target') continue;
    if (typeof r.facts['stallMs'] === 'number') stallMs = Math.max(stallMs, r.facts['stallMs']);
    switchedAtMs = Math.max(switchedAtMs, r.sinceMs);
  }
  return { stallMs, switchedAtMs };
}
