import { setTimeout as sleep } from 'node:timers/promises';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { CoordinatorClient, type MigrationFacts, type PhaseName, type PhaseStatus } from '../../coordinator/api.js';
import type { Log } from './engine-log.js';
import { patiently } from './patiently.js';
import { InitFailed, actor, type Tls } from './targets.js';

const POLL_MS = 500;
const DIFF_MS = 2000;
const UNDO_MS = 10 * 60_000;

export interface PhaseInputs {
  readonly phase: PhaseName;
  /** host:port of the coordinator. */
  readonly coordinator: string;
  readonly operator: Tls;
  /** Raised by the operator; another value asks the coordinator again. */
  readonly attempt: number;
  /** Longest wait for the phase; 0 = no limit. No part of what is wanted. */
  readonly waitMinutes: number;
  readonly logUrn: string;
}

/** Facts fixed when the phase was reached, never live figures. */
export interface PhaseState extends PhaseInputs {
  readonly reached: boolean;
  readonly facts: MigrationFacts | null;
}

export function phaseId(inputs: PhaseInputs): string {
  return `migration/${inputs.phase}`;
}

/** `62% of 135233 entities, 4100/s, 12-15 s left` */
export function progressLine(s: PhaseStatus): string {
  const p = s.progress;
  if (p === null) return s.detail;
  const share = p.total === null || p.total === 0 ? '' : `${String(Math.floor((100 * p.done) / p.total))}% `;
  const of = p.total === null ? String(p.done) : `(${String(p.done)} of ${String(p.total)})`;
  const rate = p.ratePerS1m === null ? '' : `, ${String(Math.round(p.ratePerS1m))}/s`;
  const left =
    p.remainingS === null
      ? ''
      : `, ${String(Math.round(p.remainingS.low))}-${String(Math.round(p.remainingS.high))} s left`;
  return `${share}${of} ${p.unit}${rate}${left}${s.detail === '' ? '' : `; ${s.detail}`}`;
}

/**
 * Starts the phase or attaches to it, and waits until it is reached. The work is the coordinator's: it goes on when
 * this wait ends.
 * @throws the coordinator's refusals; InitFailed when the wait is over (the next `up` goes on)
 */
export async function reachPhase(inputs: PhaseInputs, log: Log): Promise<PhaseState> {
  const client = new CoordinatorClient(inputs.coordinator, inputs.operator);
  const until = inputs.waitMinutes > 0 ? Date.now() + inputs.waitMinutes * 60_000 : Infinity;
  const later = (s: PhaseStatus, code: string, why: string): InitFailed =>
    new InitFailed(phaseId(inputs), { ...inputs, reached: false, facts: null }, [
      `[nxnw:${code}] ${inputs.phase} ${why}: ${progressLine(s)}. It goes on by itself; see \`nxnw status\`, and run \`nxnw up\` again to wait for it.`,
    ]);
  try {
    let s = await patiently(() => client.startPhase(inputs.phase, actor()), log);
    for (let said = ''; !s.reached;) {
      const line = progressLine(s);
      if (line !== said) log(line);
      said = line;
      if (s.at === 'failed')
        throw new NxnwError(
          s.error?.code ?? 'PHASE_FAILED',
          `${inputs.phase} failed: ${s.error?.message ?? s.detail}. When that is mended, run \`nxnw up\` again.`,
        );
      if (s.at === 'paused') throw later(s, 'PAUSED', 'is paused (`nxnw resume` lets it go on)');
      if (Date.now() > until) throw later(s, 'NOT_YET', `is not done after ${String(inputs.waitMinutes)} minutes`);
      await sleep(POLL_MS);
      s = await patiently(() => client.phase(inputs.phase), log);
      // Undone by somebody meanwhile (`nxnw back`, a guardrail): asking again tells the reason as a refusal.
      if (s.at === 'idle') s = await patiently(() => client.startPhase(inputs.phase, actor()), log);
    }
    const facts = await patiently(() => client.facts(), log);
    return { ...inputs, reached: true, facts };
  } finally {
    client.close();
  }
}

/**
 * Whether the phase has to be asked for again: what was reached is not so any more, or another attempt is wanted. A
 * coordinator that does not answer in 2 s is no change, with a warning.
 */
export async function phaseDiffers(old: PhaseState, wanted: PhaseInputs, warn: Log): Promise<boolean> {
  if (!old.reached || old.attempt !== wanted.attempt) return true;
  if (old.coordinator !== wanted.coordinator) return true;
  const client = new CoordinatorClient(old.coordinator, old.operator);
  try {
    return !(await client.phase(old.phase, DIFF_MS)).reached;
  } catch (e) {
    warn(
      `the coordinator at ${old.coordinator} does not say how ${old.phase} stands (${e instanceof Error ? e.message : String(e)}); taken as unchanged`,
    );
    return false;
  } finally {
    client.close();
  }
}

/** The coordinator decides what going away means: undone when the wanted stage is lower, otherwise only forgotten. */
export async function leavePhase(state: PhaseInputs, log: Log): Promise<void> {
  const client = new CoordinatorClient(state.coordinator, state.operator);
  try {
    const answer = await patiently(() => client.undoPhase(state.phase, actor(), 'its resource left the stack'), log);
    if (answer.outcome !== 'undoing') return;
    const until = Date.now() + UNDO_MS;
    for (;;) {
      const s = await patiently(() => client.phase(state.phase), log);
      if (s.at === 'idle') return;
      log(s.detail);
      if (Date.now() > until)
        throw new NxnwError(
          'NOT_YET',
          `${state.phase} is still being undone: ${s.detail}; it goes on by itself, run \`nxnw up\` again to see the end`,
        );
      await sleep(POLL_MS);
    }
  } catch (e) {
    if (hasCode(e, 'NO_MIGRATION')) return; // nothing was ever started
    throw e;
  } finally {
    client.close();
  }
}
