import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { isUnknown } from './batch-writer.js';
import { Conditions } from './conditions.js';
import type { CaughtUp, MirrorMode, MirrorOptions, MirrorStatus } from './mirror-types.js';
import { Passes } from './passes.js';

const PROBE_MS = 1000;
const IDLE_MS = 1000;

/**
 * One direction of the lock sync: a single loop that looks at what changed at `from` and makes `to` like it. Changed
 * paths come from persistent recursive watches; every (re)connect is a full compare; a slow scrub goes on for ever.
 */
export class Mirror {
  private readonly passes: Passes;
  private readonly armed = new Set<string>();
  private readonly conditions = new Conditions(() => this.wakeUp());
  private readonly offs: (() => void)[] = [];
  /** Events may be missing: everything must be compared. */
  private fullNeeded = true;
  private mode: MirrorMode = 'off';
  private paused = false;
  private stopped = false;
  /** When the source was last known to have nothing that the receiver has not. */
  private caughtUpMs = performance.now();
  private probing = false;
  private wakeUp: () => void = () => undefined;
  private ended: Promise<void> = Promise.resolve();
  private readonly prober: NodeJS.Timeout;

  constructor(private readonly o: MirrorOptions) {
    this.passes = new Passes(o, () => this.fullNeeded);
    this.prober = setInterval(() => void this.probe(), PROBE_MS);
  }

  /** Sets the watches and begins with a full compare. */
  async start(mode: 'follow' | 'drain'): Promise<void> {
    this.mode = mode;
    for (const zk of [this.o.from, this.o.to]) await zk.createRecursive(this.o.marker);
    this.offs.push(
      this.o.to.on('disconnected', () => this.distrust()),
      this.o.to.on('connected', () => this.wakeUp()),
    );
    for (const root of this.o.roots)
      this.offs.push(
        await this.o.from.watch(root, 'subtree', {
          event: (e) => {
            if (this.mode === 'drain' && !this.o.marks.has(e.path)) return;
            this.passes.dirty.add(e.path, e.type === 'created', performance.now());
            this.wakeUp();
          },
          armed: () => {
            this.armed.add(root);
            this.distrust();
          },
          lost: () => {
            this.armed.delete(root);
            this.distrust();
          },
        }),
      );
    this.ended = this.run();
  }

  /** Changes what the mirror does; resolves when it has ended what it was doing. Begins with a full compare. */
  async setMode(mode: 'follow' | 'drain', deadlineMs: number): Promise<void> {
    if (this.mode === mode) return;
    this.mode = mode;
    this.distrust();
    const turnEnded = () => true;
    await this.conditions.until(turnEnded, deadlineMs, () => this.tooSlow(deadlineMs));
    this.passes.clear();
    this.distrust();
  }

  /**
   * With `on`, only what events tell of is overwritten or removed at the receiver: there is no scrub, and a full
   * compare only creates what is missing. For the time in which both sides are written.
   */
  setGentle(on: 'on' | 'off'): void {
    if (this.passes.gentle === (on === 'on')) return;
    this.passes.gentle = on === 'on';
    if (on === 'on') return this.passes.dropScrub();
    this.passes.bothDraw = false;
    this.distrust();
  }

  /** Until the turn ends, the receiver's sequence numbers lead; `caughtUp` waits for it. */
  lead(): void {
    this.passes.bothDraw = true;
    this.passes.counters.leadDue();
    this.wakeUp();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.wakeUp();
  }

  private distrust(): void {
    this.fullNeeded = true;
    this.passes.dropWalk();
    this.wakeUp();
  }

  private get ready(): boolean {
    const { from, to, roots } = this.o;
    return !this.paused && from.isConnected && to.isConnected && this.armed.size === roots.length;
  }

  private async run(): Promise<void> {
    let failures = 0;
    while (!this.stopped) {
      this.conditions.check();
      try {
        const busy = this.ready && (await this.step());
        failures = 0;
        if (!busy) await this.sleep((this.ready ? this.passes.scrubInMs : null) ?? IDLE_MS);
      } catch (e) {
        await this.passes.recover();
        if (this.stopped) return;
        if (this.endedBy(e)) return;
        this.distrust();
        await this.sleep(Math.min(5000, 50 * 2 ** failures++));
      }
    }
    await this.passes.recover();
  }

  /** Tells of the error; true = the mirror cannot go on. */
  private endedBy(e: unknown): boolean {
    const error = e instanceof NxnwError ? e : new NxnwError('INTERNAL', `lock sync: ${String(e)}`, {}, e);
    this.stopped = hasCode(e, 'FENCED', 'CLIENT_CLOSED') || !(e instanceof NxnwError);
    if (this.stopped) this.conditions.fail(error);
    this.o.failed(error, this.stopped ? 'fatal' : 'goesOn');
    return this.stopped;
  }

