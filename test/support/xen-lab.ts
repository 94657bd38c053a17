import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '@nxnw/tools';
import { ensurePrograms } from '@nxnw/tools/setup/debian';
import { until } from './agents.js';
import { ensureDom0, makeFileSystem } from './xen-dom0.js';

const run = promisify(execFile);
const GIB = 1024 ** 3;
const BOOT_MS = 20 * 60_000;
const CALL_MS = 5 * 60_000;
/** What the cache of the control domain, its disks and the machines' take. */
const DISK_GIB = 25;
const BASE = '/var/lib/libvirt/base';

export interface XenLabOptions {
  /** The image that machines are made of, raw, with its kernel and initrd. */
  readonly image: string;
  readonly kernel: string;
  readonly initrd: string;
  /** Addresses of a network of two: of this machine and of the control domain, with the network's bits. */
  readonly here: string;
  readonly there: string;
  readonly bits: number;
  /** Network of the machines. */
  readonly behind: string;
  /** MiB of the control domain, and of all. */
  readonly dom0MiB: number;
  readonly memoryMiB: number;
}

/** Why no lab can run here; null if one can. */
export function whyNoXen(): string | null {
  if (process.getuid?.() !== 0) return 'it needs root, for a network card of the control domain';
  const { bavail, bsize } = statfsSync(tmpdir());
  return bavail * bsize < DISK_GIB * GIB ? `it needs ${String(DISK_GIB)} GiB of disk in ${tmpdir()}` : null;
}

/** A real Xen with its control domain, on a machine that QEMU emulates, reached by ssh. */
export class XenLab {
  private machine: ChildProcess | undefined;
  private readonly tap = `nxx${String(process.pid)}`;

  private constructor(
    readonly dir: string,
    private readonly o: XenLabOptions,
  ) {}

  static async start(o: XenLabOptions): Promise<XenLab> {
    await ensurePrograms(['mmdebstrap', 'mkfs.ext4', 'qemu-system-x86_64', 'qemu-img', 'genisoimage']);
    const lab = new XenLab(mkdtempSync(join(tmpdir(), 'nxnw-xen-')), o);
    try {
      await lab.boot();
    } catch (e) {
      console.log(lab.serial().slice(-4000));
      await lab.destroy();
      throw e;
    }
    return lab;
  }

  /** libvirt's URI of it. */
  get uri(): string {
    return `xen+ssh://root@${this.o.there}/system?keyfile=${join(this.dir, 'key')}&no_verify=1&sshauth=privkey&command=${join(this.dir, 'ssh')}`;
  }

  /** Path of the image on it. */
  get image(): string {
    return `${BASE}/nxnw.raw`;
  }

  /** Makes another name of the image on it; answers its path. */
  async newerImage(): Promise<string> {
    const path = '/var/lib/libvirt/nxnw-newer.raw';
    await this.ssh(`ln -s ${this.image} ${path}`);
    return path;
  }

  /** Kernel and initrd of the image on it. */
  get kernelFiles(): { readonly kernel: string; readonly initrd: string } {
    return { kernel: `${BASE}/vmlinuz`, initrd: `${BASE}/initrd.img` };
  }

