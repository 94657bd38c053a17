/** The last few thousand delays, in milliseconds. */
export class LagSamples {
  private readonly samples: number[] = [];
  private next = 0;

  constructor(private readonly max = 8192) {}

  add(ms: number): void {
    this.samples[this.next] = ms;
    this.next = (this.next + 1) % this.max;
  }

  /** The delay that a share `p` (0..1) of the samples does not exceed; 0 without samples. */
  percentile(p: number): number {
    const sorted = [...this.samples].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? 0;
  }
}
