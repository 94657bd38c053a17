import { NxnwError } from '@nxnw/platform/errors';
import type { CloudSettings, MachineGroup, SubnetSettings, VirtualSettings } from '../clouds/settings.js';
import { ipv4, parseCidr } from './ranges.js';

/** Where machine `index` of a group stands. */
export interface Place {
  /** IPv4 address. */
  readonly host: string;
  /** Position in the cloud's list of subnets or hosts; 0 where it has neither. */
  readonly site: number;
}

const LOCAL_FIRST: Readonly<Record<MachineGroup, number>> = { data: 11, app: 101, edge: 201 };
/** A group's first address in a subnet, as a part of its size; the end of the last one is the subnet's. */
const SUBNET_FIRST: Readonly<Record<MachineGroup, number>> = { data: 1 / 16, app: 3 / 8, edge: 7 / 8 };
const SUBNET_END: Readonly<Record<MachineGroup, number>> = { data: 3 / 8, app: 7 / 8, edge: 1 };

/** First addresses of a subnet that clouds keep for themselves. */
const RESERVED = 4;

/**
 * The place of each machine, from its group and number alone, so that a platform that grows keeps the addresses it has.
 * Machines of a group take the subnets (or hosts) in turn.
 */
export function placeOf(cloud: CloudSettings, group: MachineGroup, index: number): Place {
  if (cloud.kind === 'local') {
    if (cloud.local === undefined) throw new Error('the local cloud has its settings');
    return { host: `${cloud.local.network}.${String(LOCAL_FIRST[group] + index)}`, site: 0 };
  }
  if (cloud.kind === 'hosts') return listed(cloud.hosts?.hosts ?? [], group, index);
  const block: VirtualSettings | undefined = cloud[cloud.kind];
  if (block === undefined) throw new Error(`the cloud ${cloud.kind} has its settings`);
  return inSubnets(block.subnets, group, index);
}

function listed(hosts: readonly { group: MachineGroup; address: string }[], group: MachineGroup, index: number): Place {
  const site = hosts.findIndex((h, i) => h.group === group && hosts.slice(0, i).filter((o) => o.group === group).length === index); // prettier-ignore
  const host = hosts[site];
  if (host !== undefined) return { host: host.address, site };
  const has = hosts.filter((h) => h.group === group).length;
  throw new NxnwError(
    'BAD_CONFIG',
    `nxnw:cloud.hosts lists ${String(has)} machines of group ${group}, and the platform needs machine ${String(index + 1)} of it; list more, or ask for fewer`,
    { group },
  );
}

function inSubnets(subnets: readonly SubnetSettings[], group: MachineGroup, index: number): Place {
  const site = index % subnets.length;
  const subnet = subnets[site];
  if (subnet === undefined) throw new Error('a cloud has at least one subnet');
  const { base, size } = parseCidr(subnet.cidr);
  const offset = Math.max(SUBNET_FIRST[group] * size, RESERVED) + Math.floor(index / subnets.length);
  // the last address is the network's broadcast
  if (offset >= SUBNET_END[group] * size - (group === 'edge' ? 1 : 0))
    throw new NxnwError(
      'BAD_CONFIG',
      `the subnet ${subnet.cidr} has no address left for ${group} machine ${String(index + 1)}; give larger subnets or more of them`,
      { group, cidr: subnet.cidr },
    );
  return { host: ipv4(base + offset), site };
}

/**
 * Address at which the operator reaches a machine's agent, where it is known before the machine is made; '' where the
 * cloud gives the machine another one: a refresh cannot tell then that such a machine is lost, and `replace` makes it
 * anew.
 */
export function reachedAt(cloud: CloudSettings, m: { readonly group: MachineGroup; readonly host: string }): string {
  const ec2 = cloud.kind === 'ec2' || cloud.kind === 'eucalyptus' ? cloud[cloud.kind] : undefined;
  if (ec2 !== undefined) return ec2.vpcId === undefined ? '' : m.host;
  const floats = cloud.kind === 'openstack' && m.group === 'edge' && cloud.openstack?.externalNetwork !== '';
  return floats ? '' : m.host;
}
