import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { NxnwError } from '@nxnw/platform/errors';
import { findProgram } from '../paths.js';

/** The oldest Go that builds what set-up builds. */
const OLDEST_GO = [1, 25] as const;
const USUAL_PLACE = '/usr/local/go/bin/go';

/** `v3.245.0` or `go1.26.8` -> [3, 245]; undefined for anything else. */
export function majorMinor(text: string): readonly [number, number] | undefined {
  const found = /(\d+)\.(\d+)/.exec(text);
  return found?.[1] === undefined || found[2] === undefined ? undefined : [Number(found[1]), Number(found[2])];
}

/** Whether a program says that it has at least this version. */
export function isAtLeast(program: string, versionArg: string, least: readonly [number, number]): boolean {
  let version: readonly [number, number] | undefined;
  try {
    version = majorMinor(execFileSync(program, [versionArg], { encoding: 'utf8', timeout: 20_000, stdio: 'pipe' }));
  } catch {
    return false;
  }
  return version !== undefined && (version[0] > least[0] || (version[0] === least[0] && version[1] >= least[1]));
}

/**
 * A Go that is new enough.
 * @param o.absent what is not there, so that it must be built. @param o.instead what to install in place of Go
 * @throws PROGRAM_MISSING
 */
export function requireGo(o: { readonly program: string; readonly absent: string; readonly instead: string }): string {
  const go = findProgram('go') ?? (existsSync(USUAL_PLACE) ? USUAL_PLACE : undefined);
  if (go !== undefined && isAtLeast(go, 'version', OLDEST_GO)) return go;
  throw new NxnwError(
    'PROGRAM_MISSING',
    `there is no ${o.absent}, and no Go >= ${OLDEST_GO.join('.')} to build it with. Install ${o.instead} or Go (https://go.dev/doc/install), then run again.`,
    { programs: [o.program, 'go'] },
  );
}
