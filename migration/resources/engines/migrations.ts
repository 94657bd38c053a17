import { setTimeout as sleep } from 'node:timers/promises';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { CoordinatorClient, type MigrationOptions, type Stage } from '../../coordinator/api.js';
import { parseJoin } from '../../coordinator/join.js';
import { canonical } from './canonical.js';
import type { Log } from './engine-log.js';
import { actor, type Tls } from './targets.js';

const POLL_MS = 500;
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
export async function wantMigration(inputs: MigrationInputs): Promise<MigrationState> {
  const join = parseJoin(inputs.join, Date.now());
  const client = new CoordinatorClient(inputs.coordinator, inputs.operator);
  try {
    await client.startMigration({
      attempt: inputs.attempt,
      apps: [...inputs.apps],
      wantedStage: inputs.stage,
      join,
      options: inputs.options,
      actor: actor(),
    });
    return { ...inputs, source: join.platformId };
  } finally {
    client.close();
  }
}

/** A renewed join bundle of the same source is no change of intent; it is sent with the next one. */
export function migrationDiffers(old: MigrationState, wanted: MigrationInputs): boolean {
  const intent = (m: MigrationInputs) => canonical([m.coordinator, m.stage, m.attempt, m.apps, m.options]);
  return intent(old) !== intent(wanted);
}

/** The migration leaves the stack: aborted before the switch, refused after it, forgotten when finalised. */
export async function endMigration(state: MigrationInputs, log: Log): Promise<void> {
  const client = new CoordinatorClient(state.coordinator, state.operator);
  try {
    const answer = await client.endMigration(actor(), 'the migration left the stack');
    if (answer.outcome !== 'undoing') return;
    const until = Date.now() + END_MS;
    for (;;) {
      const busy = (await client.status()).phases.filter((p) => p.at === 'undoing');
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
