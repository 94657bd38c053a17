import { setMaxListeners } from 'node:events';
import { NxnwError, asError } from '@nxnw/platform/errors';
import { setTimeout as delay } from 'node:timers/promises';
import { Condition } from './condition.js';
import type { CacheAddress } from './connection.js';
import { Follower } from './follower.js';
import { Copiers } from './copiers.js';
import { SyncedKeys } from './mirror.js';
import { fullPass } from './pass.js';
import type { PassProgress } from './pass.js';
import type { CacheKey } from './protocol.js';
import { Pulse } from './pulse.js';
import { CacheServer } from './server.js';
import { FIRST_STATE, isWhole, step } from './state.js';
import type { LaneAct, LaneEvent, LaneMode, LaneState } from './state.js';
import { Throttle } from './throttle.js';
import { LiveKeys, measureWarmth } from './warmth.js';
import type { Warmth } from './warmth.js';

/** Compiled options: every value given. */
export interface LaneOptions {
  readonly source: CacheAddress;
  readonly target: CacheAddress;
  /** How it begins. */
  readonly mode: 'copy' | 'invalidate';
  readonly copiers: number;
  readonly queueKeys: number;
  readonly syncedKeys: number;
  readonly syncedForMs: number;
  readonly passKeysPerS: number | null;
  /** Of the time, for full passes. */
  readonly passShare: number;
  /** No full pass begins before this, milliseconds since 1970. */
  readonly passesFromMs: number;
  readonly markerEveryMs: number;
  readonly pollEveryMs: number;
  readonly timeoutMs: number;
  readonly spoolDir: string;
  readonly random: () => number;
  readonly onEvent: (e: CacheEvent) => void;
}

/** For the log; `fields` hold no key and no value. */
export interface CacheEvent {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

const PASS_RETRY_MS = 500;
/** While copying, the keys heard of are looked at with each fourth beat: in one write, and each once. */
const PUMP_BEATS = 4;

/** One direction of one pair of memcached processes. What it does when is decided in state.ts. */
export class Lane {
  private state: LaneState;
  private readonly stop = new AbortController();
  private readonly source: CacheServer;
  private readonly target: CacheServer;
  private readonly follower: Follower;
  private readonly copiers: Copiers;
  private readonly pulse: Pulse;
  private readonly synced: SyncedKeys;
  private readonly throttle: Throttle;
  private readonly live: LiveKeys;
  private readonly changes = new Condition();
  private paused = false;
  private flushing: Promise<void> | undefined;
  private flushAgain = false;
  private beats = 0;
  private passAbort: AbortController | undefined;
  private passing: Promise<void> = Promise.resolve();
  private running: Promise<unknown> = Promise.resolve();
  private progress: PassProgress | null = null;
  private lastError: Error | undefined;
  private lastLoss: string | undefined;
  private readonly counts = { heard: 0, passes: 0, losses: 0, flushes: 0 };

  constructor(private readonly options: LaneOptions) {
    const { timeoutMs, copiers, queueKeys } = options;
    const signal = this.stop.signal;
    setMaxListeners(0, signal); // one or two for each wait, and those are bounded
    this.state = { ...FIRST_STATE, mode: options.mode };
    this.live = new LiveKeys(options.random);
    this.synced = new SyncedKeys(options.syncedKeys, options.syncedForMs);
    this.throttle = new Throttle(options.passKeysPerS, options.passShare);
    this.source = new CacheServer({
      ...{ address: options.source, timeoutMs, signal, ordered: false },
      onConnected: () => {
        this.follower.mark();
        this.copiers.pump();
      },
      onLost: (e) => {
        this.follower.forgetOwn();
        this.lost(e.message);
      },
    });
    this.target = new CacheServer({
      ...{ address: options.target, timeoutMs, signal, ordered: true },
      onConnected: () => this.copiers.pump(),
      onLost: (e) => this.note('cache.targetLost', { reason: e.message }),
    });
    this.follower = new Follower({
      ...{ source: this.source, signal, timeoutMs, markerEveryMs: options.markerEveryMs },
      onKey: (key, type) => this.heard(key, type === 'stored'),
      onBeat: () => {
        if (++this.beats % PUMP_BEATS === 0) this.copiers.pump();
      },
      onLost: (reason) => this.lost(reason),
    });
    const servers = { source: this.source, target: this.target };
    this.copiers = new Copiers({
      ...{ ...servers, synced: this.synced, copiers, queueKeys, changes: this.changes, signal },
      mode: () => this.state.mode,
      onLost: (reason) => this.lost(reason),
      onError: (e) => (this.lastError = e),
    });
    this.pulse = new Pulse({
      ...servers,
      onLost: (reason) => this.lost(reason),
      onSourceFlushed: (reason) => this.sourceFlushed(reason),
      onTargetEmptied: () => {
        this.synced.clear();
        this.note('cache.targetEmptied');
        this.dispatch({ type: 'targetEmptied' });
      },
    });
    if (copiers < 1 || queueKeys < copiers)
      throw new NxnwError(
        'CACHE_OPTIONS',
        `copiers is ${copiers}, queueKeys ${queueKeys}: need 1 <= copiers <= queueKeys`,
      );
  }

