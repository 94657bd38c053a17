import * as pulumi from '@pulumi/pulumi';
import { Volume } from '@pulumi/openstack/blockstorage/volume';
import { Instance } from '@pulumi/openstack/compute/instance';
import { ServerGroup } from '@pulumi/openstack/compute/serverGroup';
import { VolumeAttach } from '@pulumi/openstack/compute/volumeAttach';
import { FloatingIp } from '@pulumi/openstack/networking/floatingIp';
import { Port } from '@pulumi/openstack/networking/port';
import type { Machine } from '../plan/machines.js';
import type { Fence } from './openstack-fence.js';
import { imageId } from './openstack-lookup.js';
import type { CloudNetwork, Site } from './openstack-network.js';
import { tagsOf, type Scope } from './openstack-scope.js';
import type { CloudArgs, Server } from './port.js';
import type { MachineGroup, OpenstackSettings } from './settings.js';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Nova's default quota of machines in a server group. */
const GROUP_MEMBERS = 10;

/** How a group's machines keep apart, whatever their number: a policy cannot change, nor can a machine's group. */
const APART: Readonly<Record<MachineGroup, string>> = {
  // two copies of the data on one host are lost together, so rather no machine than a second one there
  data: 'anti-affinity',
  // these can be made again, and a small cloud shall be able to hold more of them than it has hosts
  app: 'soft-anti-affinity',
  edge: 'soft-anti-affinity',
};

interface Context {
  readonly scope: Scope;
  readonly args: CloudArgs<OpenstackSettings>;
  readonly imageId: pulumi.Input<string>;
  readonly groupOf: (m: Machine) => ServerGroup;
}

/** The machines of the plan, by name. */
export function machinesIn(
  scope: Scope,
  args: CloudArgs<OpenstackSettings>,
  network: CloudNetwork,
  fences: ReadonlyMap<MachineGroup, Fence>,
): ReadonlyMap<string, Server> {
  const context: Context = {
    scope,
    args,
    imageId: UUID.test(args.settings.image) ? args.settings.image : imageId(scope, args.settings),
    groupOf: serverGroups(scope, args.machines),
  };
  return new Map(
    args.machines.map((m) => {
      const site = network.sites[m.site];
      const fence = fences.get(m.group);
      if (site === undefined || fence === undefined) throw new Error(`the machine ${m.name} has a subnet and a group`);
      return [m.name, serverOf(context, m, network.networkId, site, fence)];
    }),
  );
}

/**
 * One server group for all data machines; app and edge machines in tens, by their numbers: the policy is only a wish
 * there, and more members than the quota would be refused.
 */
function serverGroups(scope: Scope, machines: readonly Machine[]): Context['groupOf'] {
  const keyOf = (m: Machine) =>
    m.group === 'data' ? m.group : `${m.group}-${String(Math.floor(m.index / GROUP_MEMBERS) + 1)}`;
  const made = new Map<string, ServerGroup>();
  for (const m of machines) {
    const key = keyOf(m);
    if (made.has(key)) continue;
    const args = { name: `${scope.platformId}-${key}`, policies: [APART[m.group]] };
    made.set(key, new ServerGroup(`${scope.label}-apart-${key}`, args, scope.options));
  }
  return (m) => {
    const group = made.get(keyOf(m));
    if (group === undefined) throw new Error(`the machine ${m.name} is of the plan`);
    return group;
  };
}

function serverOf(context: Context, m: Machine, networkId: pulumi.Input<string>, site: Site, fence: Fence): Server {
  const { scope } = context;
  const { label, platformId, options } = scope;
  const port = new Port(
    `${label}-port-${m.name}`,
    {
      name: `${platformId}-${m.name}`,
      networkId,
      adminStateUp: true,
      fixedIps: [{ subnetId: site.subnetId, ipAddress: m.host }],
      securityGroupIds: [fence.id],
      tags: tagsOf(scope),
    },
    options,
  );
  const volume = m.group === 'data' ? volumeOf(context, m, site) : undefined;
  const instance = instanceOf(context, m, port, site, [
    fence.egress,
    ...site.routed,
    ...(volume === undefined ? [] : [volume]),
  ]);
  const attached =
    volume === undefined
      ? []
      : [
          new VolumeAttach(
            `${label}-attach-${m.name}`,
            { instanceId: instance.id, volumeId: volume.id },
            // A volume has one machine at a time. One that goes away lets go of its disks, even where its guest is dead
            // and would never answer a request to.
            { ...options, deleteBeforeReplace: true, deletedWith: instance },
          ),
        ];
  return {
    serverId: instance.id,
    reach: reachOf(context, m, port, site),
    console: pulumi.interpolate`openstack console log show ${instance.id}`,
    ready: [...attached, ...fence.ingress, fence.egress, ...site.routed],
  };
}

