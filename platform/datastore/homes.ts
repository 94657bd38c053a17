import { NxnwError, hasCode } from '../errors.js';
import type { TxId } from '../shards/types.js';
import type { Method } from './api.js';
import { encodeAnswer } from './api.js';
import type { TransactionHome, TransactionToken } from './tokens.js';

/** Carries a request of the API to the process that keeps its transaction. */
export interface HomeForwarder {
  /**
   * The home's answer (what its door's handleForwarded answers or throws). Throws HOME_GONE if that process has ended
   * for good, so that its table is lost; UNAVAILABLE if it cannot be reached.
   */
  forward(home: TransactionHome, method: Method, request: Buffer, deadlineMs: number): Promise<Buffer>;
  /**
   * What the shards know of a transaction whose table is lost: `aborted` only if it was not and never will be
   * committed. Without this hook such a Commit is answered UNAVAILABLE.
   */
  lostCommit?(tx: TxId, app: string, beganUs: number, deadlineMs: number): Promise<'aborted' | 'committed' | 'unknown'>;
}

export function sameHome(a: TransactionHome, b: TransactionHome): boolean {
  return a.platform === b.platform && a.process === b.process && a.boot === b.boot;
}

/** The answer for a request whose transaction is known nowhere any more. */
export async function answerLost(
  method: Method,
  token: TransactionToken,
  app: string,
  forwarder: HomeForwarder,
  deadlineMs: number,
): Promise<Buffer> {
  if (method === 'Rollback') return encodeAnswer('Rollback', {});
  const retry = 'the process that kept the transaction is gone; retry the whole transaction';
  if (method !== 'Commit' || token.readOnly) throw new NxnwError('ABORTED', retry);
  const outcome = (await forwarder.lostCommit?.(token.tx, app, token.beganUs, deadlineMs)) ?? 'unknown';
  if (outcome === 'aborted') throw new NxnwError('ABORTED', retry);
  throw new NxnwError(
    'UNAVAILABLE',
    outcome === 'committed'
      ? 'the transaction was committed, but the process that kept its answer is gone; read the entities again'
      : 'the process that kept the transaction is gone, and whether it was committed is unknown; read before you retry',
  );
}

/** True for errors that say that the transaction's table is lost. */
export function isLost(e: unknown): boolean {
  return hasCode(e, 'HOME_GONE', 'TRANSACTION_UNKNOWN');
}
