import type { Fault, Mark, MigrationOptions, PhaseName, Side, Stage } from './api.js';
import { PHASES } from './api.js';

/**
 * The coordinator's journalled state: intent and progress, never authority. It is small, plain JSON, and written as a
 * whole with every change, together with the events that say what changed. If it is lost, `start` and what the shards'
 * logs say (`authority` events) bring it back.
 */
export interface MigrationState {
  readonly format: 1;
  readonly source: string;
  readonly target: string;
  readonly attempt: number;
  readonly wanted: Stage;
  readonly apps: readonly string[];
  readonly options: MigrationOptions;
  /** What `nxnw throttle` set; null = as the options say. */
  readonly throttle: MigrationOptions['load'] | null;
  readonly phases: Readonly<Record<PhaseName, PhaseState>>;
  readonly routes: Readonly<Record<string, AppRoute>>;
  readonly holds: readonly Mark[];
  readonly latch: (Mark & { readonly attempt: number }) | null;
  readonly pause: (Mark & { readonly what: 'load' | 'follow' }) | null;
  readonly counts: { readonly errors: number; readonly unequal: number; readonly repairs: number };
  /** True after `end`: everything is stopped, N2's data is kept. */
  readonly ended: boolean;
}

export type PhaseState =
  | { readonly at: 'idle' }
  | {
      readonly at: 'running';
      /** Where a phase that is a sequence stands; '' for one that is not. */
      readonly step: string;
      readonly sinceMs: number;
      readonly actor: string;
      readonly tries: number;
      readonly error: Fault | null;
      readonly facts: Facts;
    }
  /** Reached, and kept up. */
  | { readonly at: 'standing'; readonly sinceMs: number; readonly facts: Facts }
  | { readonly at: 'done'; readonly sinceMs: number; readonly facts: Facts }
  | {
      readonly at: 'undoing';
      readonly step: string;
      readonly sinceMs: number;
      readonly actor: string;
      readonly reason: string;
      readonly tries: number;
      readonly error: Fault | null;
    }
  | { readonly at: 'failed'; readonly sinceMs: number; readonly error: Fault };

export type Facts = Readonly<Record<string, unknown>>;

/**
 * The order of a switch. `ready` asks again whether N2's side can serve; `locksMarker` waits until N1's tree is on N2 up
 * to now; `shards` is the switch of the data, shard by shard; the cache must delete instead of copy before the first
 * request reaches N2 by the edge; with the edge N1's background work stops, then the locks turn, then N2's background
 * work begins (`serving`); `drain` waits for the requests that N1's edge has under way, and after it the caches follow
 * the other way.
 */
export const FORWARD_STEPS = [
  'ready',
  'locksMarker',
  'shards',
  'cacheInvalidate',
  'edge',
  'locksTurn',
  'serving',
  'drain',
] as const;
export type ForwardStep = (typeof FORWARD_STEPS)[number];

/**
 * The order of the way back: requests first, because N1's datastore passes on to N2 what N2 still owns, and N2's
 * applications may not write once its shards are gone. `dns` waits until the name points at N1's edge again.
 */
export const BACK_STEPS = [
  'dns',
  'locksMarker',
  'cacheInvalidate',
  'edge',
  'locksTurn',
  'serving',
  'drain',
  'shards',
] as const;
export type BackStep = (typeof BACK_STEPS)[number];

/** Where an application stands between the two platforms. */
export type AppRoute =
  | { readonly at: 'source' }
  | {
      readonly at: 'forward';
      readonly step: ForwardStep;
      readonly actor: string;
      readonly sinceMs: number;
      readonly tries: number;
      readonly error: Fault | null;
      readonly facts: Facts;
    }
  | { readonly at: 'target'; readonly sinceMs: number; readonly facts: Facts }
  | {
      readonly at: 'back';
      readonly step: BackStep;
      /** Whether N2's lock tree had become the one that counts when the way back began. */
      readonly turned: 'no' | 'maybe' | 'yes';
      readonly actor: string;
      readonly reason: string;
      readonly sinceMs: number;
      readonly tries: number;
      readonly error: Fault | null;
      readonly facts: Facts;
    };

/** TTL lowered ahead and waited for; then the change, INSYNC, and N1's edge running dry. */
export const DNS_STEPS = ['lowerTtl', 'waitTtl', 'change', 'drain'] as const;
export type DnsStep = (typeof DNS_STEPS)[number];

export const FINALIZE_STEPS = ['verify', 'close', 'stopEngines', 'restoreTtl', 'releaseSource', 'report'] as const;
export type FinalizeStep = (typeof FINALIZE_STEPS)[number];

export function initialState(source: string, target: string, options: MigrationOptions): MigrationState {
  const idle: PhaseState = { at: 'idle' };
  return {
    format: 1,
    source,
    target,
    attempt: 1,
    wanted: 'built',
    apps: [],
    options,
    throttle: null,
    phases: {
      AppSync: idle,
      LockSync: idle,
      CacheWarmup: idle,
      DataFollow: idle,
      SnapshotLoad: idle,
      Verification: idle,
      Cutover: idle,
      DnsHandoff: idle,
      Finalize: idle,
    },
    routes: {},
    holds: [],
    latch: null,
    pause: null,
    counts: { errors: 0, unequal: 0, repairs: 0 },
    ended: false,
  };
}

export function isReached(p: PhaseState): boolean {
  return p.at === 'standing' || p.at === 'done';
}

const SYNC_PHASES: readonly PhaseName[] = ['LockSync', 'CacheWarmup', 'DataFollow', 'SnapshotLoad', 'Verification'];

/** The phases that `Migration` alone starts for a wanted stage. */
export function phasesFor(wanted: Stage): readonly PhaseName[] {
  return wanted === 'built' ? ['AppSync'] : ['AppSync', ...SYNC_PHASES];
}

/** The stage that the journal says is reached; null before `built`. */
export function reachedStage(s: MigrationState): Stage | null {
  const done = (p: PhaseName): boolean => isReached(s.phases[p]);
  if (done('Finalize')) return 'finalized';
  if (!done('AppSync')) return null;
  if (!SYNC_PHASES.every(done)) return 'built';
  if (!allAt(s, 'target')) return 'synced';
  return done('DnsHandoff') ? 'moved' : 'switched';
}

export function allAt(s: MigrationState, at: AppRoute['at']): boolean {
  return s.apps.length > 0 && s.apps.every((a) => routeOf(s, a).at === at);
}

export function anyAwayFromSource(s: MigrationState): boolean {
  return s.apps.some((a) => routeOf(s, a).at !== 'source');
}

export function routeOf(s: MigrationState, app: string): AppRoute {
  return s.routes[app] ?? { at: 'source' };
}

export function servingOf(route: AppRoute): Side | 'moving' {
  return route.at === 'source' || route.at === 'target' ? route.at : 'moving';
}

/** Phases in their order with their states. */
export function phaseList(s: MigrationState): readonly (readonly [PhaseName, PhaseState])[] {
  return PHASES.map((p) => [p, s.phases[p]] as const);
}