  get mode(): LaneMode {
    return this.state.mode;
  }
  get whole(): boolean {
    return isWhole(this.state) && this.flushing === undefined;
  }

  /** Begins; CACHE_UNREACHABLE or CACHE_UNSUITABLE when one of the two servers does not come up by the deadline. */
  async start(deadlineMs: number): Promise<void> {
    const servers = Promise.all([this.source.run(), this.target.run()]);
    this.running = servers;
    try {
      await Promise.all([this.source.ready(deadlineMs), this.target.ready(deadlineMs)]);
      // A flush is noticed by comparing: the first look must lie before the first pass.
      await this.pulse.now();
    } catch (e) {
      await this.close();
      throw e;
    }
    this.running = Promise.all([servers, this.follower.run(), this.poll()]);
  }

  async close(): Promise<void> {
    this.stop.abort();
    this.passAbort?.abort();
    await this.running;
    await Promise.all([this.flushing, this.passing]);
  }

  private note(event: string, fields: Record<string, unknown> = {}): void {
    this.options.onEvent({ event, fields });
  }

  private dispatch(e: LaneEvent): void {
    const was = this.state;
    const next = step(was, e);
    this.state = next.state;
    if (was.mode !== next.state.mode) this.note('cache.mode', { mode: next.state.mode });
    for (const act of next.acts) this.act(act);
    this.changes.changed();
  }

  private act(act: LaneAct): void {
    if (act === 'flushTarget') this.flushTarget();
    else if (act === 'stopPass') this.passAbort?.abort();
    else this.passing = this.pass();
  }

  private lost(reason: string): void {
    if (this.stop.signal.aborted || this.paused) return;
    this.counts.losses += 1;
    this.lastLoss = reason;
    if (isWhole(this.state)) this.note('cache.lost', { reason });
    this.dispatch({ type: 'lost' });
  }

  private heard(key: CacheKey, stored: boolean): void {
    if (this.paused) return;
    this.counts.heard += 1;
    this.live.used(key);
    this.copiers.heard(key, stored);
  }

  /** Empties the target, however long it takes to reach it. A wish during a flush makes another one. */
  private flushTarget(): void {
    this.flushAgain = true;
    this.flushing ??= (async () => {
      while (this.flushAgain && !this.stop.signal.aborted) {
        this.flushAgain = false;
        try {
          await this.target.ready(Date.now() + this.options.timeoutMs);
          await this.target.flush();
          this.synced.clear();
          this.counts.flushes += 1;
          this.note('cache.flushed');
        } catch (e) {
          this.lastError = asError(e);
          this.flushAgain = true;
          await delay(50, undefined, { signal: this.stop.signal }).catch(() => undefined);
        }
      }
      this.flushing = undefined;
      this.changes.changed();
    })();
  }

