import { setMaxListeners } from 'node:events';
import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import { setTimeout as delay } from 'node:timers/promises';
import { Condition } from './condition.js';
import type { CacheAddress } from './connection.js';
import { Follower } from './follower.js';
import { SyncedKeys, invalidate, mirror, sameItem } from './mirror.js';
import { fullPass } from './pass.js';
import type { PassProgress } from './pass.js';
import { keyToken } from './protocol.js';
import type { CacheKey } from './protocol.js';
import { HitRate, look, pendingFlushS, since } from './pulse.js';
import type { Look } from './pulse.js';
import { KeyQueue } from './queue.js';
import type { Heard } from './queue.js';
import { CacheServer } from './server.js';
import { FIRST_STATE, isWhole, step } from './state.js';
import type { LaneAct, LaneEvent, LaneMode, LaneState } from './state.js';
import { Throttle } from './throttle.js';

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

export interface Warmth {
  /** Keys looked at that M1 holds. */
  readonly sampled: number;
  readonly present: number;
  readonly equal: number;
}

export interface LaneCounts {
  heard: number;
  copied: number;
  removed: number;
  unchanged: number;
  refused: number;
  unnameable: number;
  errors: number;
  passes: number;
  losses: number;
  flushes: number;
  sourceRestarts: number;
  targetRestarts: number;
  droppedLines: number;
}

const RECENT_KEYS = 4096;
const PASS_RETRY_MS = 500;

/** One direction of one pair of memcached processes. What it does when is decided in state.ts. */
export class Lane {
  private state: LaneState;
  private readonly stop = new AbortController();
  private readonly source: CacheServer;
  private readonly target: CacheServer;
  private readonly follower: Follower;
  private readonly queue: KeyQueue;
  private readonly synced: SyncedKeys;
  private readonly throttle: Throttle;
  private readonly changes = new Condition();
  private readonly bulk = new Set<CacheKey>();
  private readonly recent: CacheKey[] = [];
  private readonly hitRates = { source: new HitRate(), target: new HitRate() };
  private looks: { source?: Look; target?: Look } = {};
  private looking: Promise<void> = Promise.resolve();
  private active = 0;
  private paused = false;
  private flushing: Promise<void> | undefined;
  private flushAgain = false;
  private scheduledFlushAtMs: number | null = null;
  private passAbort: AbortController | undefined;
  private passing: Promise<void> = Promise.resolve();
  private running: Promise<unknown> = Promise.resolve();
  progress: PassProgress | null = null;
  lastError: Error | undefined;
  lastLoss: string | undefined;
  readonly counts: LaneCounts = {
    heard: 0,
    copied: 0,
    removed: 0,
    unchanged: 0,
    refused: 0,
    unnameable: 0,
    errors: 0,
    passes: 0,
    losses: 0,
    flushes: 0,
    sourceRestarts: 0,
    targetRestarts: 0,
    droppedLines: 0,
  };

