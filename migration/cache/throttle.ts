import { setTimeout as delay } from 'node:timers/promises';

const SLICE_MS = 20;

/** Where a throttle reads the time, in ms, and waits. */
export interface Clock {
  readonly now: () => number;
  readonly delay: (ms: number, signal: AbortSignal) => Promise<void>;
}

const REAL: Clock = {
  now: () => performance.now(),
  delay: (ms, signal) => delay(ms, undefined, { signal }),
};

/** Lets `perS` pass in a second, evenly; null lets everything pass. Can be changed while it is used. */
export class Throttle {
  private nextMs = 0;
  private sliceMs = 0;

  /** @param share of the time that may be used, at most 1: it rests for the others after each slice of work */
  constructor(
    private perS: number | null,
    private readonly share = 1,
    private readonly clock = REAL,
  ) {}

  set(perS: number | null): void {
    this.perS = perS;
  }

  async take(signal: AbortSignal): Promise<void> {
    if (this.share < 1) await this.rest(signal);
    if (this.perS === null) return;
    const now = this.clock.now();
    this.nextMs = Math.max(this.nextMs, now - 50) + 1000 / this.perS;
    if (this.nextMs - now > 1) await this.clock.delay(this.nextMs - now, signal);
  }

  private async rest(signal: AbortSignal): Promise<void> {
    const workedMs = this.clock.now() - this.sliceMs;
    if (workedMs < SLICE_MS) return;
    // a long pause before the first of a slice was no work
    await this.clock.delay(Math.min(workedMs, 10 * SLICE_MS) * (1 / this.share - 1), signal);
    this.sliceMs = this.clock.now();
  }
}
