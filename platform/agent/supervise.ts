import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError, asError } from '../errors.js';
import type { ProcessState, ProcessStatus } from './api.js';
import { logPath, tailLog } from './logs.js';
import type { HashedProcess } from './plan.js';
import { checkPortFree } from './ports.js';
import { startProcess, stopProcess } from './process.js';
import type { ProcessRecord, ProcessRecords } from './process.js';
import { isAlive } from './procfs.js';

/** Told to the agent's log; `event` is such as `process.started`. */
export type Report = (event: string, fields: Readonly<Record<string, unknown>>) => void;

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** A process that ran this long has earned a fresh back-off. */
const STEADY_MS = 30_000;
/** Ends in a row, without having been healthy in between, after which the role counts as failed (it is still tried). */
const FAILED_AFTER = 5;
/** What does not mend by trying again. */
const NEEDS_A_PERSON = ['PORT_IN_USE', 'PROGRAM_MISSING', 'PROCESS_START', 'PROCESS_STUCK'];
const PROBE_STARTING_MS = 150;
const PROBE_STARTING_MAX_MS = 1000;
const PROBE_STEADY_MS = 5000;
/** Characters of a probe's message. */
const MAX_DETAIL = 300;
/** An adopted process is not our child: nobody tells us when it ends. */
const ALIVE_POLL_MS = 150;
const PROBE_DEADLINE_MS = 5000;
/** Probes in a row that must fail before a healthy process is called unhealthy. */
const UNHEALTHY_AFTER = 3;

/** Waiting time before start number `failures` + 1 after `failures` ends in a row, in milliseconds. */
export function backoffMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (failures - 1));
}

/**
 * Keeps one process running: adopts it when it already runs as planned, starts it again with exponential back-off when
 * it ends, and asks it regularly whether it is healthy. An unhealthy process is reported, not killed.
 */
export class Supervised {
  private readonly abort = new AbortController();
  private wakeUp: () => void = () => undefined;
  private record: ProcessRecord | null = null;
  /** What runs is a child of this agent, so its end wakes the supervision. */
  private isChild = false;
  private state: ProcessState = 'starting';
  private detail = 'not started yet';
  private failures = 0;
  private restarts = 0;
  private loop: Promise<void> = Promise.resolve();

  /** `gate` answers what is still to be waited for before a start, or null; `prepare` is done before each start. */
  constructor(
    private hashed: HashedProcess,
    private readonly records: ProcessRecords,
    private readonly report: Report,
    private readonly gate: () => string | null = () => null,
    private readonly prepare: () => Promise<void> = () => Promise.resolve(),
  ) {}

  get name(): string {
    return this.hashed.plan.name;
  }

  /** Of the plan in force. */
  get restartHash(): string {
    return this.hashed.restartHash;
  }

  /** Digests of what runs, or null while nothing runs. */
  get running(): Readonly<ProcessRecord> | null {
    return this.record && isAlive(this.record) ? this.record : null;
  }

  status(): ProcessStatus {
    const r = this.running;
    const state = !r && this.state === 'healthy' ? 'backoff' : this.state;
    return {
      name: this.name,
      state,
      pid: r?.pid ?? 0,
      startedAtMs: r?.startedAtMs ?? 0,
      restarts: this.restarts,
      detail: this.detail,
    };
  }

  /** Adopts or starts the process, and keeps it. */
  async start(): Promise<void> {
    const found = this.records.running(this.name);
    this.restarts = found?.restarts ?? 0;
    if (found && found.restartHash !== this.hashed.restartHash) {
      await this.end(found);
    } else if (found) {
      this.record = found;
      this.records.write(this.name, found);
      this.report('process.adopted', { process: this.name, pid: found.pid });
    }
    this.loop = this.run();
  }

  /** The same process under a plan that needs no restart; `reloaded` = its reload files are in force. */
  keep(hashed: HashedProcess, reloaded: boolean): void {
    this.hashed = hashed;
    if (!this.record || !reloaded) return;
    this.record = { ...this.record, reloadHash: hashed.reloadHash };
    this.records.write(this.name, this.record);
  }

  /** Stops watching; the process goes on (the agent ends, its successor adopts). */
  async leave(): Promise<void> {
    this.abort.abort();
    this.wakeUp();
    await this.loop;
  }

  /** Ends the process for good. */
  async stop(): Promise<void> {
    await this.leave();
    const found = this.record ?? this.records.running(this.name);
    if (found) await this.end(found);
    this.records.remove(this.name);
    this.record = null;
    this.state = 'stopped';
    this.detail = 'stopped';
  }

  private async end(record: ProcessRecord): Promise<void> {
    const { stopSignal, stopGraceMs } = this.hashed.plan;
    const machineDir = this.records.machineDir;
    await stopProcess(record, { machineDir, name: this.name, stopSignal, graceMs: stopGraceMs });
    this.report('process.stopped', { process: this.name, pid: record.pid });
  }

