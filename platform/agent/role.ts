import { mkdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError, asError } from '../errors.js';
import type { ProcessState, RoleStatus } from './api.js';
import { canonicalJson, digestOf, readIfThere, writeIfChanged } from './files.js';
import { hashProcesses } from './plan.js';
import type { HashedProcess, MachineContext, RolePlan } from './plan.js';
import type { ProcessRecords } from './process.js';
import { planRole } from './roles/index.js';
import type { RoleSpec } from './spec.js';
import { Supervised } from './supervise.js';
import type { Report } from './supervise.js';

const ROLLING_SETTLE_MS = 700;
const ROLLING_WAIT_MS = 60_000;
/** A process that has just been started can be told nothing yet. */
const RELOADABLE_WAIT_MS = 10_000;
/** From worst to best. */
const WORST: readonly ProcessState[] = ['failed', 'backoff', 'unhealthy', 'starting', 'stopped', 'healthy'];

/** Digest of a specification. */
export const specHash = (spec: RoleSpec): string => digestOf(canonicalJson(spec)).slice(0, 16);

export interface RoleContext {
  readonly machine: MachineContext;
  readonly records: ProcessRecords;
  readonly report: Report;
  /** What a role has to wait for before it starts, or null. */
  readonly gate: (spec: RoleSpec) => string | null;
  /** Answers when something has changed, or after `ms`. */
  readonly changed: (ms: number) => Promise<void>;
}

/** One role on this machine: its files, its processes, and what keeps it from being as specified. */
export class Role {
  private readonly processes = new Map<string, Supervised>();
  private plan: RolePlan | null = null;
  private fault: string | null = null;

  constructor(
    private spec: RoleSpec,
    private readonly context: RoleContext,
  ) {}

  get specification(): RoleSpec {
    return this.spec;
  }

  /** True if the last `apply` could not be done wholly; it should be tried again. */
  get isFaulty(): boolean {
    return this.fault !== null;
  }

  status(): RoleStatus {
    const processes = [...this.processes.values()].map((p) => p.status());
    const worst = WORST.find((s) => processes.some((p) => p.state === s)) ?? 'healthy';
    const state = this.fault === null ? (this.plan ? worst : 'starting') : 'failed';
    const detail = this.fault ?? processes.find((p) => p.state === worst)?.detail ?? '';
    const { id, kind } = this.spec;
    return { id, kind, state, detail, processes, version: this.plan?.version ?? '', specHash: specHash(this.spec) };
  }

  /**
   * Makes the role as `spec` says; answers what was done. A fault is kept in the status, and what ran before goes on
   * running.
   */
  async apply(spec: RoleSpec): Promise<string[]> {
    this.spec = spec;
    const done: string[] = [];
    try {
      const plan = planRole(spec, this.context.machine);
      for (const d of plan.dirs) mkdirSync(d, { recursive: true });
      const written = plan.files.filter((f) => {
        const existing = f.merge ? readIfThere(f.path) : null;
        return writeIfChanged(f.path, existing !== null && f.merge ? f.merge(existing) : f.content);
      });
      if (written.length > 0) done.push(`${spec.id}: wrote ${written.length} file(s)`);
      this.plan = plan;
      done.push(...(await this.applyProcesses(plan)));
      this.fault = null;
    } catch (e) {
      const code = e instanceof NxnwError ? e.code : 'ROLE_FAULT';
      this.fault = `${code}: ${asError(e).message}`;
      this.context.report('role.fault', { role: spec.id, detail: this.fault });
    }
    return done;
  }

  private async applyProcesses(plan: RolePlan): Promise<string[]> {
    const done: string[] = [];
    const wanted = hashProcesses(plan);
    for (const [name, p] of this.processes) {
      if (wanted.some((w) => w.plan.name === name)) continue;
      await p.stop();
      this.processes.delete(name);
      done.push(`${name}: stopped, no longer wanted`);
    }
    for (const w of wanted) done.push(...(await this.applyProcess(plan, w, wanted.length > 1)));
    return done;
  }

  private async applyProcess(plan: RolePlan, wanted: HashedProcess, several: boolean): Promise<string[]> {
    const { name } = wanted.plan;
    const old = this.processes.get(name);
    if (old && old.restartHash !== wanted.restartHash) {
      await old.stop();
      const fresh = await this.supervise(plan, wanted);
      if (several || this.spec.kind === 'datastore') await this.rolled(fresh);
      return [`${name}: restarted with its new configuration`];
    }
    const p = old ?? (await this.supervise(plan, wanted));
    const running = p.running;
    if (!running) {
      p.keep(wanted, false);
      return old ? [] : [`${name}: started`];
    }
    const done: string[] = old ? [] : [`${name}: adopted`];
    if (plan.reload || plan.sync) await this.healthy(p, RELOADABLE_WAIT_MS);
    const mustReload = running.reloadHash !== wanted.reloadHash && plan.reload !== undefined;
    if (mustReload) {
      await plan.reload?.(running.pid);
      done.push(`${name}: reloaded`);
    }
    p.keep(wanted, true);
    if (plan.sync) done.push(...(await plan.sync()).map((c) => `${name}: ${c}`));
    return done;
  }

  private async supervise(plan: RolePlan, wanted: HashedProcess): Promise<Supervised> {
    const { records, report, gate } = this.context;
    const p = new Supervised(wanted, records, report, () => gate(this.spec), plan.prepare);
    this.processes.set(wanted.plan.name, p);
    await p.start();
    return p;
  }

  /** Waits, bounded, so that the instances of a role are not all away at once. */
  private async healthy(p: Supervised, waitMs = ROLLING_WAIT_MS): Promise<void> {
    const deadline = Date.now() + waitMs;
    while (!['healthy', 'failed', 'stopped'].includes(p.status().state) && Date.now() < deadline)
      await this.context.changed(deadline - Date.now());
  }

  /** Restarts every process, one after another. */
  async restart(): Promise<void> {
    const plan = this.plan;
    if (!plan) return;
    for (const wanted of hashProcesses(plan)) {
      await this.processes.get(wanted.plan.name)?.stop();
      await this.rolled(await this.supervise(plan, wanted));
    }
  }

  /**
   * Waits for one instance of several, or one of the machine's datastore processes, before the next one goes; the edges'
   * checks must have seen it too.
   */
  private async rolled(p: Supervised): Promise<void> {
    await this.healthy(p);
    await delay(ROLLING_SETTLE_MS);
  }

  /** Ends the processes; files and data stay. */
  async stop(): Promise<void> {
    await Promise.all([...this.processes.values()].map((p) => p.stop()));
    this.processes.clear();
  }

  /** Stops watching; the processes go on. */
  async leave(): Promise<void> {
    await Promise.all([...this.processes.values()].map((p) => p.leave()));
  }
}
