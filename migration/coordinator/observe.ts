import { setTimeout as sleep } from 'node:timers/promises';
import { asError } from '@nxnw/platform/errors';
import { shardName } from '@nxnw/platform/shards/types';
import type { DigestCheck } from '@nxnw/platform/shards/control';
import type { Finding } from './api.js';
import type { AppSeen, Seen } from './gates.js';
import { desired } from './plan.js';
import type { Engines } from './ports.js';
import { isReached, routeOf } from './state.js';
import type { MigrationState } from './state.js';
import type { CoordinatorEvent } from './step.js';

const LOOK_MS = 1000;
const DIGEST_MS = 30_000;
const NAMED_KEYS = 10;
const GUARD_WINDOW_MS = 10_000;
const GUARD_MIN_REQUESTS = 100;

const NOT_SEEN: AppSeen = { shards: [], atMs: 0, verifiedAtMs: null, locks: null, cache: null, app: null };

export interface ObserverParts {
  readonly engines: Engines;
  readonly state: () => MigrationState;
  readonly tell: (event: CoordinatorEvent) => Promise<unknown>;
  readonly trouble: (where: string, e: unknown) => void;
  readonly now: () => number;
  readonly verifyEveryMs: number;
}

interface Sample {
  readonly atMs: number;
  readonly scanned: number;
}

interface EdgeSample {
  readonly atMs: number;
  readonly requests: number;
  readonly responses5xx: number;
}

/** Looks at the engines again and again, keeps what it saw for status and gates, and tells what the state must know. */
export class Observer {
  private readonly apps = new Map<string, AppSeen>();
  private readonly samples = new Map<string, Sample[]>();
  private readonly edges = new Map<string, EdgeSample[]>();
  private readonly generations = new Map<string, number>();
  private readonly unequal = new Set<string>();
  private certificate: Finding | null = null;

  constructor(private readonly p: ObserverParts) {}

  get seen(): Seen {
    return { apps: Object.fromEntries(this.apps), certificate: this.certificate };
  }

  /** Rows scanned at moments of the last minute, oldest first, and the first sample of all. */
  samplesOf(app: string): readonly Sample[] {
    return this.samples.get(app) ?? [];
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.every(LOOK_MS, signal, 'observe', () => this.look()),
      this.every(this.p.verifyEveryMs, signal, 'verify', () => this.verify()),
    ]);
  }

  private async every(ms: number, signal: AbortSignal, where: string, f: () => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      try {
        await f();
      } catch (e) {
        if (!signal.aborted) this.p.trouble(where, e);
      }
      await sleep(ms, undefined, { signal }).catch(() => undefined);
    }
  }

  /** One look at everything; also called by those who cannot wait for the next round. */
  async look(): Promise<void> {
    const s = this.p.state();
    const { engines, now } = this.p;
    this.certificate = await engines.edge.certificate();
    for (const app of s.apps) {
      const shards = await engines.data.status(app);
      const moved = isReached(s.phases.AppSync) || s.phases.AppSync.at === 'running';
      const was = this.apps.get(app) ?? NOT_SEEN;
      this.apps.set(app, {
        shards,
        atMs: now(),
        verifiedAtMs: was.verifiedAtMs,
        locks: engines.locks.status(app),
        cache: engines.cache.status(app),
        app: moved ? await engines.apps.sync(app) : was.app,
      });
      this.sample(app, now());
      await this.generation(app);
      await this.guard(s, app);
    }
  }

  private sample(app: string, atMs: number): void {
    const shards = this.apps.get(app)?.shards ?? [];
    const scanned = shards.reduce((n, x) => n + (x.replica?.scanned ?? 0), 0);
    const list = this.samples.get(app) ?? [];
    const last = list[list.length - 1];
    if (last !== undefined && scanned < last.scanned) list.length = 0;
    list.push({ atMs, scanned });
    while (list.length > 2 && (list[1]?.atMs ?? 0) < atMs - 60_000) list.splice(1, 1);
    this.samples.set(app, list);
  }

  private async generation(app: string): Promise<void> {
    for (const x of this.apps.get(app)?.shards ?? []) {
      const name = shardName(x.shard);
      const was = this.generations.get(name);
      const is = x.replica?.generation ?? 0;
      this.generations.set(name, is);
      if (was === undefined || was === 0 || is <= was) continue;
      await this.p.tell({
        type: 'repaired',
        app,
        text: `shard ${name} is loaded again (generation ${is}): ${x.replica?.error ?? 'its log had been truncated'}`,
        nowMs: this.p.now(),
      });
    }
  }

  /** Compares N2's answers after a switch with the guardrails. */
  private async guard(s: MigrationState, app: string): Promise<void> {
    const route = routeOf(s, app);
    const { minutes, max5xxShare } = s.options.guardrails;
    const { now } = this.p;
    if (route.at !== 'target' || now() - route.sinceMs > minutes * 60_000) {
      this.edges.delete(app);
      return;
    }
    const t = await this.p.engines.edge.traffic('target', app);
    const list = this.edges.get(app) ?? [];
    list.push({ atMs: now(), requests: t.localRequests, responses5xx: t.responses5xx });
    while ((list[0]?.atMs ?? 0) < now() - GUARD_WINDOW_MS) list.shift();
    this.edges.set(app, list);
    const first = list[0];
    if (first === undefined) return;
    const requests = t.localRequests - first.requests;
    const bad = t.responses5xx - first.responses5xx;
    if (requests < GUARD_MIN_REQUESTS || bad / requests <= max5xxShare) return;
    const share = ((100 * bad) / requests).toFixed(2);
    await this.p.tell({
      type: 'guardrail',
      app,
      reason: `${share} % of ${requests} answers in ${GUARD_WINDOW_MS / 1000} s were 5xx, allowed ${100 * max5xxShare} %`,
      nowMs: now(),
    });
  }

  private async verify(): Promise<void> {
    const s = this.p.state();
    if (!isReached(s.phases.SnapshotLoad)) return;
    for (const d of desired(s)) {
      const seen = this.apps.get(d.app);
      if (!d.verify || seen === undefined) continue;
      if (!s.options.verify.continuous && seen.verifiedAtMs !== null) continue;
      await this.verifyApp(d.app);
    }
  }

  /** One pass for one application; throws what the data engine throws. */
  async verifyApp(app: string): Promise<readonly DigestCheck[]> {
    const { engines, now } = this.p;
    const checks = await engines.data.compareDigests(app, now() + DIGEST_MS);
    const bad = checks.filter((c) => !c.equal);
    if (bad.length === 0) {
      this.unequal.delete(app);
      this.apps.set(app, { ...(this.apps.get(app) ?? NOT_SEEN), verifiedAtMs: now() });
      return checks;
    }
    this.apps.set(app, { ...(this.apps.get(app) ?? NOT_SEEN), verifiedAtMs: null });
    if (this.unequal.has(app)) return checks;
    this.unequal.add(app);
    const names = bad.map((c) => shardName(c.shard)).join(', ');
    await this.p.tell({ type: 'unequal', app, text: `${names}: ${await this.nameKeys(app)}`, nowMs: now() });
    return checks;
  }

  private async nameKeys(app: string): Promise<string> {
    const named: string[] = [];
    try {
      for await (const d of this.p.engines.data.deepVerify(app, NAMED_KEYS, this.p.now() + DIGEST_MS))
        named.push(`${d.what} ${d.key}`);
    } catch (e) {
      named.push(`(keys not named: ${asError(e).message})`);
    }
    return named.length === 0 ? 'no differing key found by a scan' : named.join(', ');
  }
}
