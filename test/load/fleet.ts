import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { NxnwError } from '@nxnw/platform/errors';
import type { ClientConfig, ClientStats } from './config.js';

export interface FleetOptions {
  readonly clients: number;
  /** Of all clients together, requests a second. */
  readonly ratePerS: number;
  readonly target: ClientConfig['target'];
  readonly placesFile: string;
  /** The logs go here: `client-c0-RUN.jsonl` …, `lag-RUN.jsonl`. */
  readonly dir: string;
  readonly seed: number;
  /** How long a client waits for an answer. @default 5000 */
  readonly deadlineMs?: number;
  /** Whether writes may be sent again, by their Idempotency-Key. @default false */
  readonly repeatable?: boolean;
}

const STOP_MS = 10_000;

/** The load: several client processes and the timer process. */
export class Fleet {
  private readonly children: ChildProcess[] = [];
  private readonly latest = new Map<string, ClientStats>();
  private readonly ended: Promise<unknown>[] = [];
  readonly logs: string[] = [];
  readonly lagLog: string;
  private stopping = false;

  constructor(o: FleetOptions) {
    mkdirSync(o.dir, { recursive: true });
    const run = randomBytes(3).toString('hex');
    this.lagLog = join(o.dir, `lag-${run}.jsonl`);
    this.start('lag.js', [this.lagLog]);
    for (let index = 0; index < o.clients; index++) {
      const client = `c${index}`;
      const log = join(o.dir, `client-${client}-${run}.jsonl`);
      const config: ClientConfig = {
        client,
        index,
        of: o.clients,
        run,
        seed: o.seed + index,
        ratePerS: o.ratePerS / o.clients,
        target: o.target,
        log,
        placesFile: o.placesFile,
        deadlineMs: o.deadlineMs ?? 5000,
        repeatable: o.repeatable ?? false,
      };
      this.logs.push(log);
      const child = this.start('main.js', [JSON.stringify(config)]);
      child.on('message', (m: ClientStats) => this.latest.set(client, m));
    }
  }

  private start(file: string, args: string[]): ChildProcess {
    const child = fork(join(__dirname, file), args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.children.push(child);
    this.ended.push(once(child, 'exit'));
    return child;
  }

  /** Sums of the clients' last reports; the instances are those of the last second. */
  stats(): Omit<ClientStats, 'client'> {
    const sum = { sent: 0, answered: 0, failed: 0, writes: 0, conflicts: 0, outstanding: 0, maxMs: 0 };
    const instances: Record<string, number> = {};
    for (const s of this.latest.values()) {
      for (const k of ['sent', 'answered', 'failed', 'writes', 'conflicts', 'outstanding'] as const) sum[k] += s[k];
      sum.maxMs = Math.max(sum.maxMs, s.maxMs);
      for (const [i, n] of Object.entries(s.instances)) instances[i] = (instances[i] ?? 0) + n;
    }
    return { ...sum, instances };
  }

  /** Throws LOAD_CLIENT_DIED if a process ended by itself. */
  checkAlive(): void {
    const dead = this.children.find((c) => c.exitCode !== null || c.signalCode !== null);
    if (dead !== undefined && !this.stopping)
      throw new NxnwError(
        'LOAD_CLIENT_DIED',
        `a load process (${dead.pid}) ended: ${dead.exitCode ?? dead.signalCode}`,
      );
  }

  /** Lets the clients end their requests, then ends the processes. */
  async stop(): Promise<void> {
    this.stopping = true;
    for (const c of this.children) if (c.exitCode === null) c.kill('SIGTERM');
    const late = setTimeout(() => this.children.forEach((c) => c.kill('SIGKILL')), STOP_MS);
    await Promise.all(this.ended);
    clearTimeout(late);
  }

  /** Ends everything at once, for exit handlers. */
  kill(): void {
    this.stopping = true;
    for (const c of this.children) c.kill('SIGKILL');
  }
}
