import type { MigrationIntent } from '@nxnw/platform/shards/control';
import type { PhaseName } from './api.js';
import { BACK_STEPS, FORWARD_STEPS, isReached, phaseList, phasesFor, routeOf } from './state.js';
import type { AppRoute, BackStep, DnsStep, FinalizeStep, ForwardStep, MigrationState } from './state.js';

/** Which platform the follower copies from: `forward` = from the source, `reverse` = from the target, for the way back. */
export type Direction = 'forward' | 'reverse';

/** `turning`: requests may already have moved, so what runs goes on, but nothing is compared and overwritten anew. */
export type LocksMode = Direction | 'turning' | 'off';
export type CacheMode = 'off' | { readonly direction: Direction; readonly mode: 'copy' | 'invalidate' };

/** What has to be running, from the state alone: levels, made so again and again, also after a restart. */
export interface Desired {
  readonly app: string;
  /** null = the data engine shall not follow. */
  readonly data: MigrationIntent | null;
  readonly locks: LocksMode;
  readonly cache: CacheMode;
  /** Verification passes run. */
  readonly verify: boolean;
}

/** One thing to do, from the state alone; done again after a restart, so every act can be repeated. */
export type Act =
  | { readonly kind: 'reach'; readonly phase: PhaseName }
  | { readonly kind: 'undo'; readonly phase: PhaseName }
  | { readonly kind: 'forward'; readonly app: string; readonly step: ForwardStep }
  | { readonly kind: 'back'; readonly app: string; readonly step: BackStep }
  | { readonly kind: 'dns'; readonly step: DnsStep }
  | { readonly kind: 'finalize'; readonly step: FinalizeStep };

export function actKey(a: Act): string {
  switch (a.kind) {
    case 'reach':
    case 'undo':
      return `${a.kind} ${a.phase}`;
    case 'forward':
    case 'back':
      return `${a.kind} ${a.app} ${a.step}`;
    case 'dns':
    case 'finalize':
      return `${a.kind} ${a.step}`;
  }
}

export function desired(s: MigrationState): readonly Desired[] {
  const closed = isReached(s.phases.Finalize) || closing(s);
  return s.apps.map((app) => {
    const route = routeOf(s, app);
    return {
      app,
      data: intentOf(s, app),
      locks: isOn(s, 'LockSync') && !closed ? locksMode(route) : 'off',
      cache: isOn(s, 'CacheWarmup') && !closed ? cacheMode(route) : 'off',
      verify:
        isOn(s, 'Verification') && (route.at === 'source' || route.at === 'target') && s.pause === null && !closed,
    };
  });
}

/** The engines end when finalising has got that far, never to start again. */
function closing(s: MigrationState): boolean {
  const f = s.phases.Finalize;
  return f.at === 'running' && ['stopEngines', 'restoreTtl', 'releaseSource', 'report'].includes(f.step);
}

/** What the data engine is asked for; null = not to follow. N2's doors take writes from the beginning of a switch. */
export function intentOf(s: MigrationState, app: string): MigrationIntent | null {
  if (!isOn(s, 'DataFollow')) return null;
  const { entitiesPerS, sourceLatencyRatio } = s.throttle ?? s.options.load;
  return {
    follow: s.pause?.what !== 'follow',
    load: !isOn(s, 'SnapshotLoad') ? 'off' : s.pause === null ? 'on' : 'paused',
    entitiesPerS: entitiesPerS === 'auto' ? null : entitiesPerS,
    sourceLatencyRatio,
    serving: routeOf(s, app).at !== 'source',
  };
}

function isOn(s: MigrationState, p: PhaseName): boolean {
  return !s.ended && (s.phases[p].at === 'running' || isReached(s.phases[p]));
}

export function locksMode(route: AppRoute): LocksMode {
  if (route.at === 'source') return 'forward';
  if (route.at === 'target') return 'reverse';
  const turned = after(route, 'locksTurn');
  if (route.at === 'forward') return turned ? 'reverse' : route.step === 'ready' ? 'forward' : 'turning';
  if (turned || route.turned === 'no') return 'forward';
  return route.turned === 'yes' && route.step === 'dns' ? 'reverse' : 'turning';
}

export function cacheMode(route: AppRoute): CacheMode {
  if (route.at === 'source') return { direction: 'forward', mode: 'copy' };
  if (route.at === 'target') return { direction: 'reverse', mode: 'copy' };
  const direction = route.at === 'forward' ? 'forward' : 'reverse';
  if (after(route, 'drain')) return { direction: direction === 'forward' ? 'reverse' : 'forward', mode: 'copy' };
  return { direction, mode: at(route, 'cacheInvalidate') || after(route, 'cacheInvalidate') ? 'invalidate' : 'copy' };
}

type Moving = Extract<AppRoute, { at: 'forward' | 'back' }>;

function at(route: Moving, step: ForwardStep & BackStep): boolean {
  return route.step === step;
}

/** The route's step lies behind `step` in its order. */
function after(route: Moving, step: ForwardStep & BackStep): boolean {
  const order: readonly string[] = route.at === 'forward' ? FORWARD_STEPS : BACK_STEPS;
  return order.indexOf(route.step) > order.indexOf(step);
}

export function acts(s: MigrationState): readonly Act[] {
  const list: Act[] = [];
  for (const [phase, p] of phaseList(s)) {
    if (p.at === 'undoing' && phase !== 'Cutover') list.push({ kind: 'undo', phase });
    if (p.at === 'running' && !s.ended) {
      if (phasesFor('synced').includes(phase)) list.push({ kind: 'reach', phase });
      if (phase === 'DnsHandoff' && isDnsStep(p.step)) list.push({ kind: 'dns', step: p.step });
      if (phase === 'Finalize' && isFinalizeStep(p.step)) list.push({ kind: 'finalize', step: p.step });
    }
  }
  for (const app of s.apps) {
    const route = routeOf(s, app);
    if (route.at === 'forward') list.push({ kind: 'forward', app, step: route.step });
    // The name leads to N1's edge again before anything else goes back.
    if (route.at === 'back' && (route.step !== 'dns' || s.phases.DnsHandoff.at === 'idle'))
      list.push({ kind: 'back', app, step: route.step });
  }
  return list;
}

function isDnsStep(step: string): step is DnsStep {
  return ['lowerTtl', 'waitTtl', 'change', 'drain'].includes(step);
}

function isFinalizeStep(step: string): step is FinalizeStep {
  return ['verify', 'close', 'stopEngines', 'restoreTtl', 'releaseSource', 'report'].includes(step);
}
