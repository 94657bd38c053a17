import { NxnwError } from '../errors.js';

/** The request is wrong in itself. Says what was given and what is allowed. */
export function invalid(message: string): NxnwError {
  return new NxnwError('INVALID_ARGUMENT', message);
}

/** A part of the public API that is not there (yet): named, never answered wrongly. */
export function unimplemented(feature: string): NxnwError {
  return new NxnwError('UNIMPLEMENTED', `${feature} is not implemented by this platform`);
}
