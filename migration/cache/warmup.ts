import { tmpdir } from 'node:os';
import { NxnwError } from '@nxnw/platform/errors';
import type { CacheAddress } from './connection.js';
import { showAddress } from './connection.js';
import { Lane } from './lane.js';
import type { CacheEvent, LaneOptions, LaneStatus } from './lane.js';
import type { Warmth } from './warmth.js';

export interface CacheWarmupOptions {
  /** M1: the memcached whose applications serve. */
  readonly source: CacheAddress;
  /** M2. */
  readonly target: CacheAddress;
  /**
   * How it begins. A coordinator that comes back after the switch must say `invalidate`: `copy` would write M1's values
   * over those of N2's serving applications. @default 'copy'
   */
  readonly mode?: 'copy' | 'invalidate';
  /** Keys worked on at once. @default 32 */
  readonly copiers?: number;
  /** Keys that may wait; with more, a full pass is needed. @default 50000 */
  readonly queueKeys?: number;
  /** Full passes: keys a second at most. @default null (no limit) */
  readonly passKeysPerS?: number | null;
  /** @default 25 */
  readonly markerEveryMs?: number;
  /** After a turn the first full pass waits so long. @default 10000 */
  readonly turnedRestMs?: number;
  /** How often flush_all, restarts and dropped lines are looked for. @default 250 */
  readonly pollEveryMs?: number;
  /** A request without answer for so long breaks its connection. @default 5000 */
  readonly timeoutMs?: number;
  /** How long a key that was just copied is believed to be on M2. @default 30000 */
  readonly syncedForMs?: number;
  /** How many such keys are remembered. @default 100000 */
  readonly syncedKeys?: number;
  /** For the list of keys of a full pass. @default the system's temporary folder */
  readonly spoolDir?: string;
  /** Picks samples. @default Math.random */
  readonly random?: () => number;
  readonly onEvent?: (e: CacheEvent) => void;
  /** Ends everything. */
  readonly signal?: AbortSignal;
}

/** Of the time, for full passes after a turn: right after a switch, when everything is busy. The way back can wait. */
const TURNED_SHARE = 0.1;
const TURNED_REST_MS = 10_000;

/**
 * Keeps one memcached (M2) like another (M1) whose applications serve, without being in the way of any request, and
 * without ever leaving a stale value on M2 once M2's applications serve. Both are stock memcached >= 1.6.18.
 *
 * Why a copy cannot be stale for good. memcached writes a key's line to the watch log while it holds the key's lock;
 * what is read after the line was seen is the state that the line told of, or a newer one. Each line makes the key wait
 * for a copier; there is one copier per key; all writes to M2 go over one connection and are done in its order (see
 * CacheServer for broken connections). So the last write to M2 for a key carries a state of M1 not older than the key's
 * last line. Lines can be lost; all ways of losing them are noticed (watcher's skips, workers' drops, gaps in our own
 * markers, broken connections, a full queue of ours), and each makes M2 "not whole" until a full pass that began
 * afterwards has ended. The copier's second look at M1's version makes a full pass safe against a copy that was already
 * under way when the pass began.
 *
 * The switch, in this order. (1) No copy starts any more; those under way are waited for, and if M2's connection broke
 * under one, for the moment from which it can no longer be done late. From here on nothing of ours writes a value to
 * M2. (2) If M2 is not whole, it is emptied. (3) Each key heard of is from now on taken away from M2, also those that
 * were waiting for a copier. (4) A fence: all that M1 answered before has been heard and done, or M2 has been emptied.
 * Only then does `invalidate` answer, and only then may N2's applications serve. Afterwards N1's applications, while
 * they drain, can only make entries of M2 vanish, `lagMs` after they changed them. Lost lines, a flush or a restart of
 * M1 in that time empty M2. Nothing but a removal is ever sent, so a value written by N2's applications cannot be
 * overwritten with an older one.
 */
export class CacheWarmup {
  private source: CacheAddress;
  private target: CacheAddress;
  private lane: Lane;
  private closed = false;

  constructor(private readonly options: CacheWarmupOptions) {
    this.source = options.source;
    this.target = options.target;
    this.lane = this.make(options.mode ?? 'copy', { passShare: 1, passesFromMs: 0 });
    options.signal?.addEventListener('abort', () => void this.close(), { once: true });
  }

