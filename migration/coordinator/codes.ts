import { NxnwError, asError } from '@nxnw/platform/errors';

/** Exit codes of the `nxnw` command, also of `nxnw up` when a provider's failure carries a marker. */
export const EXIT = { done: 0, failed: 1, usage: 2, notYet: 3, refused: 4 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A gate, a latch or a state that forbids what was asked: nothing was begun. */
const REFUSALS = new Set([
  'LATCHED',
  'HELD',
  'GATE_CLOSED',
  'FINALIZED',
  'SWITCHED',
  'SOURCE_LEASED',
  'NOT_SYNCED',
  'NOT_SWITCHED',
  'BUSY',
  'CANNOT_CHANGE',
]);
/** The work goes on by itself; ask again later. */
const NOT_YET = new Set(['NOT_YET', 'PAUSED']);
const USAGE = new Set(['USAGE', 'BAD_CONFIG', 'INVALID_ARGUMENT']);

export function exitCodeOf(code: string): ExitCode {
  if (REFUSALS.has(code)) return EXIT.refused;
  if (NOT_YET.has(code)) return EXIT.notYet;
  if (USAGE.has(code)) return EXIT.usage;
  return EXIT.failed;
}

/** `[nxnw:LATCHED] message`: what a provider throws, so that the code survives Pulumi's output. */
export function markedMessage(e: unknown): string {
  const error = asError(e);
  return e instanceof NxnwError ? `[nxnw:${e.code}] ${e.message}` : error.message;
}

/** The codes marked in a text, in order of appearance, without repeats. */
export function markersIn(text: string): string[] {
  return [...new Set([...text.matchAll(/\[nxnw:([A-Z0-9_]+)\]/g)].map((m) => m[1] ?? ''))];
}

/** Exit code of a run whose output carried these markers: a refusal outranks usage, a failure, and "not yet". */
export function exitCodeOfMarkers(codes: readonly string[], otherwise: ExitCode): ExitCode {
  const all = codes.map(exitCodeOf);
  return ([EXIT.refused, EXIT.usage, EXIT.failed, EXIT.notYet] as const).find((c) => all.includes(c)) ?? otherwise;
}
