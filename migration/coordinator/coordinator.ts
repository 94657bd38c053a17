import { setTimeout as sleep } from 'node:timers/promises';
import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import type { JournalEvent } from './api.js';
import { switchGates } from './gates.js';
import type { Seen } from './gates.js';
import type { Journal } from './journal.js';
import { Observer } from './observe.js';
import { performBack, performDns, performFinalize, performForward, performUndo } from './perform.js';
import { actKey, acts, desired } from './plan.js';
import type { Act, Desired } from './plan.js';
import type { Engines } from './ports.js';
import { performReach } from './reach.js';
import { routeOf } from './state.js';
import type { Facts, MigrationState } from './state.js';
import { step } from './step.js';
import type { CoordinatorEvent } from './step.js';

export interface CoordinatorParts {
  readonly journal: Journal;
  readonly engines: Engines;
  readonly state: MigrationState;
  readonly now: () => number;
  readonly log: (event: string, fields: Readonly<Record<string, unknown>>) => void;
  /** The process has to end: it was fenced, or its journal cannot be written. */
  readonly fatal: (e: Error) => void;
  readonly writeReport: () => Promise<Facts>;
  readonly verifyEveryMs: number;
}

const LEVEL_MS = 1000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;
const MAX_WAITING = 200;

interface Lane {
  readonly key: string;
  readonly abort: AbortController;
}

/**
 * Runs a migration: takes events one after another through `step`, journals the new state, and then acts as the state
 * says. It may be killed at any moment; its successor reads the journal and does the same acts again.
 */
export class Coordinator {
  private current: MigrationState;
  private tail: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  private readonly lanes = new Map<string, Lane>();
  private readonly applied = new Map<string, string>();
  private readonly listeners = new Set<(e: JournalEvent) => void>();
  private readonly stopping = new AbortController();
  private wake: () => void = () => undefined;
  private loops: Promise<unknown> = Promise.resolve();
  readonly observer: Observer;

  constructor(private readonly p: CoordinatorParts) {
    this.current = p.state;
    this.observer = new Observer({
      engines: p.engines,
      state: () => this.current,
      tell: (e) => this.tell(e),
      trouble: (where, e) => this.trouble(where, e),
      now: p.now,
      verifyEveryMs: p.verifyEveryMs,
    });
  }

  get state(): MigrationState {
    return this.current;
  }

  get seen(): Seen {
    return this.observer.seen;
  }

  get engines(): Engines {
    return this.p.engines;
  }

  start(): void {
    this.loops = Promise.all([this.observer.run(this.stopping.signal), this.levels()]);
    this.schedule();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    for (const l of this.lanes.values()) l.abort.abort();
    this.wake();
    await this.loops;
    await this.tail.catch(() => undefined);
    await this.p.engines.close();
  }

  /** Hears of journal events as they are written. */
  onEvent(f: (e: JournalEvent) => void): () => void {
    this.listeners.add(f);
    return () => void this.listeners.delete(f);
  }

  /**
   * Takes one event. Answers the state when it is journalled; throws a command's refusal, which changes nothing.
   * At most 200 wait; more are refused with RESOURCE_EXHAUSTED.
   */
  tell(event: CoordinatorEvent): Promise<MigrationState> {
    if (this.waiting >= MAX_WAITING)
      return Promise.reject(new NxnwError('RESOURCE_EXHAUSTED', `${MAX_WAITING} events wait already; ask again later`));
    this.waiting++;
    const result = this.tail.then(() => this.take(event));
    this.tail = result.catch(() => undefined);
    return result.finally(() => this.waiting--);
  }

  private async take(event: CoordinatorEvent): Promise<MigrationState> {
    const { state, entries } = step(this.current, event);
    if (state === this.current && entries.length === 0) return state;
    let events: readonly JournalEvent[];
    try {
      events = await this.p.journal.write(state, entries, event.nowMs);
    } catch (e) {
      this.p.fatal(asError(e));
      throw e;
    }
    this.current = state;
    for (const e of events) {
      this.p.log(e.what, { actor: e.actor, text: e.text, number: e.number });
      for (const f of [...this.listeners]) f(e);
    }
    this.schedule();
    this.wake();
    return state;
  }

  /** Starts the acts that the state asks for, one at a time in each lane, and stops those that it no longer asks for. */
  private schedule(): void {
    if (this.stopping.signal.aborted) return;
    const wanted = new Map<string, Act>();
    for (const a of acts(this.current)) wanted.set(laneOf(a), a);
    for (const [name, lane] of this.lanes) {
      const a = wanted.get(name);
      if (a === undefined || actKey(a) !== lane.key) lane.abort.abort();
    }
    for (const [name, a] of wanted) {
      if (this.lanes.has(name)) continue;
      const lane = { key: actKey(a), abort: new AbortController() };
      this.lanes.set(name, lane);
      void this.run(a, lane.abort.signal).finally(() => {
        this.lanes.delete(name);
        this.schedule();
      });
    }
  }

