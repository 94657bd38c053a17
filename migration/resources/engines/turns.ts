import type { Log } from './engine-log.js';

const turns = new Map<string, Promise<unknown>>();

/**
 * Runs `work` when nothing else of the same `turn` runs, in the order of asking; '' = at once. One process of Pulumi
 * does all of a run, and a stack's lock lets one run be at a time.
 */
export async function inTurn<T>(turn: string, log: Log, work: () => Promise<T>): Promise<T> {
  if (turn === '') return work();
  const before = turns.get(turn);
  if (before !== undefined) log('waits: machines of a group change one after another');
  const mine = (before ?? Promise.resolve()).then(work, work);
  const settled = mine.catch(() => undefined);
  turns.set(turn, settled);
  try {
    return await mine;
  } finally {
    if (turns.get(turn) === settled) turns.delete(turn);
  }
}
