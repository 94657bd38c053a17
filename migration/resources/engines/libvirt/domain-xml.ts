import type { Virtualisation } from './host.js';
import { METADATA_URI } from './names.js';
import { at, el, type XmlElement } from './xml.js';
import type { ImageFormat } from './volume-xml.js';

/** A kernel of the host that a domain starts with, where its image has no boot loader. */
export interface DirectBoot {
  /** Paths on the host. */
  readonly kernel: string;
  readonly initrd: string;
  readonly cmdline: string;
}

/** What our element in a domain's metadata says: whose it is, and a digest of what it was made from. */
export interface Mark {
  readonly platformId: string;
  readonly machine: string;
  readonly image: string;
  readonly spec: string;
}

export interface DomainShape {
  readonly name: string;
  /** Of the domain that is to change; without it libvirt chooses one. */
  readonly uuid?: string;
  readonly mark: Mark;
  readonly virtualisation: Virtualisation;
  readonly memoryMiB: number;
  readonly vcpus: number;
  /** Paths on the host; `data` is '' for a machine without a disk of its own. */
  readonly disks: {
    readonly root: string;
    readonly rootFormat: ImageFormat;
    readonly data: string;
    readonly seed: string;
  };
  readonly network: string;
  readonly mac: string;
  /** The only IPv4 address that the machine may send from. */
  readonly address: string;
  /** nwfilter of its interface; '' = none. */
  readonly filter: string;
  readonly boot: DirectBoot | null;
}

/** MiB of code that emulation keeps translated; QEMU's own limit is a GiB for each domain. */
const TRANSLATED_MIB = 128;
/** In the guest: /dev/disk/by-id/virtio-nxnw-data. On Xen it is /dev/xvdb. */
const DATA_SERIAL = 'nxnw-data';

const isXen = (s: DomainShape): boolean => s.virtualisation === 'xenpv' || s.virtualisation === 'xenpvh';

/** A domain of libvirt. Pure; every value is escaped where it is written. */
export function domainXml(s: DomainShape): XmlElement {
  const xen = isXen(s);
  return el(
    'domain',
    { type: xen ? 'xen' : s.virtualisation },
    el('name', {}, s.name),
    s.uuid !== undefined && el('uuid', {}, s.uuid),
    metadata(s.mark),
    el('memory', { unit: 'MiB' }, s.memoryMiB),
    el('currentMemory', { unit: 'MiB' }, s.memoryMiB),
    el('vcpu', {}, s.vcpus),
    // pygrub finds kernel and configuration inside the image
    s.virtualisation === 'xenpv' && s.boot === null && el('bootloader', {}, 'pygrub'),
    system(s),
    ...(xen ? [] : processor(s)),
    el('clock', { offset: 'utc' }),
    el('on_poweroff', {}, 'destroy'),
    el('on_reboot', {}, 'restart'),
    el('on_crash', {}, 'restart'),
    el('devices', {}, ...disks(s), card(s), ...(xen ? [xenConsole()] : machineDevices(s))),
  );
}

function metadata(m: Mark): XmlElement {
  const mark = { platform: m.platformId, name: m.machine, image: m.image, spec: m.spec };
  return el('metadata', {}, el('nxnw:machine', { 'xmlns:nxnw': METADATA_URI, ...mark }));
}

/** Our element of a domain; null for a domain that is not ours. */
export function markOf(domain: XmlElement): Mark | null {
  const mark = at(domain, 'metadata', 'nxnw:machine');
  if (mark?.attributes['xmlns:nxnw'] !== METADATA_URI) return null;
  const { platform: platformId = '', name: machine = '', image = '', spec = '' } = mark.attributes;
  return { platformId, machine, image, spec };
}

const OS_TYPE: Readonly<Record<Virtualisation, readonly [string, string | undefined]>> = {
  kvm: ['hvm', 'q35'],
  qemu: ['hvm', 'q35'],
  test: ['hvm', undefined],
  xenpv: ['linux', 'xenpv'],
  xenpvh: ['xenpvh', 'xenpvh'],
};

function system(s: DomainShape): XmlElement {
  const [type, machine] = OS_TYPE[s.virtualisation];
  return el(
    'os',
    {},
    // the test driver is of 32 bits
    el('type', { arch: s.virtualisation === 'test' ? undefined : 'x86_64', machine }, type),
    ...(s.boot === null
      ? [s.virtualisation !== 'xenpv' && el('boot', { dev: 'hd' })]
      : [el('kernel', {}, s.boot.kernel), el('initrd', {}, s.boot.initrd), el('cmdline', {}, s.boot.cmdline)]),
  );
}

/** Emulation gets the plainest processor: what it does not pretend to have costs nothing. */
function processor(s: DomainShape): XmlElement[] {
  const emulated = s.virtualisation === 'qemu';
  return [
    el(
      'features',
      {},
      el('acpi'),
      el('apic'),
      emulated && el('tcg', {}, el('tb-cache', { unit: 'MiB' }, TRANSLATED_MIB)),
    ),
    ...(s.virtualisation === 'kvm' ? [el('cpu', { mode: 'host-model' })] : []),
    ...(emulated ? [el('cpu', { mode: 'custom', match: 'minimum', check: 'none' }, el('model', {}, 'qemu64'))] : []),
  ];
}

function disks(s: DomainShape): XmlElement[] {
  const xen = isXen(s);
  const [prefix, bus] = xen ? ['xvd', 'xen'] : ['vd', 'virtio'];
  const disk = (letter: string, path: string, format: ImageFormat, ...more: XmlElement[]) =>
    el(
      'disk',
      { type: 'file', device: 'disk' },
      // On Xen files are loop devices, which need no QEMU in the control domain.
      xen ? el('driver', { name: 'phy', type: format }) : el('driver', { name: 'qemu', type: format, discard: 'unmap' }), // prettier-ignore
      el('source', { file: path }),
      el('target', { dev: `${prefix}${letter}`, bus }),
      ...more,
    );
  return [
    disk('a', s.disks.root, s.disks.rootFormat),
    ...(s.disks.data === '' ? [] : [disk('b', s.disks.data, 'raw', ...(xen ? [] : [el('serial', {}, DATA_SERIAL)]))]),
    disk('c', s.disks.seed, 'raw', el('readonly')),
  ];
}

function card(s: DomainShape): XmlElement {
  return el(
    'interface',
    { type: 'network' },
    el('mac', { address: s.mac }),
    el('source', { network: s.network }),
    !isXen(s) && el('model', { type: 'virtio' }),
    s.filter !== '' && el('filterref', { filter: s.filter }, el('parameter', { name: 'IP', value: s.address })),
  );
}

function xenConsole(): XmlElement {
  return el('console', { type: 'pty' }, el('target', { type: 'xen', port: 0 }));
}

/** `virsh console` reads the serial line too; what it said before is in the log on the host. */
function machineDevices(s: DomainShape): XmlElement[] {
  const log = `/var/log/libvirt/qemu/${s.name}.console.log`;
  return [
    el('serial', { type: 'pty' }, el('log', { file: log, append: 'on' }), el('target', { port: 0 })),
    el('rng', { model: 'virtio' }, el('backend', { model: 'random' }, '/dev/urandom')),
    el('memballoon', { model: 'virtio' }),
  ];
}
