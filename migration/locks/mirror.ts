import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { Applier } from './applier.js';
import { isUnknown } from './batch-writer.js';
import type { Refused } from './batch-writer.js';
import { Conditions } from './conditions.js';
import { Counters } from './counters.js';
import { DirtySet } from './dirty.js';
import type { Dirty } from './dirty.js';
import { LagSamples } from './lag.js';
import type { CaughtUp, MirrorMode, MirrorOptions, MirrorStatus } from './mirror-types.js';
import { parentOf } from './nodes.js';
import { Walk } from './walk.js';

const TARGET_CHUNK_BYTES = 8 << 20;
const MIN_CHUNK = 8;
const MAX_CHUNK = 256;
const MAX_ATTEMPTS = 5;
const MAX_STUCK = 1000;
const PROBE_MS = 1000;

/**
 * One direction of the lock sync: a single loop that looks at what changed at `from` and makes `to` like it. Changed
 * paths come from persistent recursive watches; every (re)connect is a full compare; a slow scrub goes on for ever.
 */
export class Mirror {
  private readonly dirty: DirtySet;
  private readonly applier: Applier;
  private readonly lag = new LagSamples();
  private readonly armed = new Set<string>();
  private readonly counters: Counters;
  private readonly stuck = new Map<string, NxnwError>();
  private readonly conditions = new Conditions(() => this.wakeUp());
  private readonly offs: (() => void)[] = [];
  private working: Dirty[] = [];
  private walk: Walk | null = null;
  /** `full` covers everything, `part` one subtree; both run at full speed and hold barriers back. */
  private walkKind: 'full' | 'part' | 'scrub' = 'scrub';
  private walkStartedMs = 0;
  private progress = { done: 0, total: 0, ratePerS: 0 };
  private fullNeeded = true;
  private fullCompares = 0;
  private repairs = 0;
  private mode: MirrorMode = 'off';
  private paused = false;
  private stopped = false;
  private chunk = 64;
  private nextScrubMs = 0;
  private clockAheadMs = 0;
  private caughtUpMs = performance.now();
  private probing = false;
  private wakeUp: () => void = () => undefined;
  private ended: Promise<void> = Promise.resolve();
  private readonly prober: NodeJS.Timeout;

  constructor(private readonly o: MirrorOptions) {
    this.dirty = new DirtySet(o.maxDirty);
    this.applier = new Applier(o);
    this.counters = new Counters({
      ...o,
      applier: this.applier,
      // While events may be missing, any number of children may still have to be created.
      pending: (path) => (this.fullNeeded ? Infinity : this.dirty.createsUnder(path)),
      clockAheadMs: () => this.clockAheadMs,
    });
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
            this.dirty.add(e.path, e.type === 'created', performance.now());
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
    this.dirty.clear();
    this.counters.clear();
    this.distrust();
    await this.conditions.until(
      () => true,
      deadlineMs,
      () => this.tooSlow(deadlineMs),
    );
    // What the last turn of the other mode left behind.
    if (mode === 'drain') this.counters.clear();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.wakeUp();
  }

  /** Everything must be compared: events may be missing. */
  private distrust(): void {
    this.fullNeeded = true;
    this.walk = null;
    this.wakeUp();
  }

