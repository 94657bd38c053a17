import { setTimeout as delay } from 'node:timers/promises';

/** Lets `perS` pass in a second, evenly; null lets everything pass. Can be changed while it is used. */
export class Throttle {
  private nextMs = 0;

  constructor(private perS: number | null) {}

  set(perS: number | null): void {
    this.perS = perS;
  }

  async take(signal: AbortSignal): Promise<void> {
    if (this.perS === null) return;
    const now = performance.now();
    this.nextMs = Math.max(this.nextMs, now - 50) + 1000 / this.perS;
    if (this.nextMs - now > 1) await delay(this.nextMs - now, undefined, { signal });
  }
}