  private make(mode: LaneOptions['mode'], passes: Pick<LaneOptions, 'passShare' | 'passesFromMs'>): Lane {
    const o = this.options;
    if (showAddress(this.source) === showAddress(this.target))
      throw new NxnwError('CACHE_OPTIONS', `source and target are the same memcached, ${showAddress(this.source)}`);
    return new Lane({
      source: this.source,
      target: this.target,
      mode,
      copiers: o.copiers ?? 32,
      queueKeys: o.queueKeys ?? 50_000,
      passKeysPerS: o.passKeysPerS ?? null,
      ...passes,
      markerEveryMs: o.markerEveryMs ?? 25,
      pollEveryMs: o.pollEveryMs ?? 250,
      timeoutMs: o.timeoutMs ?? 5000,
      syncedForMs: o.syncedForMs ?? 30_000,
      syncedKeys: o.syncedKeys ?? 100_000,
      spoolDir: o.spoolDir ?? tmpdir(),
      random: o.random ?? Math.random,
      onEvent: o.onEvent ?? (() => undefined),
    });
  }

  /** CACHE_UNREACHABLE, CACHE_LATE_WRITES or CACHE_UNSUITABLE, and closed, when a server is not usable by then. */
  start(deadlineMs: number): Promise<void> {
    return this.lane.start(deadlineMs);
  }

  /** Resolves once a full pass has ended and nothing was missed since. */
  awaitWhole(deadlineMs: number): Promise<void> {
    return this.lane.awaitWhole(deadlineMs);
  }

  /** All that M1 answered before the call is on M2 (or, in invalidate mode, taken from it). */
  fence(deadlineMs: number): Promise<void> {
    return this.lane.fence(deadlineMs);
  }

  /**
   * The switch from copying to invalidating, to be awaited before any application of N2 serves; can be repeated. When
   * it throws on the first call, copying goes on and N2 must not serve; on a later one, invalidating goes on.
   */
  async invalidate(deadlineMs: number): Promise<{ readonly flushed: boolean }> {
    const before = this.lane.flushes;
    await this.lane.invalidate(deadlineMs);
    return { flushed: this.lane.flushes > before };
  }

  /** Back from invalidating to copying in the same direction, for a switch that was called off. N2 must not serve. */
  follow(): void {
    this.lane.follow();
  }

  /**
   * Turns the direction, for the way back: M2 becomes the source. Only after `invalidate`, when N1's applications have
   * drained (the caller has measured it): they would find M1's entries overwritten with N2's.
   */
  async turn(deadlineMs: number): Promise<void> {
    if (this.lane.mode !== 'invalidate')
      throw new NxnwError('CACHE_TURN_REFUSED', `the direction turns in mode invalidate only, it is ${this.lane.mode}; switch first`); // prettier-ignore
    await this.lane.fence(deadlineMs);
    await this.lane.close();
    [this.source, this.target] = [this.target, this.source];
    const restMs = this.options.turnedRestMs ?? TURNED_REST_MS;
    this.lane = this.make('copy', { passShare: TURNED_SHARE, passesFromMs: Date.now() + restMs });
    if (this.closed) return;
    await this.lane.start(deadlineMs);
  }

  /** `passes`: the bulk only. `all`: following too; then `resume` begins with a full pass. CACHE_PAUSE_REFUSED after the switch. */
  pause(what: 'passes' | 'all'): void {
    if (what === 'all') this.lane.pause();
    else this.lane.holdPasses();
  }

  resume(): void {
    this.lane.resume();
  }

  /** Keys a second for full passes; null for no limit. */
  throttle(keysPerS: number | null): void {
    this.lane.setPassRate(keysPerS);
  }

  /** Compares a sample of the keys that M1's applications use. @default 200 keys */
  warmth(most = 200): Promise<Warmth> {
    return this.lane.warmth(most);
  }

  status(): CacheWarmupStatus {
    return { source: showAddress(this.source), target: showAddress(this.target), ...this.lane.status() };
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.lane.close();
  }
}

export interface CacheWarmupStatus extends LaneStatus {
  readonly source: string;
  readonly target: string;
}

export function createCacheWarmup(options: CacheWarmupOptions): CacheWarmup {
  return new CacheWarmup(options);
}
