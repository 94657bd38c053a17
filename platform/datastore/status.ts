import { status } from '@grpc/grpc-js';
import { NxnwError, asError } from '../errors.js';

/** Codes of the public API that a NxnwError may carry outwards as they are. */
const CODES: Readonly<Record<string, status>> = {
  CANCELLED: status.CANCELLED,
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  NOT_FOUND: status.NOT_FOUND,
  ALREADY_EXISTS: status.ALREADY_EXISTS,
  PERMISSION_DENIED: status.PERMISSION_DENIED,
  RESOURCE_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  FAILED_PRECONDITION: status.FAILED_PRECONDITION,
  ABORTED: status.ABORTED,
  OUT_OF_RANGE: status.OUT_OF_RANGE,
  UNIMPLEMENTED: status.UNIMPLEMENTED,
  INTERNAL: status.INTERNAL,
  UNAVAILABLE: status.UNAVAILABLE,
};

/** What a client is told. `internal` = the error is ours: it is logged, and the client gets no details. */
export interface Answered {
  readonly code: status;
  readonly details: string;
  readonly internal: boolean;
}

export function answeredError(e: unknown): Answered {
  const code = e instanceof NxnwError ? CODES[e.code] : undefined;
  if (code === undefined || code === status.INTERNAL)
    return { code: status.INTERNAL, details: 'internal error; see the log of the datastore process', internal: true };
  return { code, details: asError(e).message, internal: false };
}
