import { LineLog } from '../load/lines.js';
import type { Demo } from './context.js';
import { COUNTERS_FILE, sampleCounters } from './counters.js';
import { followProgress } from './progress.js';

/** While `work` runs: shows each second what the clients see, and ends early if a client process died. */
export async function watchDuring<T>(d: Demo, work: Promise<T>): Promise<T> {
  let dead: ((e: unknown) => void) | null = null;
  const died = new Promise<never>((_, fail) => {
    dead = fail;
  });
  let before = d.fleet?.stats();
  const counters = new LineLog(COUNTERS_FILE);
  let sampling = Promise.resolve();
  const timer = setInterval(() => {
    sampling = sampling.then(() => sampleCounters(counters));
    const { fleet } = d;
    if (fleet === null) return;
    try {
      fleet.checkAlive();
    } catch (e) {
      dead?.(e);
    }
    const now = fleet.stats();
    const rate = now.sent - (before?.sent ?? 0);
    before = now;
    const where = Object.entries(now.instances)
      .sort()
      .map(([i, n]) => `${i} ${n}`)
      .join('  ');
    d.screen.status(
      `${rate} requests/s, longest ${Math.round(now.maxMs)} ms, ${now.failed} failed of ${now.sent}; by ${where}`,
    );
  }, 1000);
  const ending = new AbortController();
  const progress = followProgress(d.screen, ending.signal);
  try {
    return await Promise.race([work, died, failing(progress)]);
  } finally {
    clearInterval(timer);
    ending.abort();
    await progress;
    await sampling;
    counters.close();
    d.screen.status('');
  }
}

/** Fails when the promise fails, and otherwise never ends. */
function failing(p: Promise<void>): Promise<never> {
  return new Promise((_, fail) => p.catch(fail));
}
