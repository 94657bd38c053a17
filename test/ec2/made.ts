import { z } from 'zod';
import type { AwsSdk } from '../support/aws-sdk.js';

const tags = z.array(z.object({ Key: z.string(), Value: z.string() })).default([]);
const tagOf = (list: z.output<typeof tags>, key: string): string => list.find((t) => t.Key === key)?.Value ?? '';

const addresses = z.object({ Addresses: z.array(z.object({ PublicIp: z.string() })) });

/** Elastic addresses. */
export async function addressesOf(sdk: AwsSdk): Promise<string[]> {
  const { Addresses } = await sdk.call(addresses, 'ec2', 'describe_addresses');
  return Addresses.map((a) => a.PublicIp);
}

const permission = z.object({
  IpProtocol: z.string(),
  FromPort: z.number().default(-1),
  ToPort: z.number().default(-1),
  IpRanges: z.array(z.object({ CidrIp: z.string(), Description: z.string().default('') })),
  UserIdGroupPairs: z.array(z.object({ GroupId: z.string(), Description: z.string().default('') })),
});
const groups = z.object({
  SecurityGroups: z.array(
    z.object({ GroupId: z.string(), GroupName: z.string(), Tags: tags, IpPermissions: z.array(permission) }),
  ),
});

/** A permission to speak to a group of machines. */
export interface Rule {
  readonly group: string;
  readonly protocol: string;
  readonly first: number;
  readonly last: number;
  /** CIDR, or `nxnw:group` of another security group. */
  readonly from: string;
  readonly what: string;
}

/** Every permission of the platform's security groups. */
export async function rulesOf(sdk: AwsSdk): Promise<Rule[]> {
  const { SecurityGroups } = await sdk.call(groups, 'ec2', 'describe_security_groups');
  const own = SecurityGroups.filter((g) => tagOf(g.Tags, 'nxnw:platform') !== '');
  const nameOf = (id: string) => tagOf(own.find((g) => g.GroupId === id)?.Tags ?? [], 'nxnw:group');
  return own.flatMap((g) =>
    g.IpPermissions.flatMap((p) => {
      const to = { group: nameOf(g.GroupId), protocol: p.IpProtocol, first: p.FromPort, last: p.ToPort };
      return [
        ...p.IpRanges.map((r) => ({ ...to, from: r.CidrIp, what: r.Description })),
        ...p.UserIdGroupPairs.map((r) => ({ ...to, from: nameOf(r.GroupId), what: r.Description })),
      ];
    }),
  );
}

const metadata = z.object({
  HttpTokens: z.string(),
  HttpEndpoint: z.string(),
  HttpPutResponseHopLimit: z.number(),
});
const described = z.object({
  Reservations: z.array(
    z.object({
      Instances: z.array(
        z.object({ MetadataOptions: metadata, IamInstanceProfile: z.object({ Arn: z.string() }).optional() }),
      ),
    }),
  ),
});
const profile = z.object({ InstanceProfile: z.object({ Roles: z.array(z.object({ RoleName: z.string() })) }) });
const attached = z.object({ AttachedPolicies: z.array(z.unknown()) });
const inline = z.object({ PolicyNames: z.array(z.string()) });

/** How an instance answers metadata requests, and how many policies its role has. */
export async function rolesOf(
  sdk: AwsSdk,
  instanceId: string,
): Promise<{ metadata: z.output<typeof metadata>; policies: number }> {
  const { Reservations } = await sdk.call(described, 'ec2', 'describe_instances', { InstanceIds: [instanceId] });
  const made = Reservations[0]?.Instances[0];
  if (made === undefined) throw new Error(`no instance ${instanceId}`);
  const name = made.IamInstanceProfile?.Arn.split('/').at(-1);
  if (name === undefined) throw new Error(`${instanceId} has no role`);
  const { InstanceProfile } = await sdk.call(profile, 'iam', 'get_instance_profile', { InstanceProfileName: name });
  let policies = 0;
  for (const { RoleName } of InstanceProfile.Roles) {
    policies += (await sdk.call(attached, 'iam', 'list_attached_role_policies', { RoleName })).AttachedPolicies.length;
    policies += (await sdk.call(inline, 'iam', 'list_role_policies', { RoleName })).PolicyNames.length;
  }
  return { metadata: made.MetadataOptions, policies };
}

const volumes = z.object({
  Volumes: z.array(
    z.object({
      VolumeType: z.string(),
      Encrypted: z.boolean(),
      Size: z.number(),
      Tags: tags,
      Attachments: z.array(z.object({ Device: z.string() })),
    }),
  ),
});

export interface Disk {
  readonly machine: string;
  /** `root`, or the device's name. */
  readonly device: string;
  /** GiB. */
  readonly size: number;
  readonly type: string;
  readonly encrypted: boolean;
}

/** Every disk. */
export async function volumesOf(sdk: AwsSdk): Promise<Disk[]> {
  const { Volumes } = await sdk.call(volumes, 'ec2', 'describe_volumes');
  return Volumes.map((v) => {
    const device = v.Attachments[0]?.Device ?? 'none';
    return {
      machine: tagOf(v.Tags, 'nxnw:machine'),
      device: device === '/dev/xvda' || device === '/dev/sda1' ? 'root' : device,
      size: v.Size,
      type: v.VolumeType,
      encrypted: v.Encrypted,
    };
  });
}

const list = z.array(z.record(z.string(), z.unknown()));
/** What there can be of a platform: service, call, key of the answer, and what names one. */
const KINDS = [
  ['ec2', 'describe_volumes', 'Volumes', 'VolumeId'],
  ['ec2', 'describe_addresses', 'Addresses', 'AllocationId'],
  ['ec2', 'describe_security_groups', 'SecurityGroups', 'GroupId'],
  ['ec2', 'describe_subnets', 'Subnets', 'SubnetId'],
  ['ec2', 'describe_vpcs', 'Vpcs', 'VpcId'],
  ['ec2', 'describe_internet_gateways', 'InternetGateways', 'InternetGatewayId'],
  ['ec2', 'describe_route_tables', 'RouteTables', 'RouteTableId'],
  ['ec2', 'describe_network_interfaces', 'NetworkInterfaces', 'NetworkInterfaceId'],
  ['iam', 'list_roles', 'Roles', 'RoleName'],
  ['iam', 'list_instance_profiles', 'InstanceProfiles', 'InstanceProfileName'],
] as const;

/** Everything that is there, as `call: id`, and instances that are not terminated. */
export async function everything(sdk: AwsSdk): Promise<string[]> {
  const found: string[] = [];
  for (const [service, call, key, id] of KINDS) {
    const answer = await sdk.call(z.record(z.string(), z.unknown()), service, call);
    found.push(...list.parse(answer[key]).map((r) => `${call}: ${String(r[id])}`));
  }
  const states = z.object({
    Reservations: z.array(
      z.object({
        Instances: z.array(z.object({ InstanceId: z.string(), State: z.object({ Name: z.string() }) })),
      }),
    ),
  });
  const { Reservations } = await sdk.call(states, 'ec2', 'describe_instances');
  const alive = Reservations.flatMap((r) => r.Instances).filter((i) => i.State.Name !== 'terminated');
  return [...found, ...alive.map((i) => `describe_instances: ${i.InstanceId}`)];
}
