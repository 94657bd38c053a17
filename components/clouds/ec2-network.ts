import * as pulumi from '@pulumi/pulumi';
import { getSubnetOutput } from '@pulumi/aws/ec2/getSubnet';
import { InternetGateway } from '@pulumi/aws/ec2/internetGateway';
import { RouteTable } from '@pulumi/aws/ec2/routeTable';
import { RouteTableAssociation } from '@pulumi/aws/ec2/routeTableAssociation';
import { Subnet } from '@pulumi/aws/ec2/subnet';
import { Vpc } from '@pulumi/aws/ec2/vpc';
import { type Ec2Scope, tagsOf } from './ec2-scope.js';
import type { SubnetSettings } from './settings.js';

/** A subnet that machines stand in. */
export interface Site {
  readonly subnetId: pulumi.Input<string>;
  readonly zone: pulumi.Input<string>;
  /** Machines in it have a public address of their own. */
  readonly isPublic: boolean;
  /** What must be there before a machine reaches anything outside. */
  readonly routes: readonly pulumi.Resource[];
}

export interface Network {
  readonly vpcId: pulumi.Input<string>;
  /** In the order of `settings.subnets`. */
  readonly sites: readonly Site[];
}

/**
 * The network of the settings. Without `vpcId` a VPC is made whose subnets have a way to the internet and give each
 * machine a public address. In an existing VPC its owner decides about routes and addresses: subnets without `id` are
 * made, and follow its main route table.
 */
export function makeNetwork(scope: Ec2Scope): Network {
  const { settings } = scope;
  if (settings.vpcId !== undefined) {
    const { vpcId } = settings;
    return { vpcId, sites: settings.subnets.map((s, i) => siteIn(scope, vpcId, s, i)) };
  }
  const { name, options } = scope;
  const vpc = new Vpc(
    `${name}-vpc`,
    {
      cidrBlock: settings.vpcCidr,
      enableDnsSupport: true,
      enableDnsHostnames: true,
      tags: tagsOf(scope, 'vpc'),
    },
    options,
  );
  const gateway = new InternetGateway(`${name}-gateway`, { vpcId: vpc.id, tags: tagsOf(scope, 'gateway') }, options);
  const table = new RouteTable(
    `${name}-routes`,
    {
      vpcId: vpc.id,
      routes: [{ cidrBlock: '0.0.0.0/0', gatewayId: gateway.id }],
      tags: tagsOf(scope, 'routes'),
    },
    options,
  );
  const sites = settings.subnets.map((s, i) => {
    const subnet = makeSubnet(scope, vpc.id, s, i, { mapPublicIpOnLaunch: true });
    const association = new RouteTableAssociation(
      `${name}-subnet-${String(i + 1)}-routes`,
      { subnetId: subnet.id, routeTableId: table.id },
      options,
    );
    return { subnetId: subnet.id, zone: zoneOf(s, subnet.availabilityZone), isPublic: true, routes: [association] };
  });
  return { vpcId: vpc.id, sites };
}

function siteIn(scope: Ec2Scope, vpcId: string, s: SubnetSettings, index: number): Site {
  if (s.id === undefined) {
    const made = makeSubnet(scope, vpcId, s, index, {});
    return { subnetId: made.id, zone: zoneOf(s, made.availabilityZone), isPublic: false, routes: [] };
  }
  const { id } = s;
  const zone = s.zone === '' ? getSubnetOutput({ id }, scope.options).availabilityZone : s.zone;
  return { subnetId: id, zone, isPublic: false, routes: [] };
}

/** A zone by its name, where it has been given: a disk's zone is then never unknown, whatever happens to the subnet. */
function zoneOf(s: SubnetSettings, chosen: pulumi.Output<string>): pulumi.Input<string> {
  return s.zone === '' ? chosen : s.zone;
}

function makeSubnet(
  scope: Ec2Scope,
  vpcId: pulumi.Input<string>,
  s: SubnetSettings,
  index: number,
  more: { readonly mapPublicIpOnLaunch?: boolean },
): Subnet {
  const what = `subnet-${String(index + 1)}`;
  return new Subnet(
    `${scope.name}-${what}`,
    {
      vpcId,
      cidrBlock: s.cidr,
      ...(s.zone === '' ? {} : { availabilityZone: s.zone }),
      ...more,
      tags: tagsOf(scope, what),
    },
    scope.options,
  );
}
