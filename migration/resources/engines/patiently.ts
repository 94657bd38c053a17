import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '@nxnw/platform/errors';
import type { Log } from './engine-log.js';

const AGAIN_MS = 500;
/** A coordinator that is restarting is waited for this long before its silence is an error. */
const SILENCE_MS = 60_000;

/** Attempts `ask` again while the coordinator is silent, at most SILENCE_MS in a row. */
export async function patiently<T>(ask: () => Promise<T>, log: Log): Promise<T> {
  const until = Date.now() + SILENCE_MS;
  for (;;) {
    try {
      return await ask();
    } catch (e) {
      if (!hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED') || Date.now() > until) throw e;
      log('the coordinator does not answer; trying again');
      await sleep(AGAIN_MS);
    }
  }
}