  constructor(private readonly options: LaneOptions) {
    const { timeoutMs, copiers, queueKeys } = options;
    const signal = this.stop.signal;
    setMaxListeners(0, signal); // one or two for each wait, and those are bounded
    this.state = { ...FIRST_STATE, mode: options.mode };
    this.queue = new KeyQueue(queueKeys);
    this.synced = new SyncedKeys(options.syncedKeys, options.syncedForMs);
    this.throttle = new Throttle(options.passKeysPerS);
    this.source = new CacheServer({
      ...{ address: options.source, timeoutMs, signal, ordered: false },
      onConnected: () => {
        this.follower.beat();
        this.pump();
      },
      onLost: (e) => {
        this.follower.forgetOwn();
        this.lost(e.message);
      },
    });
    this.target = new CacheServer({
      ...{ address: options.target, timeoutMs, signal, ordered: true },
      onConnected: () => this.pump(),
      onLost: (e) => this.note('cache.targetLost', { reason: e.message }),
    });
    this.follower = new Follower({
      ...{ source: this.source, signal, timeoutMs, markerEveryMs: options.markerEveryMs },
      onKey: (key, type) => this.heard(key, type === 'stored'),
      onLost: (reason) => this.lost(reason),
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
      await this.pollNow();
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
    if (keyToken(key) === null) {
      this.counts.unnameable += 1;
      if (this.state.mode !== 'copy') this.lost('a key that cannot be named was used');
      return;
    }
    if (this.recent.length < RECENT_KEYS) this.recent.push(key);
    else this.recent[Math.floor(this.options.random() * RECENT_KEYS)] = key;
    if (this.queue.add(key, { stored, heardAtMs: Date.now() })) this.pump();
    else this.lost('the queue of keys is full');
  }

  /** Starts copiers while there is work for them. */
  private pump(): void {
    const mayWork = () =>
      this.state.mode !== 'closing' && this.source.connected && this.target.connected && !this.stop.signal.aborted;
    while (this.active < this.options.copiers && mayWork()) {
      const next = this.queue.take();
      if (!next) break;
      this.active += 1;
      void this.work(next.key, next.heard).finally(() => {
        this.active -= 1;
        this.changes.changed();
        this.pump();
      });
    }
  }

  private async work(key: CacheKey, heard: Heard): Promise<void> {
    const again = (heardAtMs: number) => {
      if (!this.queue.add(key, { heardAtMs, stored: true })) this.lost('the queue of keys is full');
    };
    try {
      const outcome =
        this.state.mode === 'copy'
          ? await mirror(this.source, this.target, key, this.synced)
          : await invalidate(this.source, this.target, key, heard.stored);
      // What was heard is on the target; what has been written since is another matter.
      if (outcome === 'moving') return again(Date.now());
      this.counts[outcome] += 1;
      this.bulk.delete(key);
    } catch (e) {
      if (hasCode(e, 'CACHE_LOST')) return again(heard.heardAtMs);
      this.counts.errors += 1;
      this.lastError = asError(e);
      this.bulk.delete(key);
      // What the target holds under the key is not known; without it, it is a miss.
      await this.target.remove(key).catch(() => this.lost('a key could neither be written nor removed'));
    } finally {
      this.queue.done(key);
    }
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
        offer: (key) => this.offer(key, signal),
        settled: () => this.changes.until(() => this.bulk.size === 0, 'the copiers', Infinity, signal),
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
      this.bulk.clear();
      if (!this.stop.signal.aborted) this.dispatch({ type: 'passEnded', complete });
    }
  }

  private async offer(key: CacheKey, signal: AbortSignal): Promise<void> {
    if (keyToken(key) === null) {
      this.counts.unnameable += 1;
      return;
    }
    await this.throttle.take(signal);
    const room = () => this.bulk.size < this.options.copiers;
    await this.changes.until(room, 'a copier', Infinity, signal);
    this.bulk.add(key);
    if (this.recent.length < RECENT_KEYS) this.recent.push(key);
    while (!this.queue.add(key, { stored: false, heardAtMs: Date.now() }))
      await this.changes.until(() => this.queue.size < this.options.queueKeys, 'room in the queue', Infinity, signal);
    this.pump();
  }

  private async poll(): Promise<void> {
    const signal = this.stop.signal;
    while (!signal.aborted) {
      if (this.source.connected && this.target.connected)
        await this.pollNow().catch((e: unknown) => (this.lastError = asError(e)));
      await delay(this.options.pollEveryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** A look that begins after the call; one at a time, so that they are compared in order. */
  private pollNow(): Promise<void> {
    const next = this.looking.then(() => this.lookNow());
    this.looking = next.catch(() => undefined);
    return next;
  }

  /** One look at both servers' counters: what the log does not tell. */
  private async lookNow(): Promise<void> {
    const [source, target] = await Promise.all([look(this.source), look(this.target)]);
    const before = this.looks;
    this.looks = { source, target };
    this.hitRates.source.add(source);
    this.hitRates.target.add(target);
    const there = before.source ? since(before.source, source) : null;
    if (there?.restarted) {
      this.counts.sourceRestarts += 1;
      this.scheduledFlushAtMs = null;
      this.lost('the source was restarted');
    }
    if (there && there.dropped > 0) {
      this.counts.droppedLines += there.dropped;
      this.lost(`${there.dropped} lines dropped by the source's workers`);
    }
    if (there?.flushed) this.sourceFlushed('flush_all');
    if (!there || there.flushed) {
      const aheadS = await pendingFlushS(this.source, source.uptimeS);
      this.scheduledFlushAtMs = aheadS === null ? null : Date.now() + aheadS * 1000;
    }
    if (this.scheduledFlushAtMs !== null && Date.now() >= this.scheduledFlushAtMs) {
      this.scheduledFlushAtMs = null;
      this.sourceFlushed('flush_all ordered earlier');
    }
    const here = before.target ? since(before.target, target) : null;
    if (here?.restarted) this.counts.targetRestarts += 1;
    if (here && (here.restarted || here.flushed)) {
      this.synced.clear();
      this.note('cache.targetEmptied');
      this.dispatch({ type: 'targetEmptied' });
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
    await this.pollNow();
    const handled = () => (this.queue.oldestMs() ?? Infinity) > heardBy && this.flushing === undefined;
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
        await this.changes.until(() => this.active === 0, 'copies in flight', deadlineMs, this.stop.signal);
        await this.target.ready(deadlineMs);
        this.dispatch({ type: 'closed' });
        this.pump();
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
    this.pump();
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
    this.queue.clear();
  }

  resume(): void {
    this.paused = false;
    this.dispatch({ type: 'releasePasses' });
    this.pump();
  }

  setPassRate(keysPerS: number | null): void {
    this.throttle.set(keysPerS);
  }

  /** Compares up to `most` keys that M1's applications used lately (or that a pass has met). */
  async warmth(most: number): Promise<Warmth> {
    const keys = new Set<CacheKey>();
    for (let tries = 0; tries < most * 4 && keys.size < Math.min(most, this.recent.length); tries++)
      keys.add(this.recent[Math.floor(this.options.random() * this.recent.length)] ?? '');
    const seen = { sampled: 0, present: 0, equal: 0 };
    for (const key of keys) {
      let now = await this.compare(key);
      for (let again = 0; again < 3 && now !== 'equal' && this.queue.has(key); again++) {
        const soon = Date.now() + this.options.timeoutMs;
        await this.changes.until(() => !this.queue.has(key), 'a copier', soon, this.stop.signal);
        now = await this.compare(key);
      }
      if (now === 'gone') continue;
      seen.sampled += 1;
      if (now !== 'missing') seen.present += 1;
      if (now === 'equal') seen.equal += 1;
    }
    return seen;
  }

  private async compare(key: CacheKey): Promise<'gone' | 'missing' | 'different' | 'equal'> {
    const [there, here] = await Promise.all([this.source.read(key), this.target.read(key)]);
    if (!there) return 'gone';
    if (!here) return 'missing';
    return sameItem(there, here) ? 'equal' : 'different';
  }

  /** Why one of the two is not connected at present. */
  private connectionError(): Error | undefined {
    return [this.target, this.source].find((s) => !s.connected && s.lastError !== undefined)?.lastError;
  }

  status() {
    const oldest = this.queue.oldestMs();
    return {
      mode: this.state.mode,
      whole: this.whole,
      /** The target is being emptied and may hold stale values until this is done. */
      flushPending: this.flushing !== undefined,
      paused: this.paused,
      passesHeld: this.state.passesHeld,
      queued: this.queue.size,
      inFlight: this.queue.inFlight,
      lagMs: this.follower.delayMs + (oldest === null ? 0 : Date.now() - oldest),
      pass: this.progress,
      lines: this.follower.lines,
      skippedLines: this.follower.lostLines,
      watches: this.follower.connects,
      items: { source: this.looks.source?.items ?? null, target: this.looks.target?.items ?? null },
      hitRate: { source: this.hitRates.source.value, target: this.hitRates.target.value },
      lastError: (this.connectionError() ?? this.lastError)?.message ?? null,
      lastLoss: this.lastLoss ?? null,
      counts: { ...this.counts },
    };
  }
}

export type LaneStatus = ReturnType<Lane['status']>;
