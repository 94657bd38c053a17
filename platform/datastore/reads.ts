import type { ReadOptionsMessage, TransactionOptionsMessage } from './api.js';
import { invalid, unimplemented } from './refuse.js';
import type { Service } from './service.js';
import { decodeToken, encodeToken } from './tokens.js';
import type { Transaction } from './transactions.js';

/** How a request reads: in which transaction (if any), and at which time. */
export interface ReadMode {
  readonly transaction: Transaction | null;
  /** Bytes of the transaction that this request began, for the answer. */
  readonly begun: Buffer | null;
}

/** Begins a transaction with the options of a request; its bytes. */
export function beginTransaction(service: Service, options: TransactionOptionsMessage | null): Buffer {
  if (options?.readOnly?.readTime) throw unimplemented('read_time of a read-only transaction');
  const previous = options?.readWrite?.previousTransaction;
  // A retried transaction gets no priority: commits are validated, nothing is locked while it runs.
  if (previous?.length) decodeToken(previous);
  return encodeToken(service.transactions.begin(options?.mode === 'readOnly'));
}

/** What the read options of a request ask for. Eventual consistency is answered strongly. */
export function readMode(service: Service, options: ReadOptionsMessage | null): ReadMode {
  switch (options?.consistencyType) {
    case 'readTime':
      throw unimplemented('read_time');
    case 'newTransaction': {
      const begun = beginTransaction(service, options.newTransaction);
      return { transaction: service.transactions.forRead(decodeToken(begun)), begun };
    }
    case 'transaction':
      if (options.transaction.length === 0) throw invalid('read_options.transaction is empty');
      return { transaction: service.transactions.forRead(decodeToken(options.transaction)), begun: null };
    case 'readConsistency':
    case undefined:
      return { transaction: null, begun: null };
  }
}

/**
 * The time to ask shards for, null = now. A read-only transaction reads at one time, fixed at its first read. A
 * read-write one reads the present: what it has read is validated when it commits. Any other read over several shards
 * is at one time too.
 */
export function readAtUs(service: Service, transaction: Transaction | null, shardCount: number): number | null {
  if (transaction?.readOnly) return (transaction.atUs ??= service.readTime.now());
  return transaction || shardCount === 1 ? null : service.readTime.now();
}
