import { NxnwError } from '@nxnw/platform/errors';

/** Waits for something to become true; whoever changes what the waiters look at calls `changed`. */
export class Condition {
  private waiters = new Set<() => void>();

  changed(): void {
    for (const look of this.waiters) look();
  }

  /** `deadlineMs`: milliseconds since 1970, Infinity when only the signal ends the wait. CACHE_TIMEOUT, naming `what`, when it passes or the signal aborts. */
  until(holds: () => boolean, what: string, deadlineMs: number, signal: AbortSignal): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((ok, fail) => {
      const end = (e?: NxnwError) => {
        clearTimeout(timer);
        this.waiters.delete(look);
        signal.removeEventListener('abort', stopped);
        if (e) fail(e);
        else ok();
      };
      const look = () => holds() && end();
      const late = (why: string) => end(new NxnwError('CACHE_TIMEOUT', `waited for ${what}: ${why}`));
      const stopped = () => late('stopped');
      const tooLate = () => late('the deadline has passed');
      const timer = deadlineMs === Infinity ? undefined : setTimeout(tooLate, Math.max(0, deadlineMs - Date.now()));
      signal.addEventListener('abort', stopped, { once: true });
      this.waiters.add(look);
      if (signal.aborted) stopped();
    });
  }
}