  private async run(): Promise<void> {
    while (!this.abort.signal.aborted) {
      try {
        if (this.running) await this.watch();
        else if (await this.waitForStart()) await this.launch();
      } catch (e) {
        this.failed(e);
      }
    }
  }

  /** Waits for the gate and the back-off; false when the supervision ended meanwhile. */
  private async waitForStart(): Promise<boolean> {
    for (let waits = this.gate(); waits !== null && !this.abort.signal.aborted; waits = this.gate()) {
      this.detail = waits;
      await this.pause(PROBE_STARTING_MS);
    }
    const wait = backoffMs(this.failures);
    if (wait > 0) await this.pause(wait);
    return !this.abort.signal.aborted;
  }

  private async launch(): Promise<void> {
    const { plan } = this.hashed;
    if (this.record) {
      // What the ended process left of its session would hold its ports.
      await this.end(this.record);
      this.restarts++;
    }
    this.record = null;
    for (const l of plan.listens) await checkPortFree(l);
    await this.prepare();
    if (this.abort.signal.aborted) return;
    const id = await startProcess(this.hashed, this.records.machineDir, () => this.wakeUp());
    const { restartHash, reloadHash } = this.hashed;
    this.record = { ...id, restartHash, reloadHash, startedAtMs: Date.now(), restarts: this.restarts };
    this.isChild = true;
    this.records.write(this.name, this.record);
    if (this.state !== 'failed') this.state = 'starting';
    this.detail = 'started, not ready yet';
    this.report('process.started', { process: this.name, pid: id.pid, restarts: this.restarts });
  }

  /** Probes until the process ends or the supervision does. */
  private async watch(): Promise<void> {
    let misses = 0;
    while (this.running && !this.abort.signal.aborted) {
      const probe = await this.probe();
      if (!this.running || this.abort.signal.aborted) break;
      if (probe.ok) {
        if (this.state !== 'healthy') this.report('process.healthy', { process: this.name });
        misses = 0;
        this.state = 'healthy';
        this.detail = probe.detail;
        if (this.record && Date.now() - this.record.startedAtMs > STEADY_MS) this.failures = 0;
      } else if (++misses >= UNHEALTHY_AFTER || this.state !== 'healthy') {
        if (this.state === 'healthy') {
          this.state = 'unhealthy';
          this.report('process.unhealthy', { process: this.name, detail: probe.detail });
        }
        this.detail = probe.detail;
      }
      const nextProbe =
        Date.now() + (this.state === 'healthy' && misses === 0 ? PROBE_STEADY_MS : this.startingPauseMs());
      for (let left = nextProbe - Date.now(); left > 0 && this.running; left = nextProbe - Date.now()) {
        if (this.abort.signal.aborted) break;
        await this.pause(this.isChild ? left : ALIVE_POLL_MS);
      }
    }
    if (this.abort.signal.aborted) return;
    const tail = tailLog(logPath(this.records.machineDir, this.name), 3).join(' | ').slice(0, 500);
    this.failed(new NxnwError('PROCESS_ENDED', `the process ended; its last lines: ${tail || '(none)'}`));
  }

  /** What takes long to start is asked less often: on a busy machine the asking would slow it down. */
  private startingPauseMs(): number {
    const ageMs = Date.now() - (this.record?.startedAtMs ?? 0);
    return Math.max(PROBE_STARTING_MS, Math.min(PROBE_STARTING_MAX_MS, ageMs / 8));
  }

  private async probe(): Promise<{ ok: boolean; detail: string }> {
    const deadline = AbortSignal.any([this.abort.signal, AbortSignal.timeout(PROBE_DEADLINE_MS)]);
    const late = new Promise<never>((_ok, fail) =>
      deadline.addEventListener('abort', () => fail(new NxnwError('TIMEOUT', 'the readiness check did not answer'))),
    );
    try {
      return await Promise.race([this.hashed.plan.probe(deadline), late]);
    } catch (e) {
      const { message, cause } = asError(e);
      const detail = cause instanceof Error ? `${message}: ${cause.message}` : message;
      return { ok: false, detail: detail.split('\n', 1).join('').slice(0, MAX_DETAIL) };
    }
  }

  private failed(e: unknown): void {
    const wasHealthy = this.state === 'healthy' || this.state === 'unhealthy';
    this.failures = wasHealthy ? Math.max(1, Math.min(this.failures + 1, FAILED_AFTER - 1)) : this.failures + 1;
    const code = e instanceof NxnwError ? e.code : 'PROCESS_START';
    const needsPerson = NEEDS_A_PERSON.includes(code);
    this.state = needsPerson || this.failures >= FAILED_AFTER ? 'failed' : 'backoff';
    this.detail = `${code}: ${asError(e).message}`;
    this.report('process.failed', { process: this.name, state: this.state, detail: this.detail });
  }

  private async pause(ms: number): Promise<void> {
    const woken = new AbortController();
    this.wakeUp = () => woken.abort();
    if (this.abort.signal.aborted) return;
    await delay(ms, undefined, { signal: woken.signal, ref: false }).catch(() => undefined);
  }
}
