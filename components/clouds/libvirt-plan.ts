import type { DomainInputs } from '@nxnw/migration/resources/engines/libvirt/machines';
import type { FilterRule } from '@nxnw/migration/resources/engines/libvirt/filter-xml';
import type { SubnetShape } from '@nxnw/migration/resources/engines/libvirt/network-xml';
import { NxnwError } from '@nxnw/platform/errors';
import { checkUri } from '@nxnw/migration/resources/engines/libvirt/virsh';
import { ipv4, parseCidr } from '../plan/ranges.js';
import { inGroup, type Machine } from '../plan/machines.js';
import type { Flow } from '../plan/traffic.js';
import type { AccessSettings, LibvirtSettings, MachineGroup } from './settings.js';

/** What cloud-init reads once, at the first boot: a machine that holds data keeps what it was made with. */
export const FIRST_BOOT = ['image', 'boot', 'userData', 'sshKey'] as const satisfies readonly (keyof DomainInputs)[];

/** The URI of the host that the machine is placed on: those of a group take the hosts in turn. */
export function hostOf(s: LibvirtSettings, m: Machine): string {
  const host = s.hosts[m.index % s.hosts.length];
  if (host === undefined) throw new Error('a libvirt cloud has at least one host');
  return host;
}

export function subnetOf(s: LibvirtSettings, site: number): SubnetShape {
  const subnet = s.subnets[site];
  if (subnet === undefined) throw new Error('a machine stands in a subnet of its cloud');
  const { base, bits } = parseCidr(subnet.cidr);
  return { gateway: ipv4(base + 1), prefix: bits };
}

/** Subnets of the network that is made on host `index`: all on the only host, else its own. */
export function subnetsOn(s: LibvirtSettings, index: number): SubnetShape[] {
  const sites = s.subnets.map((_, i) => i).filter((i) => s.hosts.length === 1 || i === index);
  return sites.map((i) => subnetOf(s, i));
}

export function forwardOf(s: LibvirtSettings): 'nat' | 'route' {
  return s.forward ?? (s.hosts.length === 1 ? 'nat' : 'route');
}

/** Throws BAD_CONFIG with every fault of the settings that spans keys. */
export function checkSettings(kind: 'kvm' | 'xen', s: LibvirtSettings): void {
  const at = `nxnw:cloud.${kind}`;
  const scheme = kind === 'kvm' ? 'qemu' : 'xen';
  const faults: string[] = s.hosts.flatMap((uri, i) => {
    const key = `${at}.hosts[${String(i)}]`;
    if (s.hosts.indexOf(uri) !== i) return [`${key}: "${uri}" is listed twice`];
    try {
      checkUri(uri);
    } catch (e) {
      return [`${key}: ${e instanceof Error ? e.message : String(e)}`];
    }
    const fits = uri.startsWith(`${scheme}:`) || uri.startsWith(`${scheme}+`) || uri.startsWith('test:');
    return fits ? [] : [`${key}: a host of kind ${kind} has a URI that begins with ${scheme} (given: "${uri}")`];
  });
  if (s.hosts.length === 0) faults.push(`${at}.hosts: at least one libvirt URI is needed`);
  if (s.hosts.length > 1 && s.network === undefined && s.hosts.length !== s.subnets.length)
    faults.push(
      `${at}.subnets: ${String(s.hosts.length)} hosts share no network unless you name one that spans them (network); ` +
        `otherwise give one subnet for each host (given: ${String(s.subnets.length)}) and route them to each other`,
    );
  if (faults.length > 0)
    throw new NxnwError('BAD_CONFIG', `the cloud ${kind} has faults:\n${faults.map((f) => `  ${f}`).join('\n')}`, { faults }); // prettier-ignore
}

/** Addresses that follow each other, as ranges: `10.77.0.16-10.77.0.18`; a single one stands alone. */
export function ranges(addresses: readonly string[]): string[] {
  const numbers = addresses.map((a) => a.split('.').reduce((n, part) => n * 256 + Number(part), 0));
  const found: { first: number; last: number }[] = [];
  for (const n of [...new Set(numbers)].sort((a, b) => a - b)) {
    const top = found.at(-1);
    if (top !== undefined && n === top.last + 1) top.last = n;
    else found.push({ first: n, last: n });
  }
  return found.map((r) => (r.first === r.last ? ipv4(r.first) : `${ipv4(r.first)}-${ipv4(r.last)}`));
}

function sourcesOf(from: Flow['from'], machines: readonly Machine[], access: AccessSettings): readonly string[] {
  if (from === 'data' || from === 'app' || from === 'edge') return ranges(inGroup(machines, from).map((m) => m.host));
  return access[from];
}

/** What is let in to the machines of `group`; a group's machines are few ranges, however many they are. */
export function rulesFor(
  group: MachineGroup,
  flows: readonly Flow[],
  machines: readonly Machine[],
  access: AccessSettings,
): FilterRule[] {
  return flows
    .filter((f) => f.to === group)
    .flatMap(({ from, first, last, what }) =>
      sourcesOf(from, machines, access).map((source) => ({ source, first, last, what: `${what} from ${from}` })),
    );
}