  private async run(): Promise<void> {
    let failures = 0;
    while (!this.stopped) {
      this.conditions.check();
      const ready = !this.paused && this.o.from.isConnected && this.o.to.isConnected;
      try {
        const busy = ready && this.armed.size === this.o.roots.length && (await this.step());
        failures = 0;
        if (!busy) await this.sleep(ready && this.walk ? this.nextScrubMs - performance.now() : 1000);
      } catch (e) {
        for (const entry of this.working) this.dirty.restore({ ...entry, attempts: entry.attempts - 1 });
        this.working = [];
        if (this.stopped) return;
        const error = e instanceof NxnwError ? e : new NxnwError('INTERNAL', `lock sync: ${String(e)}`, {}, e);
        if (hasCode(e, 'FENCED', 'CLIENT_CLOSED') || !(e instanceof NxnwError)) {
          this.stopped = true;
          this.conditions.fail(error);
          this.o.failed(error, 'fatal');
          return;
        }
        this.o.failed(error, 'goesOn');
        this.distrust();
        await this.sleep(Math.min(5000, 50 * 2 ** failures++));
      }
    }
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

  /** One turn of the loop; false = nothing was to do. */
  private async step(): Promise<boolean> {
    if (this.dirty.overflowed) {
      this.dirty.clear();
      this.distrust();
    }
    if (this.fullNeeded) await this.beginFull();
    let busy = false;
    if (this.dirty.size > 0) {
      busy = true;
      await this.round();
    }
    if (this.walk && (this.walkKind !== 'scrub' || performance.now() >= this.nextScrubMs)) {
      busy = true;
      await this.walkOn(this.walk);
    }
    if (this.counters.size > 0 && !this.walkHolds()) {
      busy = true;
      await this.settle(this.counters.next(MAX_CHUNK));
    }
    if (!this.walk && this.mode === 'follow' && this.o.scrubNodesPerS > 0) this.startWalk('scrub', this.o.roots);
    return busy;
  }

  private async beginFull(): Promise<void> {
    // Cleared first: a connection lost from here on sets it again.
    this.fullNeeded = false;
    await Promise.all([this.o.from.sync(), this.o.to.sync(), this.o.marks.load()]);
    const now = Buffer.from(String(Date.now()));
    const sourceMs = (await this.o.from.set(this.o.marker, now)).mtimeMs;
    this.clockAheadMs = sourceMs - (await this.o.to.set(this.o.marker, now)).mtimeMs;
    if (this.mode === 'follow') this.startWalk('full', this.o.roots);
    else {
      for (const path of this.o.marks.paths()) this.dirty.add(path, false, performance.now());
      this.fullCompares++;
    }
  }

  private startWalk(kind: 'full' | 'part' | 'scrub', roots: readonly string[]): void {
    this.walk = new Walk(this.o.from, this.o.to, roots);
    this.walkKind = kind;
    this.walkStartedMs = performance.now();
  }

  /** True while a walk runs that a barrier has to wait for. */
  private walkHolds(): boolean {
    return this.fullNeeded || (this.walk !== null && this.walkKind !== 'scrub');
  }

  /** Looks at the paths that changed, oldest first. */
  private async round(): Promise<void> {
    this.working = this.dirty.take(this.chunk);
    const looks = this.working.map((d) => ({ path: d.path, onTo: true, alone: d.attempts > 0 }));
    const { looked, refused } =
      this.mode === 'follow' ? await this.applier.follow(looks) : await this.applier.drain(looks);
    const entries = this.working;
    this.working = [];
    const bad = new Map(refused.map((r) => [r.change.path, r]));
    const nowMs = performance.now();
    for (const d of entries) {
      const r = bad.get(d.path);
      bad.delete(d.path);
      if (r) this.refuse(r, d);
      else {
        this.stuck.delete(d.path);
        this.lag.add(nowMs - d.sinceMs);
      }
      if (d.created && this.mode === 'follow') this.counters.due(parentOf(d.path), d.seq);
    }
    for (const r of bad.values()) this.refuse(r, unasked(r, nowMs));
    const made = new Set(entries.filter((d) => d.created).map((d) => d.path));
    for (const l of looked)
      if ((l.changed || made.has(l.path)) && l.drewNumbers && this.mode === 'follow') this.counters.due(l.path, 0);
    this.fitChunk(looked);
  }

  /** Compares the next nodes of the walk. */
  private async walkOn(walk: Walk): Promise<void> {
    const items = await walk.next(this.walkKind === 'scrub' ? Math.min(64, this.chunk) : this.chunk);
    if (items.length === 0) {
      if (this.walkKind === 'full') this.fullCompares++;
      this.walk = null;
      this.nextScrubMs = performance.now() + 1000;
      return;
    }
    const ends: string[] = [];
    const looks = [];
    for (const item of items) {
      if (item.end === undefined) looks.push({ path: item.path, onTo: item.onTo, alone: false });
      else ends.push(item.end);
    }
    const { looked, refused } = await this.applier.follow(looks);
    const bad = new Set(refused.map((r) => r.change.path));
    for (const r of refused) this.refuse(r, unasked(r, performance.now()));
    for (const l of looked) {
      if (!bad.has(l.path)) this.stuck.delete(l.path);
      if (l.changed && this.walkKind === 'scrub' && !this.dirty.has(l.path)) this.repairs++;
      if (l.hasChildren) walk.enter(l.path);
      else if (l.drewNumbers) ends.push(l.path);
    }
    this.fitChunk(looked);
    await this.settle(ends);
    if (this.walkKind === 'scrub') this.nextScrubMs = performance.now() + (items.length * 1000) / this.o.scrubNodesPerS;
    else {
      const ratePerS = (walk.done * 1000) / (performance.now() - this.walkStartedMs);
      this.progress = { done: walk.done, total: walk.discovered, ratePerS };
      this.o.progress?.(this.progress);
    }
  }

  /** Again later, or given up until the next change or scrub. A missing parent is looked at first. */
  private refuse(r: Refused, entry: Dirty): void {
    const path = entry.path;
    if (entry.attempts + 1 < MAX_ATTEMPTS) {
      if (hasCode(r.error, 'NO_NODE') && !this.o.roots.includes(path))
        this.dirty.restore({ ...entry, path: parentOf(path), created: true });
      this.dirty.restore(entry);
    } else if (this.stuck.size < MAX_STUCK || this.stuck.has(path)) this.stuck.set(path, r.error);
  }

  private async settle(paths: readonly string[]): Promise<void> {
    for (const path of await this.counters.settle(paths))
      if (this.walk && this.walkKind !== 'scrub') this.walk.revisit(path);
      else this.startWalk('part', [path]);
  }

  private fitChunk(looked: readonly { dataBytes: number }[]): void {
    const bytes = looked.reduce((n, l) => n + l.dataBytes, 0);
    const fits = Math.floor((TARGET_CHUNK_BYTES * looked.length) / Math.max(1, bytes));
    this.chunk = Math.max(MIN_CHUNK, Math.min(MAX_CHUNK, this.chunk * 2, fits));
  }

  /**
   * Waits until the receiver has everything that the source has now. `acls` = ACL changes too, of which ZooKeeper
   * sends no events: that takes a full compare. Fails with DEADLINE_EXCEEDED, or with what ended the mirror.
   */
  async caughtUp(what: 'events' | 'acls', deadlineMs: number): Promise<CaughtUp> {
    const endMs = performance.now() + deadlineMs;
    const point = await this.mark(endMs);
    // The answer came after the events of all earlier changes.
    const seq = this.dirty.lastSeq;
    if (what === 'acls') this.distrust();
    await this.conditions.until(
      () => this.has(seq),
      endMs - performance.now(),
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
    if (this.walkHolds() || this.working.length > 0 || this.dirty.overflowed || this.dirty.hasUpTo(seq)) return false;
    return !this.counters.hasUpTo(seq);
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
    if (this.probing || this.stopped || !this.o.from.isConnected || this.armed.size < this.o.roots.length) return;
    this.probing = true;
    const sentMs = performance.now();
    try {
      await this.o.from.set(this.o.marker, Buffer.from(String(Date.now())));
      const seq = this.dirty.lastSeq;
      await this.conditions.until(
        () => this.has(seq),
        60_000,
        () => this.tooSlow(60_000),
      );
      this.caughtUpMs = sentMs;
    } catch (e) {
      // No proof: the lag grows, which is what this measures.
      if (!isUnknown(e) && !this.stopped && e instanceof NxnwError) this.o.failed(e, 'goesOn');
    } finally {
      this.probing = false;
    }
  }

  status(): MirrorStatus {
    const nowMs = performance.now();
    const oldest = this.working[0]?.sinceMs ?? this.dirty.oldestMs();
    const proofMs = nowMs - this.caughtUpMs;
    const current = this.armed.size === this.o.roots.length && !this.walkHolds() && proofMs < 3 * PROBE_MS;
    return {
      mode: this.mode,
      state: this.state(),
      progress: this.progress,
      fullCompares: this.fullCompares,
      dirty: this.dirty.size + this.working.length,
      lagMs: current ? (oldest === undefined ? 0 : nowMs - oldest) : proofMs,
      lagP50Ms: this.lag.percentile(0.5),
      lagP99Ms: this.lag.percentile(0.99),
      marks: this.o.marks.size,
      stuck: [...this.stuck].map(([path, e]) => ({ path, code: e.code, message: e.message })),
      repairs: this.repairs,
      countersAhead: this.counters.aheadCount,
    };
  }

  private state(): MirrorStatus['state'] {
    if (this.stopped) return 'stopped';
    if (this.paused) return 'paused';
    if (!this.o.from.isConnected || !this.o.to.isConnected || this.armed.size < this.o.roots.length) return 'waiting';
    return this.walkHolds() ? 'copying' : 'following';
  }

  /** Ends the loop after what it is doing; nothing is undone. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.prober);
    for (const off of this.offs.splice(0)) off();
    this.wakeUp();
    await this.ended;
    this.conditions.fail(new NxnwError('CLIENT_CLOSED', 'the lock sync has stopped'));
  }
}

/** An entry for a path that no event named; barriers wait for it. */
function unasked(r: Refused, nowMs: number): Dirty {
  return { path: r.change.path, seq: 0, sinceMs: nowMs, created: true, attempts: 0 };
}
