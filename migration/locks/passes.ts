import { hasCode } from '@nxnw/platform/errors';
import type { NxnwError } from '@nxnw/platform/errors';
import { Applier } from './applier.js';
import type { Look, Looked } from './applier.js';
import type { Refused } from './batch-writer.js';
import { Counters } from './counters.js';
import { DirtySet } from './dirty.js';
import type { Dirty } from './dirty.js';
import { LagSamples } from './lag.js';
import type { MirrorOptions, Progress } from './mirror-types.js';
import { parentOf } from './nodes.js';
import { Walk } from './walk.js';

const TARGET_CHUNK_BYTES = 8 << 20;
const MIN_CHUNK = 8;
const MAX_CHUNK = 1024;
const SCRUB_CHUNK = 64;
const SCRUB_PAUSE_MS = 1000;
const MAX_ATTEMPTS = 5;
const MAX_STUCK = 1000;

/** `full` covers everything, `part` one subtree: both go as fast as they can. `scrub` goes on slowly for ever. */
export type WalkKind = 'full' | 'part' | 'scrub';

/** The work of a mirror, in pieces of bounded size: changed paths, walks, sequence numbers. Pieces run one by one. */
export class Passes {
  readonly dirty: DirtySet;
  readonly counters: Counters;
  readonly lag = new LagSamples();
  /** Nodes that the receiver refuses. */
  readonly stuck = new Map<string, NxnwError>();
  /** Changes that the scrub made though no event told of them. */
  repairs = 0;
  fullCompares = 0;
  progress: Progress = { done: 0, total: 0, ratePerS: 0 };
  /** Entries taken from `dirty` and not done yet. */
  working: Dirty[] = [];
  /** The receiver is written by its own clients already: walks only create what is missing there. */
  gentle = false;
  /** And its clients draw sequence numbers while those of the source do. */
  bothDraw = false;
  private walk: { readonly nodes: Walk; readonly kind: WalkKind; readonly startedMs: number } | null = null;
  /** The walk's last chunk, written while the next one is read. */
  private writing: Promise<Refused[]> | null = null;
  private readonly applier: Applier;
  private chunk = 64;
  private scrubAtMs = 0;
  private clockAheadMs = 0;

  constructor(
    private readonly o: MirrorOptions,
    private readonly eventsMissing: () => boolean,
  ) {
    this.dirty = new DirtySet(o.maxDirty);
    this.applier = new Applier(o);
    this.counters = new Counters({
      ...o,
      applier: this.applier,
      // While events may be missing, any number of children may still have to be created.
      pending: (path) => (eventsMissing() ? Infinity : this.dirty.createsUnder(path)),
      mayMakeAnew: () => !this.gentle,
      bothDraw: () => this.bothDraw,
      clockAheadMs: () => this.clockAheadMs,
    });
  }

  /** True while a walk runs that covers what events did not tell. */
  get walksFast(): boolean {
    return this.walk !== null && this.walk.kind !== 'scrub';
  }

  /** Milliseconds until a scrub goes on; null = there is none. */
  get scrubInMs(): number | null {
    return this.walk?.kind === 'scrub' ? this.scrubAtMs - performance.now() : null;
  }

  dropScrub(): void {
    if (!this.walksFast) this.walk = null;
  }

  dropWalk(): void {
    this.walk = null;
  }

  /** After a failure: ends what is being written and puts the entries back. */
  async recover(): Promise<void> {
    const { writing } = this;
    this.writing = null;
    // Its failure is that of the connection, which is known.
    await writing?.catch(() => undefined);
    for (const entry of this.working.splice(0)) this.dirty.restore({ ...entry, attempts: entry.attempts - 1 });
  }

  /** Forgets what waits, for another mode. */
  clear(): void {
    this.dirty.clear();
    this.counters.clear();
    this.walk = null;
    this.gentle = false;
    this.bothDraw = false;
  }

  /** Brings both servers up to date, measures their clocks and begins to compare everything. */
  async beginFull(mode: 'follow' | 'drain'): Promise<void> {
    const { from, to, marks, marker, roots } = this.o;
    await this.finishWriting();
    await Promise.all([from.sync(), to.sync(), marks.load()]);
    const now = Buffer.from(String(Date.now()));
    const sourceMs = (await from.set(marker, now)).mtimeMs;
    this.clockAheadMs = sourceMs - (await to.set(marker, now)).mtimeMs;
    if (this.eventsMissing()) return;
    if (mode === 'follow') this.startWalk('full', roots);
    else {
      for (const path of marks.paths()) this.dirty.add(path, false, performance.now());
      this.fullCompares++;
    }
  }

  startScrub(): void {
    if (this.walk === null) this.startWalk('scrub', this.o.roots);
  }

  private startWalk(kind: WalkKind, roots: readonly string[]): void {
    this.walk = { nodes: new Walk(this.o.from, this.o.to, roots), kind, startedMs: performance.now() };
  }

