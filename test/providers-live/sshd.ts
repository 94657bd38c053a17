import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from '@nxnw/tools';

const START_MS = 10_000;

async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error(`no port of ${host}: ${String(address)}`);
  return address.port;
}

/** Debian's ssh server on a loopback address, with a host key and a user's keys of its own, run as this user. */
export class Sshd {
  readonly host: string;
  readonly user = userInfo().username;
  /** `ssh-ed25519 BASE64` */
  readonly hostKey: string;
  /** A private key that the server accepts, plain and under a passphrase, and one that it does not know. */
  readonly keys: { readonly plain: string; readonly locked: string; readonly unknown: string };
  readonly passphrase = 'open sesame';
  port = 0;
  private readonly child: ChildProcess;
  private said = '';

  private constructor(dir: string, host: string, port: number) {
    this.host = host;
    this.port = port;
    mkdirSync(dir);
    const file = (name: string) => join(dir, name);
    const keygen = (name: string, passphrase = ''): string => {
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', passphrase, '-C', name, '-f', file(name)]);
      return readFileSync(file(name), 'utf8');
    };
    keygen('host');
    this.keys = { plain: keygen('plain'), locked: keygen('locked', this.passphrase), unknown: keygen('unknown') };
    this.hostKey = readFileSync(file('host.pub'), 'utf8').split(' ').slice(0, 2).join(' ');
    writeFileSync(file('authorized'), ['plain.pub', 'locked.pub'].map((f) => readFileSync(file(f), 'utf8')).join(''));
    writeFileSync(
      file('config'),
      [
        `ListenAddress ${this.host}`,
        `Port ${String(port)}`,
        `HostKey ${file('host')}`,
        `AuthorizedKeysFile ${file('authorized')}`,
        'PidFile none',
        'UsePAM no',
        'PasswordAuthentication no',
        'PermitRootLogin prohibit-password',
        'StrictModes no', // the temporary folder belongs to everybody
        'AcceptEnv NXNW_*',
        'Subsystem sftp internal-sftp',
        '',
      ].join('\n'),
    );
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    const program = findProgram('sshd');
    if (program === undefined) throw new Error('no sshd: node tools/start.mjs --setup sshd');
    this.child = spawn(program, ['-D', '-e', '-f', file('config')], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.child.stderr?.setEncoding('utf8').on('data', (s: string) => (this.said += s));
  }

  static async start(dir: string, host = '127.0.5.22'): Promise<Sshd> {
    const sshd = new Sshd(dir, host, await freePort(host));
    const until = Date.now() + START_MS;
    while (!sshd.said.includes('Server listening')) {
      if (sshd.child.exitCode !== null || Date.now() > until) throw new Error(`sshd does not start: ${sshd.said}`);
      await sleep(20);
    }
    return sshd;
  }

  /** What it has logged so far. */
  get log(): string {
    return this.said;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    this.child.kill();
    await once(this.child, 'exit');
  }
}
