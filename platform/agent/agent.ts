import { NxnwError } from '../errors.js';
import type { ApplyAnswer, MachineStatus } from './api.js';
import { canonicalJson } from './files.js';
import type { MachineContext } from './plan.js';
import { ProcessRecords } from './process.js';
import { Role } from './role.js';
import type { RoleContext } from './role.js';
import { isStore, rankOf } from './roles/index.js';
import { machineSpecSchema } from './spec.js';
import type { RoleSpec } from './spec.js';
import { readMachineState, refuseWhenHeld, releaseVersion, writeMachineState } from './state.js';
import type { MachineState } from './state.js';
import type { Report } from './supervise.js';

/** How long a role waits at most for those of a lower rank. */
const GATE_MS = 60_000;
const RETRY_MS = 5000;

/**
 * Brings the machine to its specification and keeps it there. The specification is written down before anything is
 * done, so that an agent that is killed half-way goes on where it was.
 */
export class Agent {
  private readonly roles = new Map<string, Role>();
  private state: MachineState;
  private work: Promise<void> = Promise.resolve();
  private pending = 0;
  private gateEndsMs = 0;
  private undelivered: string[] = [];
  private readonly waiters = new Set<() => void>();
  private readonly retry: NodeJS.Timeout;
  private readonly context: RoleContext;
  private readonly report: Report;

  constructor(
    readonly machine: MachineContext,
    report: Report,
  ) {
    this.state = readMachineState(machine.dir);
    this.report = (event, fields) => {
      report(event, fields);
      this.notify();
    };
    this.context = {
      machine,
      records: new ProcessRecords(machine.dir),
      report: this.report,
      gate: (spec) => this.gate(spec),
      changed: (ms) => this.changed(ms),
    };
    this.retry = setInterval(() => {
      if (this.pending === 0 && [...this.roles.values()].some((r) => r.isFaulty)) this.reconcile();
    }, RETRY_MS);
    this.retry.unref();
  }

  /** Takes up the work where an earlier agent left it. */
  begin(): void {
    if (!this.state.stopped) this.reconcile();
  }

  /** Takes the machine's whole desired set. See AgentClient.apply. */
  async apply(request: { roles: unknown }, waitMs: number): Promise<ApplyAnswer> {
    const wanted = parseRoles(request);
    if (this.state.holds.length > 0) this.refuseLosses(wanted);
    if (this.state.stopped || canonicalJson(wanted) !== canonicalJson(this.state.roles)) {
      this.write({ ...this.state, roles: wanted, stopped: false, generation: this.state.generation + 1 });
      this.reconcile();
    } else if (this.pending === 0 && [...this.roles.values()].some((r) => r.isFaulty)) {
      this.reconcile();
    }
    const deadline = Date.now() + waitMs;
    while (!this.settled() && Date.now() < deadline) await this.changed(deadline - Date.now());
    const changes = this.undelivered;
    this.undelivered = [];
    return { converged: this.pending === 0 && this.converged(), changes, status: this.status() };
  }

  status(): MachineStatus {
    const { platformId, machine } = this.machine;
    const { generation, holds } = this.state;
    const roles = [...this.roles.values()].map((r) => r.status());
    return { platformId, machine, agentVersion: releaseVersion(), agentPid: process.pid, generation, holds, roles };
  }

  /** A role of this machine; NOT_FOUND with the names there are. */
  role(id: string): Role {
    const found = this.roles.get(id);
    if (found) return found;
    throw new NxnwError('NOT_FOUND', `no role "${id}" here; there are ${[...this.roles.keys()].join(', ') || 'none'}`);
  }

  /** Plans a role anew, after what its plan reads has changed. Throws ROLE_FAULT if that cannot be done. */
  async reapply(id: string): Promise<void> {
    this.role(id);
    await this.queue(async () => {
      const role = this.role(id);
      await role.apply(role.specification);
      if (role.isFaulty) throw new NxnwError('ROLE_FAULT', `role ${id}: ${role.status().detail}`, { role: id });
    });
  }

  async restart(id: string): Promise<void> {
    this.role(id);
    await this.queue(() => this.role(id).restart());
  }

  /** Ends all processes, and remembers that they are to stay ended until the next `apply`. */
  async stop(): Promise<void> {
    this.write({ ...this.state, stopped: true });
    await this.queue(async () => {
      const byRank = [...this.roles.values()].sort(
        (a, b) => rankOf(b.specification.kind) - rankOf(a.specification.kind),
      );
      for (const r of byRank) await r.stop();
    });
  }

