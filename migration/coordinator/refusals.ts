import { NxnwError } from '@nxnw/platform/errors';
import type { Gate } from './api.js';
import { routeOf } from './state.js';
import type { MigrationState } from './state.js';

/** The applications meant, checked; null = all. */
export function checkedApps(s: MigrationState, apps: readonly string[] | null): readonly string[] {
  const unknown = (apps ?? []).filter((a) => !s.apps.includes(a));
  if (unknown.length > 0)
    throw new NxnwError(
      'INVALID_ARGUMENT',
      `no application ${unknown.join(', ')} in this migration; it has: ${s.apps.join(', ')}`,
      { unknown },
    );
  return apps ?? s.apps;
}

export function refuseFinalized(s: MigrationState): never {
  throw new NxnwError(
    'FINALIZED',
    `the migration from ${s.source} to ${s.target} is finalised: there is no way back; set nxnw:stage to finalized, or take nxnw:migrateFrom out`,
  );
}

/** Once FINAL entries may be in the logs, the way back is closed. */
export function refuseClosing(s: MigrationState): void {
  const f = s.phases.Finalize;
  if (f.at === 'running' && f.step !== 'verify') refuseFinalized(s);
}

export function refuseSwitched(s: MigrationState, what: string): never {
  const away = s.apps.filter((a) => routeOf(s, a).at !== 'source');
  throw new NxnwError(
    'SWITCHED',
    `cannot ${what}: ${s.target} serves ${away.join(', ')} and ${s.source} follows; go back first (\`nxnw back --reason …\`), or finalise (stage finalized)`,
    { apps: away },
  );
}

export function refuseLatched(s: MigrationState): never {
  const l = s.latch;
  throw new NxnwError(
    'LATCHED',
    `the last switch was taken back by ${l?.actor ?? '?'} at ${new Date(l?.atMs ?? 0).toISOString()} (${l?.reason ?? '?'}); to switch again, raise nxnw:migration.attempt to ${s.attempt + 1} and run \`nxnw up\`, or run \`nxnw release --latch\``,
    { attempt: s.attempt, reason: l?.reason ?? '' },
  );
}

export function refuseClosedGates(gates: readonly Gate[]): void {
  const closed = gates.filter((g) => !g.open);
  if (closed.length === 0) return;
  const text = closed.map((g) => `${g.name}: ${g.found}${g.next === '' ? '' : ` (${g.next})`}`).join('; ');
  throw new NxnwError('GATE_CLOSED', `the switch is refused, nothing was begun: ${text}`, {
    gates: closed.map((g) => g.name),
  });
}
