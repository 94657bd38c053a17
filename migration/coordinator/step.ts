import type { Fault, Gate, MigrationOptions, PhaseName, Stage } from './api.js';
import {
  backCommand,
  endMigration,
  hold,
  pause,
  release,
  resume,
  setStage,
  startMigration,
  startPhase,
  switchApps,
  throttle,
  undoPhase,
} from './commands.js';
import type { Act } from './plan.js';
import { authority, failedAct, finishedAct, guardrail, repaired, unequal } from './progress.js';
import type { Facts, MigrationState } from './state.js';

/** What happened or was asked. Times are milliseconds since 1970 and come from outside: `step` has no clock. */
export type CoordinatorEvent = { readonly nowMs: number } & (
  | {
      readonly type: 'start';
      readonly actor: string;
      readonly attempt: number;
      readonly apps: readonly string[];
      readonly wanted: Stage;
      readonly options: MigrationOptions;
    }
  | { readonly type: 'setStage'; readonly actor: string; readonly stage: Stage }
  | { readonly type: 'startPhase'; readonly actor: string; readonly phase: PhaseName; readonly gates: readonly Gate[] }
  | { readonly type: 'undoPhase'; readonly actor: string; readonly phase: PhaseName; readonly reason: string }
  | { readonly type: 'end'; readonly actor: string; readonly reason: string }
  | { readonly type: 'pause'; readonly actor: string; readonly what: 'load' | 'follow'; readonly reason: string }
  | { readonly type: 'resume'; readonly actor: string }
  | {
      readonly type: 'throttle';
      readonly actor: string;
      readonly entitiesPerS: 'auto' | number | null;
      readonly sourceLatencyRatio: number | null;
    }
  | {
      readonly type: 'switch';
      readonly actor: string;
      readonly apps: readonly string[] | null;
      readonly gates: readonly Gate[];
    }
  | { readonly type: 'back'; readonly actor: string; readonly apps: readonly string[] | null; readonly reason: string }
  | { readonly type: 'hold'; readonly actor: string; readonly reason: string }
  | { readonly type: 'release'; readonly actor: string; readonly what: 'latch' | 'hold' }
  /** An act of `acts(state)` ended. */
  | { readonly type: 'finished'; readonly act: Act; readonly facts: Facts }
  | { readonly type: 'failed'; readonly act: Act; readonly error: Fault }
  /** Verification found a difference, or a shard was loaded again. */
  | { readonly type: 'unequal'; readonly app: string; readonly text: string }
  | { readonly type: 'repaired'; readonly app: string; readonly text: string }
  | { readonly type: 'guardrail'; readonly app: string; readonly reason: string }
  /** What the shards' logs say, told when the journal is new: shards of the application at the target, and all. */
  | { readonly type: 'authority'; readonly app: string; readonly atTarget: number; readonly shards: number }
);

/** One line of the journal that goes with a change. */
export interface Entry {
  readonly actor: string;
  readonly what: string;
  readonly text: string;
}

export interface Outcome {
  readonly state: MigrationState;
  readonly entries: readonly Entry[];
}

/**
 * The coordinator's whole behaviour, pure: what the state becomes by an event, and what the journal says about it. A
 * command that is refused throws a NxnwError and changes nothing. An event that no longer fits (a result of an act that
 * the state does not ask for any more) changes nothing and answers no entries.
 */
export function step(s: MigrationState, e: CoordinatorEvent): Outcome {
  switch (e.type) {
    case 'start':
      return startMigration(s, e);
    case 'setStage':
      return setStage(s, e);
    case 'startPhase':
      return startPhase(s, e);
    case 'undoPhase':
      return undoPhase(s, e);
    case 'end':
      return endMigration(s, e);
    case 'pause':
      return pause(s, e);
    case 'resume':
      return resume(s, e);
    case 'throttle':
      return throttle(s, e);
    case 'switch':
      return switchApps(s, e);
    case 'back':
      return backCommand(s, e);
    case 'hold':
      return hold(s, e);
    case 'release':
      return release(s, e);
    case 'finished':
      return finishedAct(s, e);
    case 'failed':
      return failedAct(s, e);
    case 'unequal':
      return unequal(s, e);
    case 'repaired':
      return repaired(s, e);
    case 'guardrail':
      return guardrail(s, e);
    case 'authority':
      return authority(s, e);
  }
}

export type EventOf<T extends CoordinatorEvent['type']> = Extract<CoordinatorEvent, { readonly type: T }>;
