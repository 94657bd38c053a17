import type { LogRow, PreparedTx } from './entry.js';
import type { MutationAnswer } from './types.js';

/** How a transaction ended, as the log tells. */
export interface Outcome {
  readonly commit: boolean;
  readonly version: number;
  readonly answers: readonly MutationAnswer[];
  readonly tsUs: number;
}

/** The rows that a prepared transaction makes true at its commit version. */
export function committedRows(p: PreparedTx, version: number): LogRow[] {
  const created = (us: number) => (us === p.proposal ? version : us);
  return p.rows.map((r) => ({ ...r, version, updatedUs: version, createdUs: created(r.createdUs) }));
}

export function committedAnswers(p: PreparedTx, version: number): MutationAnswer[] {
  const created = (us: number) => (us === p.proposal ? version : us);
  return p.answers.map((a) =>
    a.conflictDetected ? a : { ...a, version, updatedUs: version, createdUs: created(a.createdUs) },
  );
}