  private async boot(): Promise<void> {
    const { o, dir } = this;
    const dom0 = await ensureDom0({ address: o.there, bits: o.bits, gateway: o.here });
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, 'key')]);
    const kept = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'ControlMaster=auto', `ControlPath=${join(dir, 'mux')}`, 'ControlPersist=yes']; // prettier-ignore
    // one connection for all calls: its handshake costs an emulated host more than they do
    writeFileSync(join(dir, 'ssh'), `#!/bin/sh\nexec ssh ${kept.map((x) => `-o ${x}`).join(' ')} "$@"\n`, { mode: 0o755 }); // prettier-ignore
    const base = join(dir, 'base');
    mkdirSync(base);
    copyFileSync(join(dir, 'key.pub'), join(base, 'authorized_keys'));
    linkSync(o.image, join(base, 'nxnw.raw'));
    linkSync(o.kernel, join(base, 'vmlinuz'));
    linkSync(o.initrd, join(base, 'initrd.img'));
    await makeFileSystem(base, join(dir, 'base.raw'), 8 * GIB, 'base');
    rmSync(base, { recursive: true });
    await run(findProgram('qemu-img') ?? 'qemu-img', ['create', '-q', '-f', 'qcow2', '-b', dom0.disk, '-F', 'raw', join(dir, 'dom0.qcow2')]); // prettier-ignore
    await run('ip', ['tuntap', 'add', this.tap, 'mode', 'tap']);
    await run('ip', ['address', 'add', `${o.here}/${String(o.bits)}`, 'dev', this.tap]);
    await run('ip', ['link', 'set', this.tap, 'up']);
    await run('ip', ['route', 'add', o.behind, 'via', o.there, 'dev', this.tap]);
    const drive = (file: string, format: string) => ['-drive', `file=${join(dir, file)},format=${format},if=virtio,cache=unsafe`]; // prettier-ignore
    const args = [
      // emulated everywhere: Xen's own guests of the plain kind (PV) ask nothing of the processor
      ...['-machine', 'q35,accel=tcg', '-cpu', 'Nehalem', '-smp', '2', '-m', String(o.memoryMiB)],
      ...['-nodefaults', '-display', 'none', '-no-reboot', '-serial', `file:${join(dir, 'serial.txt')}`],
      ...['-kernel', dom0.xen, '-append'],
      `dom0_mem=${String(o.dom0MiB)}M,max:${String(o.dom0MiB)}M com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=warning noreboot spec-ctrl=no xpti=0 pv-l1tf=0`,
      '-initrd',
      `${dom0.kernel} root=/dev/vda rw console=hvc0 quiet net.ifnames=0 mitigations=off,${dom0.initrd}`,
      ...drive('dom0.qcow2', 'qcow2'),
      ...drive('base.raw', 'raw'),
      ...['-netdev', `tap,id=n,ifname=${this.tap},script=no,downscript=no`],
      ...['-device', 'virtio-net-pci,netdev=n', '-device', 'virtio-rng-pci'],
    ];
    const began = Date.now();
    const machine = spawn(findProgram('qemu-system-x86_64') ?? 'qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'inherit'] }); // prettier-ignore
    this.machine = machine;
    await once(machine, 'spawn');
    await until('libvirt answers in the control domain', BOOT_MS, async () => {
      if (machine.exitCode !== null || machine.signalCode !== null) throw new Error('QEMU ended');
      return this.ssh('virsh -q -c xen:///system version >/dev/null && echo yes').catch(() => null);
    });
    console.log(`      Xen and its control domain after ${String(Math.round((Date.now() - began) / 1000))} s`);
  }

  /** Runs a line of shell in the control domain. */
  async ssh(line: string): Promise<string> {
    const args = ['-i', join(this.dir, 'key'), '-o', 'ConnectTimeout=60', `root@${this.o.there}`, line];
    return (await run(join(this.dir, 'ssh'), args, { timeout: CALL_MS })).stdout;
  }

  async virsh(...args: string[]): Promise<string> {
    return this.ssh(`virsh -q -c xen:///system ${args.join(' ')}`);
  }

  /** The end of what a domain wrote on its console. */
  async console(domain: string): Promise<string> {
    return this.ssh(`tail -c 4000 /var/log/xen/console/guest-${domain}.log 2>&1 || true`);
  }

  /** What hypervisor and control domain wrote on the serial line. */
  serial(): string {
    const file = join(this.dir, 'serial.txt');
    return existsSync(file) ? readFileSync(file, 'latin1') : '';
  }

  async destroy(): Promise<void> {
    const { machine, dir } = this;
    if (existsSync(join(dir, 'mux'))) await run(join(dir, 'ssh'), ['-O', 'exit', this.o.there]);
    if (machine !== undefined && machine.exitCode === null && machine.signalCode === null) {
      const gone = once(machine, 'exit');
      machine.kill('SIGKILL');
      await gone;
    }
    if (existsSync(`/sys/class/net/${this.tap}`)) await run('ip', ['link', 'delete', this.tap]);
    rmSync(dir, { recursive: true, force: true });
  }
}
