import { PROBE_BYTES, type AgentClient } from '@nxnw/platform/agent/api';
import type { Finding } from '../api.js';

const MIB = 1 << 20;
const PROBE_MS = 10_000;
/** Exchanges whose median is the round trip; the quickest one tells the clocks best. */
const EXCHANGES = 9;
/** A transfer ends at whichever comes first. */
const TRANSFER_BYTES = 4 * MIB;
const TRANSFER_MS = 2000;

/** From where on a figure is a warning, and from where on a fault; docs/runbook.md says why. */
export const LIMITS = {
  /** Difference of two clocks beyond what the measurement leaves open. */
  clockMs: { warn: 100, bad: 1000 },
  /** Median. */
  roundTripMs: { warn: 60, bad: 150 },
  bytesPerS: { warn: MIB, bad: 64 << 10 },
  freeBytes: { warn: 2048 * MIB, bad: 256 * MIB },
} as const;

/** What exchanges of four timestamps tell of one machine. */
export interface Exchanged {
  /** Median time on the way there and back, without the machine's own. */
  readonly roundTripMs: number;
  readonly worstMs: number;
  /** Its clock minus ours, by the quickest exchange. */
  readonly offsetMs: number;
  /** The offset may be wrong by this much either way. */
  readonly uncertainMs: number;
  readonly freeBytes: number;
}

/**
 * Asks a machine several times for its clock. Sent at t0, received there at t1, answered at t2, received at t3: the
 * round trip is (t3 - t0) - (t2 - t1), the offset ((t1 - t0) + (t2 - t3)) / 2, off by half of the round trip at most.
 */
export async function exchange(agent: AgentClient, now: () => number): Promise<Exchanged> {
  const seen: { tripMs: number; offsetMs: number }[] = [];
  let freeBytes = 0;
  // the first one may have to connect
  for (let i = 0; i <= EXCHANGES; i++) {
    const t0 = now();
    const began = performance.now();
    const p = await agent.probe(0, PROBE_MS);
    const tookMs = performance.now() - began;
    freeBytes = p.freeBytes;
    if (i === 0) continue;
    const tripMs = Math.max(0, tookMs - (p.sentAtMs - p.receivedAtMs));
    seen.push({ tripMs, offsetMs: (p.receivedAtMs - t0 + (p.sentAtMs - (t0 + tookMs))) / 2 });
  }
  seen.sort((a, b) => a.tripMs - b.tripMs);
  const [best, middle, worst] = [seen[0], seen[EXCHANGES >> 1], seen.at(-1)];
  if (best === undefined || middle === undefined || worst === undefined) throw new Error('there were exchanges');
  // clocks are read in whole milliseconds
  const uncertainMs = best.tripMs / 2 + 1;
  return { roundTripMs: middle.tripMs, worstMs: worst.tripMs, offsetMs: best.offsetMs, uncertainMs, freeBytes };
}

/** Bytes a second from the machine to here, by at most 4 MiB or 2 s; the wait for the last piece counts. */
export async function bandwidth(agent: AgentClient): Promise<number> {
  const began = performance.now();
  let bytes = 0;
  let tookMs = 0;
  // small pieces first, so that a thin line is not held for long
  for (let want = 16 << 10; bytes < TRANSFER_BYTES && tookMs < TRANSFER_MS; want = Math.min(2 * want, PROBE_BYTES)) {
    const p = await agent.probe(want, PROBE_MS);
    bytes += p.bytes.length;
    tookMs = performance.now() - began;
  }
  return (1000 * bytes) / tookMs;
}

type Grade = Pick<Finding, 'ok' | 'warning'>;

const above = (value: number, l: { readonly warn: number; readonly bad: number }): Grade => ({ ok: value < l.bad, warning: value >= l.warn && value < l.bad }); // prettier-ignore
const below = (value: number, l: { readonly warn: number; readonly bad: number }): Grade => ({ ok: value > l.bad, warning: value <= l.warn && value > l.bad }); // prettier-ignore

/** Round trip, clock and disk of a machine as findings; `name` is `N1 data-1`. */
export function gradeExchange(name: string, e: Exchanged): Finding[] {
  const offMs = Math.max(0, Math.abs(e.offsetMs) - e.uncertainMs);
  const ms = (n: number): string => `${n.toFixed(1)} ms`;
  return [
    {
      name: `${name} round trip`,
      ...above(e.roundTripMs, LIMITS.roundTripMs),
      found: `median ${ms(e.roundTripMs)}, worst ${ms(e.worstMs)} of ${String(EXCHANGES)}`,
      next: `a switch takes several round trips: put N2 nearer to N1, or raise nxnw:migration.switch.stallBudgetMs (warned from ${String(LIMITS.roundTripMs.warn)} ms)`,
    },
    {
      name: `${name} clock`,
      ...above(offMs, LIMITS.clockMs),
      found: `${e.offsetMs >= 0 ? 'ahead' : 'behind'} by ${ms(Math.abs(e.offsetMs))} ± ${ms(e.uncertainMs)}`,
      next: `let the machines take their time from the same NTP servers (warned from ${String(LIMITS.clockMs.warn)} ms)`,
    },
    {
      name: `${name} disk`,
      ...below(e.freeBytes, LIMITS.freeBytes),
      found: `${String(Math.floor(e.freeBytes / MIB))} MiB free`,
      next: `free some or enlarge it (warned below ${String(LIMITS.freeBytes.warn / MIB)} MiB)`,
    },
  ];
}

export function gradeBandwidth(name: string, bytesPerS: number): Finding {
  return {
    name: `${name} bandwidth`,
    ...below(bytesPerS, LIMITS.bytesPerS),
    found: `${(bytesPerS / MIB).toFixed(2)} MiB/s to N2`,
    next: `the load takes its size over this; N1's log must fit through it too (warned below ${String(LIMITS.bytesPerS.warn / MIB)} MiB/s)`,
  };
}
