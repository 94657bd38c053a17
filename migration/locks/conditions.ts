import { NxnwError } from '@nxnw/platform/errors';

/** Waits for conditions of a loop that asks for them (`check`) once each turn. */
export class Conditions {
  private readonly waiting = new Set<{ check: () => void; fail: (e: Error) => void }>();
  private failure: NxnwError | undefined;

  /** `wake` makes the loop turn. */
  constructor(private readonly wake: () => void) {}

  /** Resolves at the end of a turn at which `done` holds; fails with `late()` after `deadlineMs`. */
  until(done: () => boolean, deadlineMs: number, late: () => NxnwError): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise<void>((ok, fail) => {
      const end = (how: () => void) => {
        clearTimeout(timer);
        this.waiting.delete(entry);
        how();
      };
      const entry = {
        check: () => {
          if (done()) end(ok);
        },
        fail: (e: Error) => end(() => fail(e)),
      };
      const timer = setTimeout(() => end(() => fail(late())), Math.max(0, deadlineMs));
      this.waiting.add(entry);
      this.wake();
    });
  }

  check(): void {
    for (const w of [...this.waiting]) w.check();
  }

  /** Ends all waits, also later ones. */
  fail(e: NxnwError): void {
    this.failure = e;
    for (const w of [...this.waiting]) w.fail(e);
  }
}
