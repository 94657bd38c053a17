/** Calls `fn` when the signal aborts, or at once if it has; answers how to call it off. */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  if (signal.aborted) fn();
  else signal.addEventListener('abort', fn, { once: true });
  return () => signal.removeEventListener('abort', fn);
}

/** Wakes after `ms` or when the signal aborts. */
export function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((ok) => {
    const done = () => {
      clearTimeout(t);
      off();
      ok();
    };
    const t = setTimeout(done, ms);
    const off = onAbort(signal, () => {
      clearTimeout(t);
      ok();
    });
  });
}
