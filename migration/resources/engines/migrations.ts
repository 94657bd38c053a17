import { setTimeout as sleep } from 'node:timers/promises';
import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import { CoordinatorClient, type MigrationOptions, type Stage } from '../../coordinator/api.js';
import { parseJoin } from '../../coordinator/join.js';
import { canonical } from './canonical.js';
import type { Log } from './engine-log.js';
import { patiently } from './patiently.js';
import { actor, type Tls } from './targets.js';

const POLL_MS = 500;
const DIFF_MS = 2000;
const END_MS = 5 * 60_000;

/** The wanted stage: the one place where an operator's intent reaches the coordinator. */
export interface MigrationInputs {
  readonly coordinator: string;
  readonly operator: Tls;
  readonly stage: Stage;
  readonly attempt: number;
  readonly apps: readonly string[];
  readonly options: MigrationOptions;
  /** The source's join bundle, JSON text; a secret. */
  readonly join: string;
  readonly logUrn: string;
}

export interface MigrationState extends MigrationInputs {
  readonly source: string;
}

/** Tells the coordinator what is wanted; it runs everything up to `synced` by itself. May be repeated. */
export async function wantMigration(inputs: MigrationInputs, log: Log): Promise<MigrationState> {
  wantedInThisRun.add(inputs.coordinator);
  const join = parseJoin(inputs.join, Date.now());
  const client = new CoordinatorClient(inputs.coordinator, inputs.operator);
  try {
    const request = {
      attempt: inputs.attempt,
      apps: [...inputs.apps],
      wantedStage: inputs.stage,
      join,
      options: inputs.options,
      actor: actor(),
    };
    await patiently(() => client.startMigration(request), log);
    return { ...inputs, source: join.platformId };
  } finally {
    client.close();
  }
}

/**
 * Coordinators whose migration is wanted in this run. All methods of one run are called in one process, and the engine
 * asks about every wanted resource before it deletes any: a deletion of what is still wanted is a rename.
 */
const wantedInThisRun = new Set<string>();

/**
 * Whether the coordinator has to be told: another intent, or a coordinator that knows of no migration (ended by hand,
 * its journal lost). A renewed join bundle of the same source is no change of intent; it is sent with the next one.
 */
export async function migrationDiffers(old: MigrationState, wanted: MigrationInputs, warn: Log): Promise<boolean> {
  wantedInThisRun.add(wanted.coordinator);
  const intent = (m: MigrationInputs) => canonical([m.coordinator, m.stage, m.attempt, m.apps, m.options]);
  if (intent(old) !== intent(wanted)) return true;
  const client = new CoordinatorClient(old.coordinator, old.operator);
  try {
    return (await client.status(DIFF_MS)).phases.every((p) => p.at === 'idle');
  } catch (e) {
    if (hasCode(e, 'NO_MIGRATION')) return true;
    warn(`the coordinator at ${old.coordinator} does not answer (${asError(e).message}); taken as unchanged`);
    return false;
  } finally {
    client.close();
  }
}

/** The migration leaves the stack: aborted before the switch, refused after it, forgotten when finalised. */
export async function endMigration(state: MigrationInputs, log: Log): Promise<void> {
  if (wantedInThisRun.has(state.coordinator)) return; // a rename: another resource stands for the same migration
  const client = new CoordinatorClient(state.coordinator, state.operator);
  try {
    const answer = await patiently(() => client.endMigration(actor(), 'the migration left the stack'), log);
    if (answer.outcome !== 'undoing') return;
    const until = Date.now() + END_MS;
    for (;;) {
      const busy = (await patiently(() => client.status(), log)).phases.filter((p) => p.at === 'undoing');
      if (busy.length === 0) return;
      log(`ending: ${busy.map((p) => p.phase).join(', ')}`);
      if (Date.now() > until)
        throw new NxnwError(
          'NOT_YET',
          `the migration is still being ended: ${busy.map((p) => `${p.phase} (${p.detail})`).join(', ')}; run the command again to wait for it`,
        );
      await sleep(POLL_MS);
    }
  } catch (e) {
    if (hasCode(e, 'NO_MIGRATION')) return;
    throw e;
  } finally {
    client.close();
  }
}
