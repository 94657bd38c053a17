/** Calls `fn` when the signal aborts, or at once if it has; answers how to call it off. */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  if (signal.aborted) fn();
  else signal.addEventListener('abort', fn, { once: true });
  return () => signal.removeEventListener('abort', fn);
}

/** Wakes after `ms` or when the signal aborts. */
export function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((ok) => {
    const t = setTimeout(() => {
      off();
      ok();
    }, ms);
    const off = onAbort(signal, () => {
      clearTimeout(t);
      ok();
    });
  });
}

/** Those who wait for the next of something. One that has waited long enough is not kept. */
export class Waiters {
  private readonly waiting = new Set<() => void>();

  get size(): number {
    return this.waiting.size;
  }

  /** Resolves at the next `wake`, or after `ms` where that is given. */
  next(ms?: number): Promise<void> {
    return new Promise((ok) => {
      const done = () => {
        this.waiting.delete(done);
        clearTimeout(t);
        ok();
      };
      const t = ms === undefined ? undefined : setTimeout(done, ms);
      this.waiting.add(done);
    });
  }

  wake(): void {
    for (const w of [...this.waiting]) w();
  }
}

/** What `work` answers, or throws `late()` after `ms`; the work goes on. */
export async function within<T>(ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(late()), Math.max(0, ms));
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}

/** What `work` answers, or null once the signal aborts; the work goes on, and nobody hears how it ends. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  let off = (): void => undefined;
  const aborted = new Promise<null>((ok) => (off = onAbort(signal, () => ok(null))));
  try {
    return await Promise.race([work, aborted]);
  } finally {
    off();
  }
}
