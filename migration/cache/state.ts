/**
 * What the warm-up of one pair does, as a pure function of what it has learned. Effects are in lane.ts.
 *
 * `copy`: the target follows the source. `closing`: no copy starts, those that run are waited for. `invalidate`: no
 * copy exists; what the source's applications touch is taken from the target.
 */
export type LaneMode = 'copy' | 'closing' | 'invalidate';

export interface LaneState {
  readonly mode: LaneMode;
  /** How often the target may have missed something. */
  readonly losses: number;
  /** `losses` when the running full pass began, or null when none runs. */
  readonly passSince: number | null;
  /** `losses` when the last complete pass began; -1 before. */
  readonly passedAt: number;
  /** Full passes wait (the operator's pause). */
  readonly passesHeld: boolean;
}

export type LaneEvent =
  /** Keys may have changed unheard. */
  | { readonly type: 'lost' }
  /** The source was flushed: everything up to now is void there. */
  | { readonly type: 'sourceFlushed' }
  /** The target came up empty, or was flushed by somebody else. */
  | { readonly type: 'targetEmptied' }
  | { readonly type: 'passEnded'; readonly complete: boolean }
  | { readonly type: 'close' }
  | { readonly type: 'closed' }
  | { readonly type: 'copy' }
  | { readonly type: 'holdPasses' }
  | { readonly type: 'releasePasses' };

export type LaneAct = 'flushTarget' | 'startPass' | 'stopPass';

export const FIRST_STATE: LaneState = { mode: 'copy', losses: 0, passSince: null, passedAt: -1, passesHeld: false };

/** The target is known to hold nothing that the source does not. */
export function isWhole(s: LaneState): boolean {
  return s.passedAt === s.losses;
}

export interface LaneStep {
  readonly state: LaneState;
  readonly acts: readonly LaneAct[];
}

export function step(s: LaneState, e: LaneEvent): LaneStep {
  switch (e.type) {
    case 'lost':
      // A target that serves cannot wait for a comparison: what is not known to be right goes at once.
      return s.mode === 'copy' ? wanting({ ...s, losses: s.losses + 1 }) : { state: s, acts: ['flushTarget'] };
    case 'sourceFlushed': {
      const next = s.mode === 'copy' ? wanting({ ...s, losses: s.losses + 1 }) : { state: s, acts: [] };
      return { state: next.state, acts: ['flushTarget', ...next.acts] };
    }
    case 'targetEmptied':
      return s.mode === 'copy' ? wanting({ ...s, losses: s.losses + 1 }) : { state: s, acts: [] };
    case 'passEnded': {
      const passedAt = e.complete && s.passSince !== null ? s.passSince : s.passedAt;
      return wanting({ ...s, passSince: null, passedAt });
    }
    case 'close':
      return {
        state: { ...s, mode: 'closing' },
        acts: [...stopping(s), ...(isWhole(s) ? [] : (['flushTarget'] as const))],
      };
    case 'closed':
      return { state: { ...s, mode: 'invalidate' }, acts: [] };
    case 'copy':
      return wanting({ ...s, mode: 'copy', losses: s.losses + 1 });
    case 'holdPasses':
      return { state: { ...s, passesHeld: true }, acts: stopping(s) };
    case 'releasePasses':
      return wanting({ ...s, passesHeld: false });
  }
}

function wanting(s: LaneState): LaneStep {
  const wants = s.mode === 'copy' && !s.passesHeld && s.passSince === null && !isWhole(s);
  return wants ? { state: { ...s, passSince: s.losses }, acts: ['startPass'] } : { state: s, acts: [] };
}

function stopping(s: LaneState): readonly LaneAct[] {
  return s.passSince === null ? [] : ['stopPass'];
}
