import { NxnwError } from '@nxnw/platform/errors';
import { allAt, at, parseXml } from './xml.js';
import { virsh, virshWithFile, type Target } from './virsh.js';

/** How domains run at a host: `qemu` is emulation, several times slower than `kvm`. */
export type Virtualisation = 'kvm' | 'qemu' | 'test' | 'xenpv' | 'xenpvh';

const KIB = 1024;

/**
 * How a host of `kind` runs domains. libvirt offers kvm wherever /dev/kvm opens, so the processor must have svm or vmx
 * too. A Xen host that offers PVH runs a kernel that we give in it; an image's own boot loader needs PV.
 * @throws LIBVIRT_UNSUITABLE where the host is of another kind
 */
export async function virtualisationOf(target: Target, kind: 'kvm' | 'xen', kernel: boolean): Promise<Virtualisation> {
  if (target.uri.startsWith('test:')) return 'test';
  const text = await virsh(target, ['capabilities']);
  const guests = allAt(parseXml(text), 'guest');
  const offers = (type: string) => guests.some((g) => allAt(g, 'arch', 'domain').some((d) => d.attributes['type'] === type)); // prettier-ignore
  if (kind === 'xen' && offers('xen'))
    return kernel && guests.some((g) => at(g, 'os_type')?.text === 'xenpvh') ? 'xenpvh' : 'xenpv';
  if (kind === 'kvm' && offers('kvm') && (await hasExtensions(target, text))) return 'kvm';
  if (kind === 'kvm' && offers('qemu')) return 'qemu';
  throw new NxnwError(
    'LIBVIRT_UNSUITABLE',
    `${target.resource}: ${target.uri} runs no domains of kind ${kind}; install ${kind === 'kvm' ? 'qemu-system-x86 and libvirt-daemon-driver-qemu' : 'Xen and libvirt-daemon-driver-xen'} there, or give another host`,
    { uri: target.uri, kind },
  );
}

/** `capabilities` names a model and what goes beyond it; cpu-baseline spells out the model's own features. */
async function hasExtensions(target: Target, capabilities: string): Promise<boolean> {
  const cpu = await virshWithFile(target, capabilities, ['cpu-baseline', '--features', 'FILE']);
  return allAt(parseXml(cpu), 'feature').some(
    (f) => ['svm', 'vmx'].includes(f.attributes['name'] ?? '') && f.attributes['policy'] === 'require',
  );
}

/** `free   :  123 KiB` of nodememstats and freecell, in MiB by its name in lower case. */
export function memoryLines(text: string): ReadonlyMap<string, number> {
  const lines = [...text.matchAll(/^(\w+)\s*:\s*(\d+) KiB/gm)];
  return new Map(lines.map((m) => [(m[1] ?? '').toLowerCase(), Math.floor(Number(m[2]) / KIB)]));
}

/** MiB that running domains may take, as `domstats --balloon` tells it. */
export function promisedMiB(domstats: string): number {
  const each = [...domstats.matchAll(/balloon\.maximum=(\d+)/g)].map((m) => Number(m[1]) / KIB);
  return Math.ceil(each.reduce((a, b) => a + b, 0));
}

/**
 * Refuses what the host has no memory for: free now, and not promised to domains that have not touched theirs yet.
 * @throws NO_MEMORY_ON_HOST with the numbers
 */
export async function checkMemory(target: Target, neededMiB: number): Promise<void> {
  // the test driver has no such host
  if (target.uri.startsWith('test:')) return;
  const available = target.uri.startsWith('xen')
    ? (memoryLines(await virsh(target, ['freecell'])).get('total') ?? 0)
    : await freeOfLinux(target);
  if (neededMiB <= available) return;
  throw new NxnwError(
    'NO_MEMORY_ON_HOST',
    `${target.resource}: ${target.uri} has ${String(Math.max(0, available))} MiB of memory left for domains, and ${String(neededMiB)} MiB are needed; ` +
      'stop domains there, give the machines less memory (sizes.GROUP.memoryMiB), or list another host',
    { uri: target.uri, availableMiB: available, neededMiB },
  );
}

async function freeOfLinux(target: Target): Promise<number> {
  const stats = memoryLines(await virsh(target, ['nodememstats']));
  const of = (name: string) => stats.get(name) ?? 0;
  const promised = promisedMiB(await virsh(target, ['domstats', '--balloon', '--list-active']));
  // What the kernel only caches it gives back.
  return Math.min(of('free') + of('buffers') + of('cached'), of('total') - promised);
}
