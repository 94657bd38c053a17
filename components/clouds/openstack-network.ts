import type * as pulumi from '@pulumi/pulumi';
import { Network } from '@pulumi/openstack/networking/network';
import { Router } from '@pulumi/openstack/networking/router';
import { RouterInterface } from '@pulumi/openstack/networking/routerInterface';
import { Subnet } from '@pulumi/openstack/networking/subnet';
import { ipv4, parseCidr } from '../plan/ranges.js';
import { externalNetworkId } from './openstack-lookup.js';
import { tagsOf, type Scope } from './openstack-scope.js';
import type { OpenstackSettings } from './settings.js';

/** A subnet that machines stand in. */
export interface Site {
  readonly subnetId: pulumi.Input<string>;
  /** Availability zone; '' = the cloud chooses. */
  readonly zone: string;
  /** What must be there before a machine can reach anything outside its subnet. */
  readonly routed: readonly pulumi.Resource[];
}

export interface CloudNetwork {
  readonly networkId: pulumi.Input<string>;
  /** In the order of the settings: `machine.site` counts in it. */
  readonly sites: readonly Site[];
}

/** Machines begin at this part of a subnet; what is below is Neutron's: gateway, DHCP. */
const MACHINES_FROM = 1 / 16;

/**
 * Neutron's own addresses in a subnet that is made: the gateway, and the pool that it takes its DHCP ports from. Apart
 * from the machines', so that it never takes one that a later machine shall have. `last < first` where there is no room.
 */
export function poolOf(cidr: string): {
  readonly gateway: string;
  readonly first: string;
  readonly last: string;
  readonly size: number;
} {
  const { base, size } = parseCidr(cidr);
  const last = Math.floor(size * MACHINES_FROM) - 1;
  return { gateway: ipv4(base + 1), first: ipv4(base + 2), last: ipv4(base + last), size: last - 1 };
}

/** The network of the settings: the given one, or one made with its subnets, a router and the way out. */
export function networkOf(scope: Scope, s: OpenstackSettings): CloudNetwork {
  if (s.networkId === undefined) return madeNetwork(scope, s);
  return {
    networkId: s.networkId,
    sites: s.subnets.map(({ id, zone }) => {
      if (id === undefined) throw new Error('the settings were checked: subnets of a given network have ids');
      return { subnetId: id, zone, routed: [] };
    }),
  };
}

function madeNetwork(scope: Scope, s: OpenstackSettings): CloudNetwork {
  const { label, platformId, options } = scope;
  const tags = tagsOf(scope);
  const network = new Network(`${label}-network`, { name: platformId, adminStateUp: true, tags }, options);
  // the router also stands without a way out: machines of one platform are in several subnets
  const router = new Router(
    `${label}-router`,
    {
      name: platformId,
      adminStateUp: true,
      ...(s.externalNetwork === '' ? {} : { externalNetworkId: externalNetworkId(scope, s) }),
      tags,
    },
    options,
  );
  const sites = s.subnets.map(({ cidr, zone }): Site => {
    const pool = poolOf(cidr);
    const subnet = new Subnet(
      `${label}-subnet-${cidr}`,
      {
        name: `${platformId}-${cidr}`,
        networkId: network.id,
        cidr,
        ipVersion: 4,
        gatewayIp: pool.gateway,
        enableDhcp: true,
        allocationPools: [{ start: pool.first, end: pool.last }],
        tags,
      },
      options,
    );
    const way = new RouterInterface(`${label}-route-${cidr}`, { routerId: router.id, subnetId: subnet.id }, options);
    return { subnetId: subnet.id, zone, routed: [way] };
  });
  return { networkId: network.id, sites };
}
