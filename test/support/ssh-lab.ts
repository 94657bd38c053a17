import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '@nxnw/tools';
import { until } from './agents.js';

const run = promisify(execFile);
const SUBNET = '10.88.7';
const GATEWAY = `${SUBNET}.1/24`;

/** A host of the lab: a network namespace with addresses of its own and an ssh server. */
export interface LabHost {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** `10.88.7.N` */
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
  private readonly servers: ChildProcess[] = [];
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

  private async addHost(i: number, host: LabHost, keys: string): Promise<void> {
    const ns = this.namespace(i);
    const [outer, inner] = [`${this.bridge}o${i}`.slice(-15), `${this.bridge}i${i}`.slice(-15)];
    await run('ip', ['netns', 'add', ns]);
    await run('ip', ['link', 'add', outer, 'type', 'veth', 'peer', 'name', inner, 'netns', ns]);
    await run('ip', ['link', 'set', outer, 'master', this.bridge, 'up']);
    const inside = (...args: string[]) => run('ip', ['-n', ns, ...args]);
    await inside('link', 'set', 'lo', 'up');
    for (const a of host.addresses) await inside('address', 'add', `${a}/24`, 'dev', inner);
    await inside('link', 'set', inner, 'up');
    mkdirSync('/run/sshd', { recursive: true });
    const config = join(this.dir, `sshd-${i}.conf`);
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
    writeFileSync(config, `${lines.join('\n')}\n`);
    this.servers.push(
      spawn('ip', ['netns', 'exec', ns, findProgram('sshd') ?? 'sshd', '-D', '-e', '-f', config], { stdio: 'ignore' }),
    );
    const [first = ''] = host.addresses;
    await until(`sshd of ${host.name}`, 10_000, () => answers(first, 22));
  }

  /** Ends the ssh servers, and removes the namespaces with everything that still runs in them. */
  async stop(): Promise<void> {
    for (const s of this.servers) s.kill('SIGTERM');
    for (const [i] of this.hosts.entries()) {
      const ns = this.namespace(i);
      const { stdout } = await run('ip', ['netns', 'pids', ns]).catch(() => ({ stdout: '' }));
      for (const pid of stdout.split('\n').filter((p) => p !== '')) process.kill(Number(pid), 'SIGKILL');
      await run('ip', ['netns', 'delete', ns]).catch(() => undefined);
    }
    await run('ip', ['link', 'delete', this.bridge]).catch(() => undefined);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host, port });
    const end = (is: boolean): void => {
      socket.destroy();
      done(is);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}