  /** One turn of the loop; false = nothing was to do. */
  private async step(): Promise<boolean> {
    const { passes } = this;
    const mode = this.mode === 'drain' ? 'drain' : 'follow';
    if (passes.dirty.overflowed) {
      passes.dirty.clear();
      this.distrust();
    }
    if (this.fullNeeded) {
      // Cleared first: a connection lost from here on sets it again.
      this.fullNeeded = false;
      await passes.beginFull(mode);
    }
    let busy = false;
    if (passes.dirty.size > 0) {
      busy = true;
      await passes.round(mode);
    }
    if (mode === 'drain') return busy;
    if (await passes.walkOn()) busy = true;
    if (passes.counters.size > 0 && !this.fullNeeded && !passes.walksFast) {
      busy = true;
      await passes.settleDue();
    }
    if (this.o.scrubNodesPerS > 0 && !this.fullNeeded && !passes.gentle) passes.startScrub();
    return busy;
  }

  /** Until something happens, at most `ms`. */
  private async sleep(ms: number): Promise<void> {
    await new Promise<void>((ok) => {
      const timer = setTimeout(ok, Math.max(1, ms));
      this.wakeUp = () => {
        clearTimeout(timer);
        ok();
      };
    });
    this.wakeUp = () => undefined;
  }

  /**
   * Waits until the receiver has everything that the source has now. `acls` = ACL changes too, of which ZooKeeper
   * sends no events: that takes a full compare. Fails with DEADLINE_EXCEEDED, or with what ended the mirror.
   */
  async caughtUp(what: 'events' | 'acls', deadlineMs: number): Promise<CaughtUp> {
    const endMs = performance.now() + deadlineMs;
    const point = await this.mark(endMs);
    // The answer came after the events of all earlier changes.
    const seq = this.passes.dirty.lastSeq;
    if (what === 'acls') this.distrust();
    const leftMs = endMs - performance.now();
    await this.conditions.until(
      () => this.has(seq),
      leftMs,
      () => this.tooSlow(deadlineMs),
    );
    return point;
  }

  /** Writes the marker, again after each lost connection: only the last one counts. */
  private async mark(endMs: number): Promise<CaughtUp> {
    for (;;) {
      try {
        const atMs = Date.now();
        const { mzxid } = await this.o.from.set(this.o.marker, Buffer.from(String(atMs)));
        return { zxid: mzxid, atMs };
      } catch (e) {
        if (!hasCode(e, 'CONNECTION_LOSS', 'SESSION_EXPIRED', 'DEADLINE_EXCEEDED') || performance.now() > endMs)
          throw e;
      }
    }
  }

  private has(seq: number): boolean {
    const { dirty, counters, working, walksFast } = this.passes;
    if (this.fullNeeded || walksFast || working.length > 0 || dirty.overflowed) return false;
    return !dirty.hasUpTo(seq) && !counters.hasUpTo(seq);
  }

  private tooSlow(deadlineMs: number): NxnwError {
    const { state, dirty, lagMs } = this.status();
    return new NxnwError(
      'DEADLINE_EXCEEDED',
      `the lock sync did not catch up in ${Math.round(deadlineMs)} ms: ${state}, ${dirty} changes wait, lag ${Math.round(lagMs)} ms`,
      { state, dirty, lagMs },
    );
  }

  /** Proves now and then that events arrive: a write at the source, whose answer comes behind them. */
  private async probe(): Promise<void> {
    if (this.probing || this.stopped || !this.ready) return;
    this.probing = true;
    const sentMs = performance.now();
    try {
      await this.caughtUp('events', 60_000);
      this.caughtUpMs = sentMs;
    } catch (e) {
      // No proof: the lag grows, which is what this measures.
      if (!isUnknown(e) && !this.stopped && e instanceof NxnwError) this.o.failed(e, 'goesOn');
    } finally {
      this.probing = false;
    }
  }

  status(): MirrorStatus {
    const { passes } = this;
    const nowMs = performance.now();
    const oldest = passes.working[0]?.sinceMs ?? passes.dirty.oldestMs();
    const proofMs = nowMs - this.caughtUpMs;
    const state = this.state();
    const current = state === 'following' && proofMs < 3 * PROBE_MS;
    return {
      mode: this.mode,
      state,
      progress: passes.progress,
      fullCompares: passes.fullCompares,
      dirty: passes.dirty.size + passes.working.length,
      lagMs: current ? (oldest === undefined ? 0 : nowMs - oldest) : proofMs,
      lagP50Ms: passes.lag.percentile(0.5),
      lagP99Ms: passes.lag.percentile(0.99),
      marks: this.o.marks.size,
      stuck: [...passes.stuck].map(([path, e]) => ({ path, code: e.code, message: e.message })),
      repairs: passes.repairs,
      countersAhead: passes.counters.aheadCount,
    };
  }

  private state(): MirrorStatus['state'] {
    if (this.stopped) return 'stopped';
    if (this.paused) return 'paused';
    if (!this.ready) return 'waiting';
    return this.fullNeeded || this.passes.walksFast ? 'copying' : 'following';
  }

  /** Ends the loop after what it is doing; nothing is undone. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.prober);
    this.wakeUp();
    // Events are heard to the end: what is being done may count the children that wait to be created.
    await this.ended;
    for (const off of this.offs.splice(0)) off();
    this.conditions.fail(new NxnwError('CLIENT_CLOSED', 'the lock sync has stopped'));
  }
}
