import { userInfo } from 'node:os';
import { markedMessage } from '../../coordinator/codes.js';
import { asError } from '@nxnw/platform/errors';
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
