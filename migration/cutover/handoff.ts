import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError } from '@nxnw/platform/errors';
import {
  drainStep,
  isDone,
  isDrained,
  longestTtlS,
  noteBefore,
  oldTtlGoneAtMs,
  pointing,
  retimed,
  sideOf,
} from './decide.js';
import type { DrainState, Found, LoweredNote, SetChange, Side, SideAddresses } from './decide.js';
import { absoluteName } from './dns.js';
import type { DnsDriver } from './dns.js';

/** Where the note of the old TTL lies; it must outlive the process. */
export interface NoteStore {
  load(): Promise<LoweredNote | null>;
  /** Durable when it answers; null removes it. */
  save(note: LoweredNote | null): Promise<void>;
}

export interface Clock {
  nowMs(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  nowMs: Date.now,
  sleep: (ms, signal) => delay(ms, undefined, { signal }),
};

export interface DnsHandoffOptions {
  readonly driver: DnsDriver;
  /** The clients' name. */
  readonly name: string;
  /** While the name may move. */
  readonly ttlSeconds: number;
  /** After the move is final. */
  readonly restoreTtlSeconds: number;
  readonly addresses: SideAddresses;
  readonly notes: NoteStore;
  /** @default the system's */
  readonly clock?: Clock;
  /** Longest time for one step's change to reach every authoritative server. @default 600000 */
  readonly syncMs?: number;
}

/**
 * The hand-over of a DNS name from N1's edge to N2's and back. Its steps, in order: `lowerTtl`, `waitOldTtl`, `pointAt`,
 * `awaitDrain`, and once the move is final `restoreTtl`. Each can be repeated, also by another process after a crash:
 * what is done already is recognised by what the zone says, and only the TTL of before, which the zone forgets, is noted
 * ahead. What to do is decided in decide.ts.
 */
export class DnsHandoff {
  private readonly name: string;
  private readonly clock: Clock;
  private readonly stop = new AbortController();

  constructor(private readonly options: DnsHandoffOptions) {
    this.name = absoluteName(options.name);
    this.clock = options.clock ?? systemClock;
    const { source, target } = options.addresses;
    if (source.length === 0 || target.length === 0)
      throw new NxnwError(
        'DNS_CONFIG',
        `the name ${this.name} needs an address on both sides; N1 has ${source.length}, N2 ${target.length}`,
      );
  }

  /** Lowers the record's TTL ahead; answers the TTL in seconds that resolvers may hold, counted from now. */
  async lowerTtl(): Promise<{ readonly oldTtlS: number }> {
    const { ttlSeconds, notes, addresses } = this.options;
    const found = await this.found();
    const note = noteBefore(this.name, found, ttlSeconds, await notes.load());
    const changes = retimed(this.name, found, addresses, Math.min(ttlSeconds, note.oldTtlS));
    if (note.loweredAtMs === null) await notes.save(note);
    if (!isDone(changes) || note.loweredAtMs === null) {
      await this.make(changes);
      const loweredAtMs = this.clock.nowMs();
      await notes.save({ ...note, loweredAtMs });
      return { oldTtlS: note.oldTtlS };
    }
    const left = (oldTtlGoneAtMs(note) ?? 0) - this.clock.nowMs();
    return { oldTtlS: Math.max(0, Math.ceil(left / 1000)) };
  }

  /** Until no resolver can hold the record with the TTL that `lowerTtl` found. DNS_NOT_LOWERED without it. */
  async waitOldTtl(signal: AbortSignal): Promise<void> {
    const note = await this.options.notes.load();
    const until = note?.name === this.name ? oldTtlGoneAtMs(note) : null;
    if (until === null)
      throw new NxnwError('DNS_NOT_LOWERED', `the TTL of ${this.name} has not been lowered yet; lower it first`);
    const left = until - this.clock.nowMs();
    if (left > 0) await this.clock.sleep(left, signal);
  }

  /**
   * Points the name at the side's edge; resolves when every authoritative server says so. DNS_CONFLICT or DNS_FOREIGN
   * when the record is not one of ours: nothing is changed then.
   */
  async pointAt(side: Side): Promise<{ readonly propagationMs: number }> {
    const began = this.clock.nowMs();
    const found = await this.found();
    const { addresses, ttlSeconds } = this.options;
    const ttlS = Math.min(ttlSeconds, longestTtlS(found) || ttlSeconds);
    await this.make(pointing(this.name, found, addresses, side, ttlS));
    return { propagationMs: this.clock.nowMs() - began };
  }

  /**
   * Until no request has come to N1's edge for as long as a resolver may hold the old record. `requestsAtN1` counts what
   * N1's edge has received since it started. Answers false when there is still traffic after `atMostMs` (clients that
   * keep addresses longer than they may): N1's edge must then go on forwarding.
   */
  async awaitDrain(
    requestsAtN1: () => Promise<number>,
    o: { readonly atMostMs: number; readonly everyMs: number; readonly signal: AbortSignal },
  ): Promise<{ readonly drained: boolean; readonly arrived: number }> {
    const ttlS = await this.ttlS();
    let state: DrainState | null = null;
    for (;;) {
      state = drainStep(state, { atMs: this.clock.nowMs(), requests: await requestsAtN1() });
      const arrived = state.last.requests - state.first.requests;
      if (isDrained(state, ttlS)) return { drained: true, arrived };
      if (state.last.atMs - state.first.atMs > o.atMostMs) return { drained: false, arrived };
      await this.clock.sleep(o.everyMs, o.signal);
    }
  }

  /** Gives the record the TTL for quiet times, wherever it points, and forgets the note. */
  async restoreTtl(): Promise<void> {
    const { addresses, restoreTtlSeconds, notes } = this.options;
    const found = await this.found();
    await this.make(retimed(this.name, found, addresses, restoreTtlSeconds));
    await notes.save(null);
  }

  /** The side to which the name leads; null for neither. */
  async pointsAt(): Promise<Side | null> {
    return sideOf(await this.found(), this.options.addresses);
  }

  /** Seconds that resolvers may hold the record as it is now. */
  async ttlS(): Promise<number> {
    return longestTtlS(await this.found());
  }

  /** Ends what is waiting. */
  close(): void {
    this.stop.abort();
    this.options.driver.close();
  }

  private deadline(): number {
    return Date.now() + (this.options.syncMs ?? 600_000);
  }

  private async found(): Promise<Found> {
    const { driver } = this.options;
    const [A, AAAA] = await Promise.all([
      driver.read(this.name, 'A', this.deadline()),
      driver.read(this.name, 'AAAA', this.deadline()),
    ]);
    return { A, AAAA };
  }

  private async make(changes: readonly SetChange[]): Promise<void> {
    const deadlineMs = this.deadline();
    for (const c of changes) {
      const change = await this.options.driver.change(c.expected, c.wanted, deadlineMs);
      await this.options.driver.awaitInSync(change, deadlineMs, this.stop.signal);
    }
  }
}
