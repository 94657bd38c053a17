import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { until } from './agents.js';

const run = promisify(execFile);
const START_MS = 20_000;
const END_MS = 10_000;
const CONNECT_MS = 5000;
const INSTALL_MS = 15 * 60_000;

/** Debian packages that a lab needs. */
export const LAB_PACKAGES = 'libvirt-clients libvirt-daemon-system libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils seabios ipxe-qemu dnsmasq-base iptables ebtables genisoimage iproute2'; // prettier-ignore
const PROGRAMS = ['virsh', 'libvirtd', 'qemu-system-x86_64', 'qemu-img', 'dnsmasq', 'ebtables', 'genisoimage', 'unshare']; // prettier-ignore

/** Why no lab can run here; null if one can. */
export function whyNoLab(): string | null {
  if (process.getuid?.() !== 0) return 'it needs root, for namespaces of its own';
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  const missing = PROGRAMS.filter((p) => {
    try {
      execFileSync('sh', ['-c', `command -v ${p}`], { env: { ...process.env, PATH: path }, stdio: 'pipe' });
      return false;
    } catch {
      return true;
    }
  });
  if (missing.length > 0) return `${missing.join(', ')} missing: apt-get install --no-install-recommends ${LAB_PACKAGES}`; // prettier-ignore
  try {
    execFileSync('unshare', ['--net', '--mount', '--propagation', 'private', 'true'], { stdio: 'pipe' });
    return null;
  } catch (e) {
    return `no namespaces of its own here: ${String(e)}`;
  }
}

