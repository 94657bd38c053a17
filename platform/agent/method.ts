import type { z } from 'zod';
import { NxnwError } from '../errors.js';
import type { UnaryHandler } from '../wire/rpc.js';

/** A method of the agent whose requests have the given shape; INVALID_ARGUMENT names every fault of one that has not. */
export function method<T>(schema: z.ZodType<T>, handler: (request: T) => Promise<unknown>): UnaryHandler {
  return async (request) => {
    const parsed = schema.safeParse(request);
    if (parsed.success) return handler(parsed.data);
    const faults = parsed.error.issues.map((i) => `${i.path.join('.') || '(request)'}: ${i.message}`).join('; ');
    throw new NxnwError('INVALID_ARGUMENT', `the agent was asked wrongly: ${faults}`);
  };
}