  hold(name: string, reason: string): void {
    const others = this.state.holds.filter((h) => h.name !== name);
    this.write({ ...this.state, holds: [...others, { name, reason, sinceMs: Date.now() }] });
  }

  release(name: string): void {
    this.write({ ...this.state, holds: this.state.holds.filter((h) => h.name !== name) });
  }

  /** Throws HELD while there is a hold. */
  refuseDestroyWhenHeld(): void {
    refuseWhenHeld(this.state, `destroying machine ${this.machine.machine}`);
  }

  /** Stops watching; all processes go on. */
  async leave(): Promise<void> {
    clearInterval(this.retry);
    await this.work;
    await Promise.all([...this.roles.values()].map((r) => r.leave()));
  }

  private write(state: MachineState): void {
    writeMachineState(this.machine.dir, state);
    this.state = state;
  }

  /** Runs acts one after another. */
  private queue(act: () => Promise<void>): Promise<void> {
    this.pending++;
    const mine = this.work.then(act).finally(() => {
      this.pending--;
      this.notify();
    });
    this.work = mine.catch((e: unknown) => this.report('agent.error', { error: String(e) }));
    return mine;
  }

  /** Queues the way to what is wanted when its turn comes. */
  private reconcile(): void {
    void this.queue(async () => {
      if (this.state.stopped) return;
      const wanted = this.state.roles;
      this.gateEndsMs = Date.now() + GATE_MS;
      for (const [id, role] of this.roles) {
        if (wanted.some((w) => w.id === id && w.kind === role.specification.kind)) continue;
        await role.stop();
        this.roles.delete(id);
        this.undelivered.push(`${id}: removed`);
      }
      for (const spec of wanted) if (!this.roles.has(spec.id)) this.roles.set(spec.id, new Role(spec, this.context));
      for (const spec of [...wanted].sort((a, b) => rankOf(a.kind) - rankOf(b.kind)))
        this.undelivered.push(...((await this.roles.get(spec.id)?.apply(spec)) ?? []));
    }).catch(() => undefined); // reported by the queue
  }

  private gate(spec: RoleSpec): string | null {
    if (Date.now() > this.gateEndsMs) return null;
    const lower = [...this.roles.values()].map((r) => r.status()).filter((r) => rankOf(r.kind) < rankOf(spec.kind));
    const waits = lower.filter((r) => r.state !== 'healthy' && r.state !== 'failed');
    return waits.length === 0 ? null : `waits for ${waits.map((r) => r.id).join(', ')}`;
  }

  private converged(): boolean {
    return [...this.roles.values()].every((r) => r.status().state === 'healthy');
  }

  /** Nothing more to wait for: all healthy, or one failed. */
  private settled(): boolean {
    const failed = [...this.roles.values()].some((r) => r.status().state === 'failed');
    return this.pending === 0 && (failed || this.converged());
  }

  /** While the machine is held, its stores and the shards of its applications stay as they are. */
  private refuseLosses(wanted: readonly RoleSpec[]): void {
    for (const old of this.state.roles) {
      const fresh = wanted.find((w) => w.id === old.id && w.kind === old.kind);
      if (isStore(old.kind) && canonicalJson(fresh ?? null) !== canonicalJson(old))
        refuseWhenHeld(this.state, `changing or removing the store ${old.id}`);
      if (old.kind !== 'datastore') continue;
      const shards = new Map(fresh?.kind === 'datastore' ? fresh.apps.map((a) => [a.id, a.shards]) : []);
      for (const a of old.apps)
        if (shards.get(a.id) !== a.shards)
          refuseWhenHeld(this.state, `changing the shards of ${a.id} (${a.shards} to ${shards.get(a.id) ?? 'none'})`);
    }
  }

  private changed(ms: number): Promise<void> {
    return new Promise((ok) => {
      const done = (): void => {
        clearTimeout(timer);
        this.waiters.delete(done);
        ok();
      };
      const timer = setTimeout(done, Math.max(0, ms));
      this.waiters.add(done);
    });
  }

  private notify(): void {
    for (const w of [...this.waiters]) w();
  }
}

function parseRoles(request: { roles: unknown }): RoleSpec[] {
  const parsed = machineSpecSchema.safeParse({ roles: request.roles });
  if (parsed.success) return parsed.data.roles;
  const faults = parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
  throw new NxnwError('INVALID_SPEC', `the role specifications have ${faults.length} fault(s): ${faults.join('; ')}`, {
    faults,
  });
}
