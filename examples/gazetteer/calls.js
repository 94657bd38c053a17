'use strict';
/**
 * Calls to the datastore as this application makes them: a deadline, no retry inside Google's client, and a short,
 * counted retry of calls that cannot have changed anything. What a call cost is kept in the request's `trace`.
 */

/** gRPC status numbers that the application treats specially. */
const CODES = {
  3: 'INVALID_ARGUMENT',
  4: 'DEADLINE_EXCEEDED',
  5: 'NOT_FOUND',
  6: 'ALREADY_EXISTS',
  8: 'RESOURCE_EXHAUSTED',
  9: 'FAILED_PRECONDITION',
  10: 'ABORTED',
  12: 'UNIMPLEMENTED',
  14: 'UNAVAILABLE',
};

/** DATASTORE_TIMEOUT_MS gives a datastore on a much slower machine, such as an emulated one, longer. */
const CALL_TIMEOUT_MS = Number(process.env.DATASTORE_TIMEOUT_MS ?? 4000);
if (!(CALL_TIMEOUT_MS > 0))
  throw new Error(`DATASTORE_TIMEOUT_MS is "${process.env.DATASTORE_TIMEOUT_MS}"; it takes milliseconds above 0`);
const READ_ATTEMPTS = 3;
const RETRY_FIRST_MS = 25;

/** Options of each call: `retry: null` switches the client library's own, invisible retries off. */
const CALL_OPTIONS = { timeout: CALL_TIMEOUT_MS, retry: null };

/** An error that becomes an HTTP answer. `outcome` says of a write whether it happened: none, unknown or committed. */
class HttpError extends Error {
  constructor(status, code, message, fields = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.fields = fields;
  }
}

/** What one request cost: retries, datastore errors by code, cache result. Sent back in headers, summed in /metrics. */
function newTrace() {
  return { retries: 0, errors: [], cache: 'none' };
}

function codeOf(error) {
  return CODES[error.code] ?? 'INTERNAL';
}

/** A read or a begin: it changes nothing, so UNAVAILABLE is tried again, visibly. */
async function readCall(trace, call) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call(CALL_OPTIONS);
    } catch (error) {
      const code = codeOf(error);
      trace.errors.push(code);
      if (code !== 'UNAVAILABLE' || attempt === READ_ATTEMPTS) throw toHttp(error, 'none');
      trace.retries++;
      await new Promise((ok) => setTimeout(ok, RETRY_FIRST_MS * 2 ** (attempt - 1)));
    }
  }
}

/** A commit: sent once. Without an answer its outcome is unknown, and the client is told so. */
async function commitCall(trace, call) {
  try {
    return await call(CALL_OPTIONS);
  } catch (error) {
    const code = codeOf(error);
    trace.errors.push(code);
    const certain = [
      'ABORTED',
      'ALREADY_EXISTS',
      'NOT_FOUND',
      'INVALID_ARGUMENT',
      'FAILED_PRECONDITION',
      'RESOURCE_EXHAUSTED',
    ];
    throw toHttp(error, certain.includes(code) ? 'none' : 'unknown');
  }
}

function toHttp(error, outcome) {
  const code = codeOf(error);
  const status = {
    ABORTED: 409,
    ALREADY_EXISTS: 409,
    INVALID_ARGUMENT: 400,
    DEADLINE_EXCEEDED: 504,
    UNAVAILABLE: 503,
    RESOURCE_EXHAUSTED: 503,
  };
  return new HttpError(status[code] ?? 500, code, `datastore: ${error.message}`, { outcome });
}

module.exports = { CALL_OPTIONS, HttpError, newTrace, readCall, commitCall };
