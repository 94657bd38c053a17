import { NxnwError } from '../errors.js';

/** Longest row key, index key or index part, bytes. The public API's longest entity key encodes to less than 16 KiB. */
export const MAX_KEY_BYTES = 32 * 1024;

/**
 * Largest serialised entity, bytes. The public API's is 1,048,572; the rest is for what we add. The same in every store,
 * so that what fits into one can move to another.
 */
export const MAX_ENTITY_BYTES = 1_200_000;

/** Refuses an empty or overlong key before anything is written. `what` is for instance `row key`. */
export function checkKey(what: string, key: Buffer): void {
  if (key.length > 0 && key.length <= MAX_KEY_BYTES) return;
  throw new NxnwError(
    'INVALID_ARGUMENT',
    `${what} of ${key.length} bytes; a store takes 1 to ${MAX_KEY_BYTES} bytes; shorten the entity's path or the indexed value`,
    { bytes: key.length, maxBytes: MAX_KEY_BYTES },
  );
}

/** Refuses a value above a store's limit. `max` is the limit in bytes. */
export function checkSize(what: string, bytes: number, max: number): void {
  if (bytes <= max) return;
  throw new NxnwError('INVALID_ARGUMENT', `${what} of ${bytes} bytes; the store takes at most ${max}`, { bytes, maxBytes: max }); // prettier-ignore
}

/** Refuses what is not a whole number from 0 up to and including `max`. */
export function checkNumber(what: string, n: number, max: number): void {
  if (Number.isInteger(n) && n >= 0 && n <= max) return;
  throw new NxnwError('INVALID_ARGUMENT', `${what} is ${n}; allowed are whole numbers from 0 to ${max}`, { value: n });
}
