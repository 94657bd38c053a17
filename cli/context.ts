import { hostname, userInfo } from 'node:os';
import { homeDir } from '@nxnw/platform/agent/home';
import { NxnwError } from '@nxnw/platform/errors';
import { CoordinatorClient } from '@nxnw/migration/coordinator/api';
import { readAccess } from '@nxnw/migration/resources/engines/access';
import type { Access } from '@nxnw/migration/resources/engines/access';

/** What every command takes. */
export interface Shared {
  readonly stack?: string;
  readonly json?: boolean;
}

/** The project that the command works on: this checkout, or NXNW_HOME. */
export function projectDir(): string {
  return homeDir();
}

/** `--stack`, or NXNW_STACK. Throws USAGE when neither is given. */
export function stackOf(o: Shared): string {
  const name = o.stack ?? process.env['NXNW_STACK'];
  if (name === undefined || name === '')
    throw new NxnwError('USAGE', 'which stack? Give --stack NAME, or set NXNW_STACK');
  return name;
}

/** Who asks, for the journal: NXNW_ACTOR, or the user and the machine. */
export function actor(): string {
  return process.env['NXNW_ACTOR'] ?? `${userInfo().username}@${hostname()}`;
}

export function accessOf(o: Shared): Access {
  return readAccess(projectDir(), stackOf(o));
}

/** A connection to the stack's coordinator; needs no Pulumi, so it works while the stack is locked. */
export async function withCoordinator<T>(o: Shared, f: (c: CoordinatorClient) => Promise<T>): Promise<T> {
  const access = accessOf(o);
  if (access.coordinator === null)
    throw new NxnwError(
      'NO_MIGRATION',
      `stack ${access.stack} does not migrate: it has no nxnw:migrateFrom; name the stack that takes over`,
      { stack: access.stack },
    );
  const client = new CoordinatorClient(access.coordinator, access.operator);
  try {
    return await f(client);
  } finally {
    client.close();
  }
}

/** The value as JSON with --json, otherwise as `text` shows it. */
export function print<T>(o: Shared, value: T, text: (v: T) => string): void {
  process.stdout.write(o.json === true ? `${JSON.stringify(value, null, 2)}\n` : `${text(value)}\n`);
}

/** Milliseconds in `30s`, `5m`, `1h30m`, `250ms`, or a plain number of seconds. Throws USAGE. */
export function parseDuration(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const unit: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((p) => p[0]).join('') !== text)
    throw new NxnwError('USAGE', `"${text}" is not a duration; write for instance 30s, 5m or 1h30m`);
  return parts.reduce((ms, p) => ms + Number(p[1]) * (unit[p[2] ?? 's'] ?? 0), 0);
}