/** As `whyNoLab`, after Debian's packages were installed where they are missing. */
export async function installLab(): Promise<string | null> {
  const why = whyNoLab();
  if (why === null || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return why;
  console.log(`      installing ${LAB_PACKAGES}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args: string[]) => run('apt-get', ['-o', 'DPkg::Lock::Timeout=300', '-q', ...args], { env, timeout: INSTALL_MS, maxBuffer: 64e6 }); // prettier-ignore
  await apt('update');
  await apt('install', '-y', '--no-install-recommends', ...LAB_PACKAGES.split(' '));
  return whyNoLab();
}

/** A cable from this machine's network to the lab's: an address at each end, of one network, and what is behind there. */
export interface Cable {
  readonly here: string;
  readonly there: string;
  readonly bits: number;
  /** Network of the lab's machines. */
  readonly behind: string;
}

/** Settings without which QEMU's driver wants cgroups, users and services of a whole host. */
const QEMU_CONF = `user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
max_core = 0
seccomp_sandbox = 0
`;

/** A libvirtd of its own: own socket, own network and mount namespaces, its state in a folder that is removed. */
export class LibvirtLab {
  private daemon: ChildProcess | undefined;
  private cable: string | undefined;
  readonly uri: string;

  private constructor(private readonly dir: string) {
    this.uri = `qemu:///system?socket=${join(dir, 'run', 'libvirt-sock')}`;
  }

  static async start(): Promise<LibvirtLab> {
    const lab = new LibvirtLab(mkdtempSync(join(tmpdir(), 'nxnw-lab-')));
    for (const d of [
      'run',
      'etc/qemu',
      'etc/nwfilter',
      'etc/storage',
      'lib/qemu',
      'lib/images',
      'lib/dnsmasq',
      'lib/network',
      'log/qemu',
      'cache/qemu',
    ])
      mkdirSync(join(lab.dir, d), { recursive: true });
    writeFileSync(join(lab.dir, 'etc', 'qemu.conf'), QEMU_CONF);
    writeFileSync(
      join(lab.dir, 'etc', 'libvirtd.conf'),
      `auth_unix_ro = "none"\nauth_unix_rw = "none"\nunix_sock_rw_perms = "0700"\nlog_outputs = "3:file:${join(lab.dir, 'log', 'libvirtd.log')}"\n`,
    );
    try {
      await lab.up();
    } catch (e) {
      lab.daemon?.kill('SIGKILL');
      rmSync(lab.dir, { recursive: true, force: true });
      throw e;
    }
    return lab;
  }

  /** Starts the daemon; domains that ran go on running. */
  async up(): Promise<void> {
    const over = { run: '/run', etc: '/etc', lib: '/var/lib', log: '/var/log', cache: '/var/cache' };
    const mounts = Object.entries(over).map(([d, at]) => `mount --bind ${join(this.dir, d)} ${at}/libvirt`);
    const script = [
      'set -e',
      `mkdir -p ${Object.values(over).map((at) => `${at}/libvirt`).join(' ')}`, // prettier-ignore
      ...mounts,
      'ip link set lo up',
      `exec libvirtd -f ${join(this.dir, 'etc', 'libvirtd.conf')} --pid-file ${join(this.dir, 'run', 'libvirtd.pid')}`,
    ].join('\n');
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
    const args = ['--net', '--mount', '--propagation', 'private', 'bash', '-c', script];
    let output = '';
    const daemon = spawn('unshare', args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const s of [daemon.stdout, daemon.stderr]) s.setEncoding('utf8').on('data', (d: string) => (output += d));
    this.daemon = daemon;
    await until('libvirtd answers', START_MS, async () => {
      if (daemon.exitCode !== null) throw new Error(`libvirtd ended: ${output}${this.log()}`);
      return this.virsh('version').catch(() => null);
    });
  }

  /** Ends the daemon as a restart of the host would: running domains are stopped first, by force. */
  async down(): Promise<void> {
    for (const [list, end] of [
      ['list', 'destroy'],
      ['net-list', 'net-destroy'],
    ] as const)
      for (const name of (await this.virsh(list, '--name')).split('\n').map((n) => n.trim()))
        if (name !== '') await this.virsh(end, name);
    const { daemon } = this;
    daemon?.kill('SIGTERM');
    await until('libvirtd ends', END_MS, async () => daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null); // prettier-ignore
    // what a restart of the host forgets
    rmSync(join(this.dir, 'run'), { recursive: true, force: true });
    mkdirSync(join(this.dir, 'run'));
  }

  async virsh(...args: string[]): Promise<string> {
    return (await run('virsh', ['-q', '-c', this.uri, ...args])).stdout;
  }

  /** Runs a program in the host's network. */
  async inside(program: string, ...args: string[]): Promise<string> {
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
    const net = `--net=/proc/${String(this.daemon?.pid)}/ns/net`;
    return (await run('nsenter', [net, program, ...args], { env })).stdout;
  }

  /** Joins the two networks: this machine reaches the lab's machines, and they reach this machine, and it alone. */
  async join({ here, there, bits, behind }: Cable): Promise<void> {
    const name = `nxl${String(process.pid)}`;
    const [inner, length] = [`${name}i`, String(bits)];
    await run('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', inner, 'netns', String(this.daemon?.pid)]);
    this.cable = name;
    await run('ip', ['address', 'add', `${here}/${length}`, 'dev', name]);
    await run('ip', ['link', 'set', name, 'up']);
    await run('ip', ['route', 'add', behind, 'via', there, 'dev', name]);
    await this.inside('ip', 'address', 'add', `${there}/${length}`, 'dev', inner);
    await this.inside('ip', 'link', 'set', inner, 'up');
    await this.inside('ip', 'route', 'add', 'default', 'via', here);
  }

  /** Whether a port of a domain takes connections from this machine. */
  opens(host: string, port: number): Promise<boolean> {
    return new Promise((done) => {
      const socket = connect({ host, port, timeout: CONNECT_MS });
      const end = (is: boolean) => {
        socket.destroy();
        done(is);
      };
      socket
        .once('connect', () => end(true))
        .once('error', () => end(false))
        .once('timeout', () => end(false));
    });
  }

  /** What a domain wrote on its serial line. */
  console(domain: string): string {
    const file = join(this.dir, 'log', 'qemu', `${domain}.console.log`);
    return existsSync(file) ? readFileSync(file, 'latin1') : '';
  }

  log(): string {
    return readFileSync(join(this.dir, 'log', 'libvirtd.log'), 'utf8')
      .split('\n')
      .slice(-20)
      .join('\n');
  }

  /** An empty disk in the host's folder of images; answers its path on the host. */
  async image(name: string, format: 'raw' | 'qcow2', mib: number): Promise<string> {
    const folder = join(this.dir, 'lib', 'base');
    mkdirSync(folder, { recursive: true });
    await run('qemu-img', ['create', '-q', '-f', format, join(folder, name), `${String(mib)}M`]);
    return `/var/lib/libvirt/base/${name}`;
  }

  /** Lays a file into the host's folder of images; answers its path on the host. */
  provide(file: string, name: string): string {
    const folder = join(this.dir, 'lib', 'base');
    mkdirSync(folder, { recursive: true });
    try {
      linkSync(file, join(folder, name));
    } catch (e) {
      if (!(e instanceof Error && 'code' in e && e.code === 'EXDEV')) throw e;
      copyFileSync(file, join(folder, name));
    }
    return `/var/lib/libvirt/base/${name}`;
  }

  /** Bytes of a file of the host's folder of images. */
  fileOf(path: string): Buffer {
    return readFileSync(path.replace('/var/lib/libvirt', join(this.dir, 'lib')));
  }

  async destroy(): Promise<void> {
    if (this.cable !== undefined) await run('ip', ['link', 'delete', this.cable]);
    await this.down();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
