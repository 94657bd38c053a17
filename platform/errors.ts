/**
 * The one error base of the project. `code` is stable and documented in docs/errors.md; `message` says what failed,
 * what was given, what is allowed and what to do next; `fields` are structured facts for logs, never secrets.
 */
export class NxnwError extends Error {
  readonly code: string;
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, fields: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'NxnwError';
    this.code = code;
    this.fields = fields;
  }
}

/** The thrown value as an Error, whatever was thrown. */
export function asError(e: unknown): Error {
  return e instanceof Error ? e : new Error(String(e));
}

/** True if `e` is a NxnwError with one of the codes. */
export function hasCode(e: unknown, ...codes: string[]): e is NxnwError {
  return e instanceof NxnwError && codes.includes(e.code);
}
