import { setTimeout as sleep } from 'node:timers/promises';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { stageRank } from '@nxnw/migration/coordinator/api';
import type { CoordinatorClient, JournalEvent, MigrationStatus, Stage } from '@nxnw/migration/coordinator/api';

const POLL_MS = 300;
/** A coordinator that is being restarted is waited for this long. */
const SILENCE_MS = 60_000;

/** The status, asked again while the coordinator is silent, at most a minute. */
export async function patientStatus(c: CoordinatorClient): Promise<MigrationStatus> {
  const untilMs = Date.now() + SILENCE_MS;
  for (;;) {
    try {
      return await c.status(5000);
    } catch (e) {
      if (!hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED') || Date.now() > untilMs) throw e;
      await sleep(POLL_MS);
    }
  }
}

/**
 * Tells new journal events until `done` says so. Throws NOT_YET after `timeoutMs` (0 = no limit); what goes on goes on.
 */
export async function follow(
  c: CoordinatorClient,
  done: (s: MigrationStatus) => boolean,
  o: { readonly timeoutMs: number; readonly what: string; readonly tell: (e: JournalEvent) => void },
): Promise<MigrationStatus> {
  const untilMs = o.timeoutMs === 0 ? Infinity : Date.now() + o.timeoutMs;
  let s = await patientStatus(c);
  let told = s.events[0]?.number ?? 0;
  for (;;) {
    for (const e of s.events)
      if (e.number > told) {
        told = e.number;
        o.tell(e);
      }
    if (done(s)) return s;
    if (Date.now() >= untilMs)
      throw new NxnwError(
        'NOT_YET',
        `${o.what} is not reached: stage ${s.stage.reached ?? 'none'}, wanted ${s.stage.wanted}; ${s.next}. It goes on by itself`,
      );
    await sleep(POLL_MS);
    s = await patientStatus(c);
  }
}

/** Until the stage is reached. Throws the error of a phase that has ended by itself on the way. */
export function waitForStage(
  c: CoordinatorClient,
  stage: Stage,
  timeoutMs: number,
  tell: (e: JournalEvent) => void,
): Promise<MigrationStatus> {
  const reached = (s: MigrationStatus): boolean => {
    if (stageRank(s.stage.reached) >= stageRank(stage)) return true;
    const failed = s.phases.find((p) => p.at === 'failed');
    if (failed)
      throw new NxnwError(failed.error?.code ?? 'PHASE_FAILED', `${failed.phase}: ${failed.error?.message ?? ''}`);
    return false;
  };
  return follow(c, reached, { timeoutMs, what: `stage ${stage}`, tell });
}

/** Until a switch of the applications has ended: at N2, or where it began (then its error is thrown). */
export async function waitForSwitch(
  c: CoordinatorClient,
  apps: readonly string[] | null,
  timeoutMs: number,
  tell: (e: JournalEvent) => void,
): Promise<MigrationStatus> {
  const of = (s: MigrationStatus) => s.apps.filter((a) => apps === null || apps.includes(a.app));
  const s = await follow(c, (x) => of(x).every((a) => a.serving !== 'moving') && !isTurning(x), {
    timeoutMs,
    what: 'the end of the switch',
    tell,
  });
  if (of(s).every((a) => a.serving === 'target')) return s;
  const error = s.phases.find((p) => p.phase === 'Cutover')?.error;
  throw new NxnwError(
    error?.code ?? 'TAKEN_BACK',
    `the switch ended with ${s.source} serving: ${error?.message ?? s.latch?.reason ?? s.next}`,
  );
}

/** Until N1 serves the applications again. */
export function waitForBack(
  c: CoordinatorClient,
  apps: readonly string[] | null,
  timeoutMs: number,
  tell: (e: JournalEvent) => void,
): Promise<MigrationStatus> {
  const home = (s: MigrationStatus): boolean =>
    s.apps.filter((a) => apps === null || apps.includes(a.app)).every((a) => a.serving === 'source') && !isTurning(s);
  return follow(c, home, { timeoutMs, what: 'the way back', tell });
}

function isTurning(s: MigrationStatus): boolean {
  return s.phases.some((p) => (p.phase === 'Cutover' || p.phase === 'DnsHandoff') && p.at === 'undoing');
}
