import { userInfo } from 'node:os';
import { markedMessage } from '../../coordinator/codes.js';
import { asError } from '@nxnw/platform/errors';
import { canonical } from './canonical.js';
import { endWithEngine } from './orphan.js';

/** PEM texts of a client or server; plain here, secret in the stack's state. */
export interface Tls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Who does it, for the journal: the person at the terminal, by way of Pulumi. */
export function actor(): string {
  const named = process.env['NXNW_ACTOR'] ?? '';
  if (named !== '') return named;
  try {
    return `${userInfo().username} (pulumi)`;
  } catch {
    return 'pulumi';
  }
}

/** What a provider throws: the message with the error's code, and no stack of ours for the person at the terminal. */
export function providerError(e: unknown): Error {
  const shown = new Error(markedMessage(e), { cause: asError(e) });
  shown.stack = shown.message;
  return shown;
}

/** Runs the engine's part of a provider method; its errors carry their codes. */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  endWithEngine();
  try {
    return await work();
  } catch (e) {
    if (e instanceof InitFailed) throw e;
    throw providerError(e);
  }
}

/**
 * What a provider's `read` answers: gone, as it was, or changed by somebody. Drift shows only when both inputs and
 * outputs say what was found.
 */
export function asFound<T extends object>(
  id: string,
  state: T,
  found: T | null,
): { id: string; props: object; inputs?: object } {
  if (found === null) return { id: '', props: {} };
  if (canonical(found) === canonical(state)) return { id, props: state };
  return { id, props: found, inputs: found };
}

/**
 * "It is there but not finished": the engine keeps the resource in state, makes no dependants, shows `reasons`, and
 * calls `update` at the next `up`.
 */
export class InitFailed extends Error {
  readonly id: string;
  readonly properties: unknown;
  readonly reasons: readonly string[];

  constructor(id: string, properties: unknown, reasons: readonly string[]) {
    super(reasons.join('; '));
    this.id = id;
    this.properties = properties;
    this.reasons = reasons;
  }
}