  private async run(a: Act, signal: AbortSignal): Promise<void> {
    try {
      const pauseMs = pauseBefore(this.current, a);
      if (pauseMs > 0) await sleep(pauseMs, undefined, { signal });
      await this.p.journal.check();
      signal.throwIfAborted();
      const facts = await this.perform(a, signal);
      if (!signal.aborted) await this.tell({ type: 'finished', act: a, facts, nowMs: this.p.now() });
    } catch (e) {
      if (hasCode(e, 'FENCED')) this.p.fatal(e);
      else if (!signal.aborted) await this.failed(a, e);
    }
  }

  private async failed(a: Act, e: unknown): Promise<void> {
    const error = asError(e);
    const code = e instanceof NxnwError ? e.code : 'INTERNAL';
    this.p.log('act.failed', { act: actKey(a), code, message: error.message, stack: error.stack });
    try {
      await this.tell({ type: 'failed', act: a, error: { code, message: error.message }, nowMs: this.p.now() });
    } catch (again) {
      // The journal could not be written, which ends the process; anything else must not pass in silence.
      this.p.fatal(asError(again));
    }
  }

  private async perform(a: Act, signal: AbortSignal): Promise<Facts> {
    const c = {
      state: this.current,
      engines: this.p.engines,
      signal,
      now: this.p.now,
      gates: (apps: readonly string[]) => switchGates(this.current, apps, this.seen, this.p.now()),
    };
    switch (a.kind) {
      case 'reach': {
        await this.lease();
        const seen = (app: string) => this.seen.apps[app];
        return performReach({ ...c, seen, look: () => this.observer.look() }, a.phase);
      }
      case 'undo':
        await performUndo(c, a);
        return {};
      case 'forward':
        return performForward(c, a);
      case 'back':
        return performBack(c, a);
      case 'dns':
        return performDns(c, a);
      case 'finalize':
        return performFinalize(c, a, this.p.writeReport);
    }
  }

  private lease(): Promise<void> {
    return this.p.engines.source.lease(`source of the migration to ${this.current.target}`);
  }

  /** Makes the levels so, again and again: what failed is tried in the next round. */
  private async levels(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const woken = new Promise<void>((ok) => (this.wake = ok));
      for (const d of desired(this.current)) await this.level(d);
      const rest = new AbortController();
      await Promise.race([woken, sleep(LEVEL_MS, undefined, { signal: rest.signal }).catch(() => undefined)]);
      rest.abort();
    }
  }

  private async level(d: Desired): Promise<void> {
    const { data, locks, cache } = this.p.engines;
    // A follower that has given up is started again, once the fence says that this coordinator still leads.
    if (d.locks !== 'off' && !locks.status(d.app).running) this.applied.delete(`${d.app} locks`);
    if (d.cache !== 'off' && !cache.status(d.app).running) this.applied.delete(`${d.app} cache`);
    await this.once(`${d.app} locks`, d.locks, () => locks.set(d.app, d.locks));
    await this.once(`${d.app} cache`, d.cache, () => cache.set(d.app, d.cache));
    const intent = d.data;
    if (intent !== null) await this.once(`${d.app} data`, intent, () => data.setIntent(d.app, intent));
    // The act that undoes DataFollow stops the following.
    else this.applied.delete(`${d.app} data`);
  }

  private async once(what: string, value: unknown, set: () => Promise<void>): Promise<void> {
    const text = JSON.stringify(value);
    if (this.applied.get(what) === text) return;
    try {
      await this.p.journal.check();
      await set();
      this.applied.set(what, text);
    } catch (e) {
      if (hasCode(e, 'FENCED')) this.p.fatal(e);
      else this.trouble(what, e);
    }
  }

  private trouble(where: string, e: unknown): void {
    const error = asError(e);
    this.p.log('trouble', { where, message: error.message, stack: error.stack });
  }
}

/** Acts of one lane follow one another; a new one waits until the old one has ended. */
function laneOf(a: Act): string {
  switch (a.kind) {
    case 'reach':
    case 'undo':
      return a.phase;
    case 'forward':
    case 'back':
      return `app ${a.app}`;
    case 'dns':
      return 'DnsHandoff';
    case 'finalize':
      return 'Finalize';
  }
}

function pauseBefore(s: MigrationState, a: Act): number {
  const of = (): number => {
    if (a.kind === 'forward' || a.kind === 'back') {
      const r = routeOf(s, a.app);
      return r.at === 'forward' || r.at === 'back' ? r.tries : 0;
    }
    const phase = a.kind === 'dns' ? 'DnsHandoff' : a.kind === 'finalize' ? 'Finalize' : a.phase;
    const p = s.phases[phase];
    return p.at === 'running' || p.at === 'undoing' ? p.tries : 0;
  };
  const tries = of();
  return tries === 0 ? 0 : Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (tries - 1));
}
