import { setTimeout as delay } from 'node:timers/promises';

const SLICE_MS = 20;

/** Lets `perS` pass in a second, evenly; null lets everything pass. Can be changed while it is used. */
export class Throttle {
  private nextMs = 0;
  private sliceMs = 0;

  /** @param share of the time that may be used, at most 1: it rests for the others after each slice of work */
  constructor(
    private perS: number | null,
    private readonly share = 1,
  ) {}

  set(perS: number | null): void {
    this.perS = perS;
  }

  async take(signal: AbortSignal): Promise<void> {
    if (this.share < 1) await this.rest(signal);
    if (this.perS === null) return;
    const now = performance.now();
    this.nextMs = Math.max(this.nextMs, now - 50) + 1000 / this.perS;
    if (this.nextMs - now > 1) await delay(this.nextMs - now, undefined, { signal });
  }

  private async rest(signal: AbortSignal): Promise<void> {
    const workedMs = performance.now() - this.sliceMs;
    if (workedMs < SLICE_MS) return;
    // a long pause before the first of a slice was no work
    await delay(Math.min(workedMs, 10 * SLICE_MS) * (1 / this.share - 1), undefined, { signal });
    this.sliceMs = performance.now();
  }
}
