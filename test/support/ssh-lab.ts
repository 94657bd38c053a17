import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '@nxnw/tools';
import { until } from './agents.js';
import { answers } from './reach.js';

const run = promisify(execFile);
const SUBNET = '10.88.7';
const GATEWAY = `${SUBNET}.1/24`;
const SSHD_MS = 30_000;

/** A host of the lab: a network namespace with addresses of its own and an ssh server. */
export interface LabHost {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** `10.88.7.N`; 1 is this machine, as the hosts see it. */
export const labAddress = (n: number): string => `${SUBNET}.${n}`;

/** Why the lab cannot be made here; null = it can. */
export function labMissing(): string | null {
  if (process.getuid?.() !== 0) return 'network namespaces and sshd need root';
  return findProgram('ip') === undefined ? 'there is no program "ip" (Debian package iproute2)' : null;
}

/** Hosts in network namespaces on one bridge, each with a real sshd; they share this machine's files. */
export class SshLab {
  readonly dir = mkdtempSync(join(tmpdir(), 'nxnw-hosts-'));
  /** The operator's private key, PEM. */
  readonly privateKey: string;
  private readonly servers = new Map<number, ChildProcess>();
  private readonly bridge = `nxh${process.pid}`.slice(0, 14);

  private constructor(
    readonly hosts: readonly LabHost[],
    privateKey: string,
  ) {
    this.privateKey = privateKey;
  }

  static async start(hosts: readonly LabHost[]): Promise<SshLab> {
    const keys = mkdtempSync(join(tmpdir(), 'nxnw-keys-'));
    const keygen = (file: string) => run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(keys, file)]);
    await keygen('operator');
    await keygen('host');
    const lab = new SshLab(hosts, readFileSync(join(keys, 'operator'), 'utf8'));
    try {
      await run('ip', ['link', 'add', lab.bridge, 'type', 'bridge']);
      await run('ip', ['address', 'add', GATEWAY, 'dev', lab.bridge]);
      await run('ip', ['link', 'set', lab.bridge, 'up']);
      for (const [i, host] of hosts.entries()) await lab.addHost(i, host, keys);
    } catch (e) {
      await lab.stop();
      throw e;
    }
    return lab;
  }

  private namespace(i: number): string {
    return `${this.bridge}-${i}`;
  }

  /** Names of the two ends of a host's cable: on the bridge, and in the host. */
  private cable(i: number): readonly [string, string] {
    return [`${this.bridge}o${i}`.slice(-15), `${this.bridge}i${i}`.slice(-15)];
  }

  private async addHost(i: number, host: LabHost, keys: string): Promise<void> {
    const ns = this.namespace(i);
    const [outer, inner] = this.cable(i);
    await run('ip', ['netns', 'add', ns]);
    await run('ip', ['link', 'add', outer, 'type', 'veth', 'peer', 'name', inner, 'netns', ns]);
    await run('ip', ['link', 'set', outer, 'master', this.bridge, 'up']);
    const inside = (...args: string[]) => run('ip', ['-n', ns, ...args]);
    await inside('link', 'set', 'lo', 'up');
    for (const a of host.addresses) await inside('address', 'add', `${a}/24`, 'dev', inner);
    await inside('link', 'set', inner, 'up');
    mkdirSync('/run/sshd', { recursive: true });
    const lines = [
      ...host.addresses.map((a) => `ListenAddress ${a}:22`),
      `HostKey ${join(keys, 'host')}`,
      `AuthorizedKeysFile ${join(keys, 'operator.pub')}`,
      'PidFile none',
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'Subsystem sftp internal-sftp',
    ];
    writeFileSync(this.sshdConfig(i), `${lines.join('\n')}\n`);
    await this.startSshd(i, host);
  }

  private sshdConfig(i: number): string {
    return join(this.dir, `sshd-${i}.conf`);
  }

  private async startSshd(i: number, host: LabHost): Promise<void> {
    const command = ['netns', 'exec', this.namespace(i), findProgram('sshd') ?? 'sshd', '-D', '-e', '-f'];
    this.servers.set(i, spawn('ip', [...command, this.sshdConfig(i)], { stdio: 'ignore' }));
    const [first = ''] = host.addresses;
    await until(`sshd of ${host.name}`, SSHD_MS, () => answers(first, 22));
  }

  private indexOf(name: string): number {
    const i = this.hosts.findIndex((h) => h.name === name);
    if (i < 0) throw new Error(`the lab has no host ${name}`);
    return i;
  }

  /** A host dies: every process on it is killed, the ssh server too. Its addresses go on refusing connections. */
  async crash(name: string): Promise<void> {
    await this.killAll(this.namespace(this.indexOf(name)));
  }

  /** The host is there again as a new machine would be: an ssh server and nothing else. */
  async boot(name: string): Promise<void> {
    const i = this.indexOf(name);
    const host = this.hosts[i];
    if (host !== undefined) await this.startSshd(i, host);
  }

  private async killAll(ns: string): Promise<void> {
    const { stdout } = await run('ip', ['netns', 'pids', ns]).catch(() => ({ stdout: '' }));
    for (const pid of stdout.split('\n').filter((p) => p !== '')) killNow(Number(pid));
  }

  /** Ends the ssh servers, and removes the namespaces with everything that still runs in them. */
  async stop(): Promise<void> {
    for (const s of this.servers.values()) s.kill('SIGTERM');
    for (const [i] of this.hosts.entries()) {
      const ns = this.namespace(i);
      await this.killAll(ns);
      // with its namespace the cable would go too, but some time later: its name would still be taken
      await run('ip', ['link', 'delete', this.cable(i)[0]]).catch(() => undefined);
      await run('ip', ['netns', 'delete', ns]).catch(() => undefined);
    }
    await run('ip', ['link', 'delete', this.bridge]).catch(() => undefined);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended by itself meanwhile
  }
}