  /** Looks at the paths that changed, oldest first. */
  async round(mode: 'follow' | 'drain'): Promise<void> {
    await this.finishWriting();
    const entries = this.dirty.take(this.chunk);
    this.working = entries;
    const looks = entries.map((d) => ({ path: d.path, onTo: true, alone: d.attempts > 0 }));
    const seen = await (mode === 'follow' ? this.applier.look(looks) : this.applier.lookToDrain(looks));
    const bad = new Map((await this.applier.write(seen)).map((r) => [r.change.path, r]));
    this.working = [];
    const nowMs = performance.now();
    for (const d of entries) {
      const r = bad.get(d.path);
      bad.delete(d.path);
      if (r) this.refuse(r, d);
      else {
        this.stuck.delete(d.path);
        this.lag.add(nowMs - d.sinceMs);
      }
      if (!d.created || mode !== 'follow') continue;
      this.counters.seen(d.path);
      this.counters.due(parentOf(d.path), d.seq);
    }
    for (const r of bad.values()) this.refuse(r, unasked(r, nowMs));
    const made = new Set(entries.filter((d) => d.created).map((d) => d.path));
    for (const l of seen.looked)
      if ((l.changed || made.has(l.path)) && l.drewNumbers && mode === 'follow') this.counters.due(l.path, 0);
    this.fitChunk(seen.looked);
  }

  /** Compares the next nodes of the walk; true = there was something to do now. */
  async walkOn(): Promise<boolean> {
    const { walk } = this;
    if (walk === null || (walk.kind === 'scrub' && performance.now() < this.scrubAtMs)) return false;
    const items = await walk.nodes.next(walk.kind === 'scrub' ? Math.min(SCRUB_CHUNK, this.chunk) : this.chunk);
    if (items.length === 0) {
      await this.finishWriting();
      if (walk.kind === 'full') this.fullCompares++;
      if (this.walk === walk) this.walk = null;
      this.scrubAtMs = performance.now() + SCRUB_PAUSE_MS;
      return true;
    }
    const ends: string[] = [];
    const looks: Look[] = [];
    for (const item of items) {
      if (item.end === undefined) looks.push({ path: item.path, onTo: item.onTo, alone: false });
      else ends.push(item.end);
    }
    const all = await this.applier.look(looks);
    const seen = this.gentle ? { ...all, changes: all.changes.filter((c) => c.creates) } : all;
    await this.finishWriting();
    this.writing = this.applier.write(seen);
    // Awaited later; a failure must not count as unheard until then.
    this.writing.catch(() => undefined);
    for (const l of seen.looked) {
      this.stuck.delete(l.path);
      this.counters.seen(l.path);
      if (l.changed && walk.kind === 'scrub' && !this.dirty.has(l.path)) this.repairs++;
      if (l.children > 0) walk.nodes.enter(l.path, l.children);
      else if (l.drewNumbers) ends.push(l.path);
    }
    this.fitChunk(seen.looked);
    if (walk.kind === 'scrub' || ends.length > 0) await this.settle(ends);
    if (walk.kind === 'scrub') this.scrubAtMs = performance.now() + (items.length * 1000) / this.o.scrubNodesPerS;
    else this.report(walk.nodes, walk.startedMs);
    return true;
  }

  private report(walk: Walk, startedMs: number): void {
    const ratePerS = (walk.done * 1000) / (performance.now() - startedMs);
    this.progress = { done: walk.done, total: walk.discovered, ratePerS };
    this.o.progress?.(this.progress);
  }

  private async finishWriting(): Promise<void> {
    const { writing } = this;
    if (writing === null) return;
    this.writing = null;
    for (const r of await writing) this.refuse(r, unasked(r, performance.now()));
  }

  /** Settles sequence numbers that are due. */
  settleDue(): Promise<void> {
    return this.settle(this.counters.next(MAX_CHUNK));
  }

  private async settle(paths: readonly string[]): Promise<void> {
    await this.finishWriting();
    for (const path of await this.counters.settle(paths))
      if (this.walk && this.walk.kind !== 'scrub') this.walk.nodes.revisit(path);
      else this.startWalk('part', [path]);
  }

  /** Again later, or given up until the next change or scrub. A missing parent is looked at first. */
  private refuse(r: Refused, entry: Dirty): void {
    const { path } = entry;
    if (entry.attempts + 1 < MAX_ATTEMPTS) {
      if (hasCode(r.error, 'NO_NODE') && !this.o.roots.includes(path))
        this.dirty.restore({ ...entry, path: parentOf(path), created: true });
      // also where no event told of the create: it will raise the parent's number
      this.dirty.restore({ ...entry, created: entry.created || r.change.creates });
    } else if (this.stuck.size < MAX_STUCK || this.stuck.has(path)) this.stuck.set(path, r.error);
  }

  private fitChunk(looked: readonly Looked[]): void {
    const bytes = looked.reduce((n, l) => n + l.dataBytes, 0);
    const fits = Math.floor((TARGET_CHUNK_BYTES * looked.length) / Math.max(1, bytes));
    this.chunk = Math.max(MIN_CHUNK, Math.min(MAX_CHUNK, this.chunk * 2, looked.length > 0 ? fits : MAX_CHUNK));
  }
}

/** An entry for a path that no event named; barriers wait for it. */
function unasked(r: Refused, nowMs: number): Dirty {
  return { path: r.change.path, seq: 0, sinceMs: nowMs, created: true, attempts: 0 };
}
