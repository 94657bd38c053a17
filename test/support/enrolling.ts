import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:tls';
import type { Server } from 'node:tls';
import { connect } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive, markedProcesses, signal } from '@nxnw/platform/agent/procfs';
import { readAgentRecord } from '@nxnw/platform/agent/state';
import { createAuthority, issueCertificate, selfSigned } from '@nxnw/platform/wire/ca';
import type { Authority } from '@nxnw/platform/wire/ca';
import { newToken } from '@nxnw/platform/wire/enrolment';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
import type { EnrolmentInputs } from '@nxnw/migration/resources/engines/enrolment';
import { until } from './agents.js';

const MAIN = require.resolve('@nxnw/platform/agent/main');

/** A platform's authority and operator, with machines that wait to be enrolled: real agents, each in a directory. */
export class EnrollingPlatform {
  readonly machines: EnrollingMachine[] = [];

  private constructor(
    readonly id: string,
    readonly authority: Authority,
    readonly operator: TlsMaterial,
  ) {}

  static async create(id: string): Promise<EnrollingPlatform> {
    const authority = await createAuthority(id);
    return new EnrollingPlatform(id, authority, await issueCertificate(authority, { name: 'operator', hosts: [] }));
  }

  /** A machine's directory as its user data leaves it; its agent is not started. */
  machine(machine: string, host: string, token = newToken()): EnrollingMachine {
    const dir = mkdtempSync(join(tmpdir(), `nxnw-${this.id}-${machine}-`));
    const told = { platformId: this.id, machine, host, port: 7400, token, ca: this.authority.cert };
    const made = new EnrollingMachine(this, dir, told);
    this.machines.push(made);
    return made;
  }

  /** Ends every agent and what it started, and removes the directories. */
  async destroy(): Promise<void> {
    for (const m of this.machines) await m.remove();
  }
}

/** What `enrol.json` says. */
export interface Told {
  readonly platformId: string;
  readonly machine: string;
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly ca: string;
}

/** A machine as its user data leaves it: a directory with an `enrol.json`. */
export class NewMachine {
  readonly target: string;

  constructor(
    readonly dir: string,
    protected readonly told: Told,
  ) {
    this.target = `${told.host}:${String(told.port)}`;
    this.tell();
  }

  get token(): string {
    return this.told.token;
  }

  /** Writes `enrol.json`, as cloud-init does, also when an instance is made again from the same user data. */
  tell(): void {
    writeFileSync(join(this.dir, 'enrol.json'), JSON.stringify(this.told), { mode: 0o600 });
  }

  /** Starts the agent, with a fault armed. */
  start(faults = ''): ChildProcess {
    const env = { PATH: process.env['PATH'], HOME: this.dir, NXNW_FAULT: faults };
    return spawn(process.execPath, [MAIN, '--dir', this.dir], { cwd: this.dir, detached: true, stdio: 'ignore', env });
  }

  get isRunning(): boolean {
    const agent = readAgentRecord(this.dir);
    return agent !== null && isAlive(agent);
  }

  /** As the kernel does when it is out of memory. */
  kill(): void {
    const agent = readAgentRecord(this.dir);
    if (agent && isAlive(agent)) signal(agent.pid, 'SIGKILL');
  }

  get isEnrolled(): boolean {
    return existsSync(join(this.dir, 'agent.json'));
  }

  get hasToken(): boolean {
    return existsSync(join(this.dir, 'enrol.json'));
  }

  /** Paths of the machine's certificate as `agent.json` has them. */
  tls(): { ca: string; cert: string; key: string } {
    const config = JSON.parse(readFileSync(join(this.dir, 'agent.json'), 'utf8')) as {
      tls: { ca: string; cert: string; key: string };
    };
    return config.tls;
  }

  /** Ends the agent and what it started, and removes the directory. */
  async remove(): Promise<void> {
    this.kill();
    for (const p of markedProcesses(this.dir)) signal(p.pid, 'SIGKILL');
    const gone = () => Promise.resolve(!this.isRunning && markedProcesses(this.dir).length === 0);
    await until('the end of it all', 10_000, gone);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export class EnrollingMachine extends NewMachine {
  constructor(
    private readonly platform: EnrollingPlatform,
    dir: string,
    told: Told,
  ) {
    super(dir, told);
  }

  /** What the engine is asked for. */
  inputs(change: Partial<EnrolmentInputs> = {}): EnrolmentInputs {
    const { authority, operator, id } = this.platform;
    return {
      authorityCert: authority.cert,
      authorityKey: authority.key,
      platformId: id,
      machine: this.told.machine,
      hosts: [this.told.host],
      agent: this.target,
      serverId: 'i-1',
      token: this.token,
      operator,
      days: 365,
      waitMinutes: 0.5,
      cloud: 'kvm',
      console: 'virsh console data-1',
      logUrn: '',
      ...change,
    };
  }
}

/** Somebody between: takes connections with a certificate of his own and passes everything on, reading along. */
export async function manInTheMiddle(host: string, target: string): Promise<{ server: Server; seen: () => number }> {
  const own = await selfSigned('nxnw enrolling data-1', 1);
  const [to = '', port = ''] = target.split(':');
  let seen = 0;
  const server = createServer({ key: own.key, cert: own.cert, ALPNProtocols: ['h2'] }, (client) => {
    const onward = connect({ host: to, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    client.on('data', (d: Buffer) => (seen += d.length));
    client.pipe(onward).pipe(client);
    client.on('error', () => onward.destroy());
    onward.on('error', () => client.destroy());
  });
  server.listen(7400, host);
  await once(server, 'listening');
  return { server, seen: () => seen };
}
