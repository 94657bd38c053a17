import { createHash } from 'node:crypto';
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { findProgram, repoRoot } from '@nxnw/tools';
import { aptSources } from '@nxnw/tools/image/root';

const run = promisify(execFile);
const INSTALL_MS = 30 * 60_000;
const DISK_BYTES = 64 * 1024 ** 3;

/** Debian packages of the control domain. */
const PACKAGES = [
  ...['systemd', 'systemd-sysv', 'udev', 'dbus', 'kmod', 'procps', 'iproute2', 'openssh-server', 'netcat-openbsd'],
  ...['linux-image-amd64', 'initramfs-tools', 'lz4', 'xen-hypervisor-4.17-amd64', 'xen-utils-4.17', 'xen-utils-common'],
  ...['xenstore-utils', 'libvirt-daemon', 'libvirt-daemon-system', 'libvirt-daemon-driver-xen', 'libvirt-clients'],
  ...['dnsmasq-base', 'iptables', 'bridge-utils', 'qemu-utils'],
];

/** Without what a small, emulated host does not need: it starts faster, and nothing starts by itself. */
const DISABLED = ['libvirtd.socket', 'libvirtd-ro.socket', 'libvirtd-admin.socket'];
const MASKED = ['libvirt-guests.service', 'xendomains.service', 'virtlockd.socket', 'virtlockd-admin.socket', 'virtlogd-admin.socket', 'e2scrub_reap.service', 'e2scrub_all.timer', 'apt-daily.timer', 'apt-daily-upgrade.timer', 'systemd-pstore.service', 'systemd-networkd-wait-online.service']; // prettier-ignore
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_net', 'ext4'];

/** Before the packages come: an initrd of these modules only. */
const EARLY: Readonly<Record<string, string>> = {
  '/etc/initramfs-tools/conf.d/lab': 'MODULES=list\nCOMPRESS=lz4\n',
  '/usr/share/initramfs-tools/modules.d/lab': `${MODULES.join('\n')}\n`,
};

const files = (o: Dom0Options): Readonly<Record<string, string>> => ({
  '/etc/systemd/network/10-eth0.network': `[Match]\nName=eth0\n[Network]\nAddress=${o.address}/${String(o.bits)}\nGateway=${o.gateway}\nLinkLocalAddressing=no\n`,
  '/etc/modules-load.d/xen.conf':
    'xen-evtchn\nxen-gntdev\nxen-gntalloc\nxen-blkback\nxen-netback\nxen-privcmd\nxenfs\nloop\nbridge\n',
  '/etc/default/libvirtd': 'LIBVIRTD_ARGS="--timeout 0"\n',
  '/etc/fstab': '/dev/vda / ext4 defaults,noatime 0 0\n/dev/vdb /var/lib/libvirt/base ext4 ro,noatime 0 0\n',
  '/etc/hostname': 'dom0\n',
  '/etc/ssh/sshd_config.d/lab.conf': 'PasswordAuthentication no\nUseDNS no\nMaxStartups 64\n',
});

export interface Dom0Options {
  /** Of its network card. */
  readonly address: string;
  readonly bits: number;
  readonly gateway: string;
}

/** Files that start a control domain. */
export interface Dom0 {
  /** The hypervisor, as ELF. */
  readonly xen: string;
  readonly kernel: string;
  readonly initrd: string;
  /** Raw; not to be written to. */
  readonly disk: string;
}

/**
 * A Debian 12 with Xen as a control domain, its root file system straight on a disk. Kept in .nxnw/xen-dom0 and made
 * anew when what it is made of changes. It lets in nobody: the key of a lab is put on its second disk.
 */
export async function ensureDom0(o: Dom0Options): Promise<Dom0> {
  const dir = join(repoRoot, '.nxnw', 'xen-dom0');
  const made = { xen: join(dir, 'xen'), kernel: join(dir, 'vmlinuz'), initrd: join(dir, 'initrd.img'), disk: join(dir, 'dom0.raw') }; // prettier-ignore
  const inputs = createHash('sha256').update(readFileSync(__filename)).update(JSON.stringify(o)).digest('hex');
  const stamp = join(dir, 'inputs');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs) return made;
  const stage = join(dir, `stage-${String(process.pid)}`);
  const root = join(stage, 'root');
  const began = Date.now();
  try {
    mkdirSync(stage, { recursive: true });
    await debian(root, stage, o);
    const boot = join(root, 'boot');
    const kernel = readdirSync(boot).filter((f) => f.startsWith('vmlinuz-')).at(-1) ?? ''; // prettier-ignore
    rmSync(stamp, { force: true });
    writeFileSync(made.xen, gunzipSync(readFileSync(join(boot, 'xen-4.17-amd64.gz'))));
    copyFileSync(join(boot, kernel), made.kernel);
    copyFileSync(join(boot, kernel.replace('vmlinuz', 'initrd.img')), made.initrd);
    await makeFileSystem(root, join(stage, 'dom0.raw'), DISK_BYTES, 'dom0');
    renameSync(join(stage, 'dom0.raw'), made.disk);
    writeFileSync(stamp, inputs);
    console.log(`      made the control domain's disk in ${String(Math.round((Date.now() - began) / 1000))} s`);
    return made;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** A raw disk that is one ext4, with what lies in the folder `root`. */
export async function makeFileSystem(root: string, raw: string, bytes: number, label: string): Promise<void> {
  writeFileSync(raw, '');
  truncateSync(raw, bytes);
  await run(findProgram('mkfs.ext4') ?? 'mkfs.ext4', ['-q', '-F', '-L', label, '-d', root, raw], { timeout: INSTALL_MS }); // prettier-ignore
}

async function debian(root: string, stage: string, o: Dom0Options): Promise<void> {
  const early = join(stage, 'early');
  lay(early, EARLY);
  const without = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*'];
  const args = [
    ...['--variant=apt', '--mode=root', '--format=directory', `--include=${PACKAGES.join(',')}`],
    '--aptopt=APT::Install-Recommends "false"',
    ...without.map((path) => `--dpkgopt=path-exclude=${path}`),
    `--essential-hook=cp -r ${early}/. "$1"`,
    ...['bookworm', root, ...(await aptSources())],
  ];
  await run(findProgram('mmdebstrap') ?? 'mmdebstrap', args, { timeout: INSTALL_MS, maxBuffer: 64e6 });
  lay(root, files(o));
  // libvirt makes the second one only for a network that has names or leases
  for (const folder of ['base', 'dnsmasq']) mkdirSync(join(root, 'var', 'lib', 'libvirt', folder), { recursive: true });
  mkdirSync(join(root, 'root', '.ssh'), { recursive: true, mode: 0o700 });
  const inRoot = (...command: string[]) => run(findProgram('chroot') ?? 'chroot', [root, ...command]);
  // the key is the lab's, on the other disk
  symlinkSync('/var/lib/libvirt/base/authorized_keys', join(root, 'root', '.ssh', 'authorized_keys'));
  await inRoot('systemctl', '--quiet', 'enable', 'systemd-networkd.service', 'libvirtd.service');
  await inRoot('systemctl', '--quiet', 'disable', ...DISABLED);
  await inRoot('systemctl', '--quiet', 'mask', ...MASKED);
  rmSync(join(root, 'etc', 'libvirt', 'qemu', 'networks', 'autostart'), { recursive: true, force: true });
}

function lay(root: string, texts: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(texts)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}