/** Metadata that tells what a machine or a disk is. */
function marksOf(scope: Scope, m: Machine): Record<string, string> {
  return { nxnw_platform: scope.platformId, nxnw_machine: m.name, nxnw_group: m.group };
}

/** In the zone of its machine, so that a zone that is lost takes one copy only. */
function volumeOf({ scope, args }: Context, m: Machine, site: Site): Volume {
  return new Volume(
    `${scope.label}-disk-${m.name}`,
    {
      name: `${scope.platformId}-${m.name}`,
      description: `store of ${m.name}`,
      size: args.settings.diskGiB,
      enableOnlineResize: true,
      metadata: marksOf(scope, m),
      ...(site.zone === '' ? {} : { availabilityZone: site.zone }),
    },
    // another zone would mean another, empty disk
    { ...scope.options, protect: args.protect, ignoreChanges: ['availabilityZone'] },
  );
}

function instanceOf(
  { scope, args, imageId, groupOf }: Context,
  m: Machine,
  port: Port,
  site: Site,
  dependsOn: pulumi.Resource[],
): Instance {
  const { settings } = args;
  const replacement = settings.replace[m.name];
  const isKept = m.group === 'data' && replacement === undefined;
  const marks = marksOf(scope, m);
  return new Instance(
    `${scope.label}-${m.name}`,
    {
      name: `${scope.platformId}-${m.name}`,
      flavorName: settings.flavors[m.group],
      imageId,
      ...(settings.keyPair === '' ? {} : { keyPair: settings.keyPair }),
      ...(site.zone === '' ? {} : { availabilityZone: site.zone }),
      networks: [{ port: port.id }],
      schedulerHints: [{ group: groupOf(m).id }],
      // the first boot needs no metadata service
      configDrive: true,
      userData: args.userData(m),
      metadata: { ...marks, ...(replacement === undefined ? {} : { nxnw_replacement: String(replacement) }) },
      tags: Object.entries(marks).map(([key, value]) => `${key}=${value}`),
      // a store ends in order
      stopBeforeDestroy: m.group === 'data',
    },
    {
      ...scope.options,
      dependsOn: [...dependsOn, ...(args.before?.(m) ?? [])],
      protect: args.protect && isKept,
      // the port, and with it the address, is of one machine at a time
      deleteBeforeReplace: true,
      additionalSecretOutputs: ['userData'],
      // The provider would rebuild a machine with another image in place: same id, old user data, an empty system disk.
      // The number of a replacement counts only while it is given: taken away, it replaces nothing.
      ...(isKept
        ? { ignoreChanges: ['imageId', 'imageName', 'userData'] }
        : {
            replaceOnChanges: [
              'imageId',
              'imageName',
              ...(replacement === undefined ? [] : ['metadata.nxnw_replacement']),
            ],
          }),
    },
  );
}

/** An edge's floating address, where there are any; else the address inside the network. */
function reachOf({ scope, args }: Context, m: Machine, port: Port, site: Site): pulumi.Output<string> {
  const pool = args.settings.externalNetwork;
  if (m.group !== 'edge' || pool === '') return pulumi.output(m.host);
  const floating = new FloatingIp(
    `${scope.label}-address-${m.name}`,
    { pool, portId: port.id, description: `${scope.platformId}-${m.name}`, tags: tagsOf(scope) },
    // Neutron gives one only to a port with a way to the outer network
    { ...scope.options, dependsOn: [...site.routed] },
  );
  return floating.address;
}