  private async pass(): Promise<void> {
    const abort = new AbortController();
    this.passAbort = abort;
    const signal = AbortSignal.any([abort.signal, this.stop.signal]);
    setMaxListeners(0, signal);
    const { options } = this;
    let complete = false;
    try {
      await delay(Math.max(0, options.passesFromMs - Date.now()), undefined, { signal });
      await this.flushing;
      await Promise.all([this.source, this.target].map((s) => s.ready(Date.now() + options.timeoutMs)));
      await fullPass({
        ...{
          source: this.source,
          target: this.target,
          spoolDir: options.spoolDir,
          timeoutMs: options.timeoutMs,
          signal,
        },
        onProgress: (p) => (this.progress = p),
        offer: async (key) => {
          await this.throttle.take(signal);
          this.live.met(key);
          await this.copiers.offer(key, signal);
        },
        settled: () => this.copiers.settled(signal),
      });
      complete = true;
      this.counts.passes += 1;
    } catch (e) {
      if (!signal.aborted) {
        this.lastError = asError(e);
        this.note('cache.passFailed', { reason: this.lastError.message });
        await delay(PASS_RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    } finally {
      this.progress = null;
      this.copiers.forgetOffered();
      if (!this.stop.signal.aborted) this.dispatch({ type: 'passEnded', complete });
    }
  }

  private async poll(): Promise<void> {
    const signal = this.stop.signal;
    while (!signal.aborted) {
      if (this.source.connected && this.target.connected)
        await this.pulse.now().catch((e: unknown) => (this.lastError = asError(e)));
      await delay(this.options.pollEveryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  private sourceFlushed(reason: string): void {
    this.counts.losses += 1;
    this.lastLoss = reason;
    this.note('cache.sourceFlushed', { reason });
    this.dispatch({ type: 'sourceFlushed' });
  }

  /**
   * Resolves when every command that the source answered before the call has had its effect on the target: its key
   * mirrored (or, in invalidate mode, taken away), or the target flushed. CACHE_TIMEOUT, CACHE_FENCE_TIMEOUT or
   * CACHE_LOST otherwise. Milliseconds since 1970.
   */
  async fence(deadlineMs: number): Promise<void> {
    await this.follower.fence(deadlineMs);
    const heardBy = Date.now();
    await Promise.all([this.source, this.target].map((s) => s.ready(deadlineMs)));
    await this.pulse.now();
    const handled = () => (this.copiers.oldestMs() ?? Infinity) > heardBy && this.flushing === undefined;
    await this.changes.until(handled, 'the heard keys to be handled', deadlineMs, this.stop.signal);
  }

  /** See CacheWarmup.invalidate. */
  async invalidate(deadlineMs: number): Promise<void> {
    if (this.paused)
      throw new NxnwError('CACHE_PAUSED', 'following is paused, so the target may be stale; resume, then switch');
    const from = this.state.mode;
    try {
      if (from === 'copy') {
        this.dispatch({ type: 'close' });
        await this.changes.until(() => this.copiers.active === 0, 'copies in flight', deadlineMs, this.stop.signal);
        await this.target.ready(deadlineMs);
        this.dispatch({ type: 'closed' });
        this.copiers.pump();
      }
      await this.fence(deadlineMs);
    } catch (e) {
      // Only the call that left the copy mode may go back to it: after an earlier one the target may be serving.
      if (from === 'copy') this.follow();
      throw e;
    }
  }

  /** Back to copying, with a full pass; the target must not be serving. */
  follow(): void {
    this.dispatch({ type: 'copy' });
    this.copiers.pump();
  }

  async awaitWhole(deadlineMs: number): Promise<void> {
    await this.changes.until(() => this.whole, 'a full pass without losses', deadlineMs, this.stop.signal);
  }

  holdPasses(): void {
    this.dispatch({ type: 'holdPasses' });
  }

  /** Stops following too: what happens meanwhile is lost, so `resume` begins with a full pass. */
  pause(): void {
    if (this.state.mode !== 'copy')
      throw new NxnwError('CACHE_PAUSE_REFUSED', `following cannot be paused in mode ${this.state.mode}: N2 would serve stale values`); // prettier-ignore
    this.lost('paused');
    this.holdPasses();
    this.paused = true;
    this.copiers.forgetWaiting();
  }

  resume(): void {
    this.paused = false;
    this.dispatch({ type: 'releasePasses' });
    this.copiers.pump();
  }

  setPassRate(keysPerS: number | null): void {
    this.throttle.set(keysPerS);
  }

  /** Compares up to `most` keys that M1's applications used lately (or that a pass has met). */
  warmth(most: number): Promise<Warmth> {
    const quiet = (key: string) => () => !this.copiers.has(key);
    const soon = () => Date.now() + this.options.timeoutMs;
    return measureWarmth(this.source, this.target, this.live.pick(most), {
      isBusy: (key) => this.copiers.has(key),
      until: (key) => this.changes.until(quiet(key), 'a copier', soon(), this.stop.signal),
    });
  }

  /** How often the target was emptied. */
  get flushes(): number {
    return this.counts.flushes;
  }

  /** Why one of the two is not connected at present. */
  private connectionError(): Error | undefined {
    return [this.target, this.source].find((s) => !s.connected && s.lastError !== undefined)?.lastError;
  }

  status() {
    const oldest = this.copiers.oldestMs();
    return {
      mode: this.state.mode,
      whole: this.whole,
      /** The target is being emptied and may hold stale values until this is done. */
      flushPending: this.flushing !== undefined,
      paused: this.paused,
      passesHeld: this.state.passesHeld,
      queued: this.copiers.waiting,
      inFlight: this.copiers.active,
      lagMs: this.follower.delayMs + (oldest === null ? 0 : Date.now() - oldest),
      pass: this.progress,
      lines: this.follower.lines,
      skippedLines: this.follower.lostLines,
      watches: this.follower.connects,
      items: this.pulse.items,
      hitRate: { source: this.pulse.hitRates.source.value, target: this.pulse.hitRates.target.value },
      lastError: (this.connectionError() ?? this.lastError)?.message ?? null,
      lastLoss: this.lastLoss ?? null,
      counts: { ...this.counts, ...this.copiers.counts, ...this.pulse.counts },
    };
  }
}

export type LaneStatus = ReturnType<Lane['status']>;
