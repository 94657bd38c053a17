import * as pulumi from '@pulumi/pulumi';
import { Volume } from '@pulumi/aws/ebs/volume';
import { getAmiOutput } from '@pulumi/aws/ec2/getAmi';
import { Instance } from '@pulumi/aws/ec2/instance';
import { VolumeAttachment } from '@pulumi/aws/ec2/volumeAttachment';
import { InstanceProfile } from '@pulumi/aws/iam/instanceProfile';
import { Role } from '@pulumi/aws/iam/role';
import { NxnwError } from '@nxnw/platform/errors';
import type { Machine } from '../plan/machines.js';
import type { CloudArgs } from './port.js';
import type { Site } from './ec2-network.js';
import type { Guard } from './ec2-rules.js';
import { type Ec2Scope, tagsOf } from './ec2-scope.js';

/** Debian's account; https://wiki.debian.org/Cloud/AmazonEC2Image */
const DEBIAN_OWNER = '136693071363';
/** EC2 takes no more, before base64. */
const USER_DATA_BYTES = 16_384;
/** Size of a machine's own disk: Debian's images have 8 GiB, too few beside logs, bundles and the servers' programs. */
const ROOT_GIB = 20;
/** Name for the API; a machine with NVMe disks sees it as /dev/nvme1n1. */
const STORE_DEVICE = '/dev/sdf';
/** What a data machine keeps from its first day on. */
const KEPT = ['ami', 'userData', 'userDataBase64'];

export interface MachineArgs {
  readonly machines: readonly Machine[];
  readonly guardOf: (m: Machine) => Guard;
  readonly siteOf: (m: Machine) => Site;
  readonly userData: (m: Machine) => pulumi.Output<string>;
  readonly before: CloudArgs<unknown>['before'];
  readonly protect: boolean;
}

export interface MadeMachine {
  readonly machine: Machine;
  readonly instance: Instance;
  readonly site: Site;
  /** The disk's attachment, where the machine has a disk. */
  readonly attachments: readonly pulumi.Resource[];
}

/** All machines of the plan, with the disks of those that hold data. */
export function makeMachines(scope: Ec2Scope, args: MachineArgs): readonly MadeMachine[] {
  const image = imageOf(scope);
  const profile = scope.dialect.instanceProfiles ? makeProfile(scope) : undefined;
  return args.machines.map((machine) => {
    const site = args.siteOf(machine);
    const instance = makeInstance(scope, args, machine, { image, profile });
    const attachments = machine.group === 'data' ? [attachDisk(scope, args, machine, site, instance)] : [];
    return { machine, instance, site, attachments };
  });
}

/** The image of the settings, or the newest Debian 12 of the region. */
function imageOf(scope: Ec2Scope): pulumi.Input<string> {
  if (scope.settings.image !== '') return scope.settings.image;
  return getAmiOutput(
    {
      owners: [DEBIAN_OWNER],
      mostRecent: true,
      filters: [
        { name: 'name', values: ['debian-12-amd64-*'] },
        { name: 'virtualization-type', values: ['hvm'] },
      ],
    },
    scope.options,
  ).id;
}

/** A role that may do nothing: without one, an account's default could be more. */
function makeProfile(scope: Ec2Scope): InstanceProfile {
  const role = new Role(
    `${scope.name}-role`,
    {
      description: `machines of ${scope.platformId}`,
      assumeRolePolicy: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'ec2.amazonaws.com' } }],
      }),
      tags: tagsOf(scope, 'role'),
    },
    scope.options,
  );
  return new InstanceProfile(
    `${scope.name}-profile`,
    { role: role.name, tags: tagsOf(scope, 'profile') },
    scope.options,
  );
}

/**
 * How a machine may change. A data machine keeps image and user data until `settings.replace` names it. An app or edge
 * machine is replaced for another user data and for an image that the settings name; the newest Debian is looked up
 * anew in every run, and nobody who changes something else wants all machines replaced for it.
 */
function changesOf(scope: Ec2Scope, m: Machine, protect: boolean): pulumi.CustomResourceOptions {
  // the old machine must be gone before another one can have its address
  const order = { deleteBeforeReplace: true };
  if (m.name in scope.settings.replace) return { ...order, protect: false, replaceOnChanges: ['tags'] };
  if (m.group === 'data') return { ...order, protect, ignoreChanges: KEPT };
  return { ...order, ignoreChanges: scope.settings.image === '' ? ['ami'] : [] };
}

/** Another number is another tag, and with `replaceOnChanges` that replaces the machine, whatever else is the same. */
function replacementTag(scope: Ec2Scope, m: Machine): Record<string, string> {
  const number = scope.settings.replace[m.name];
  return number === undefined ? {} : { 'nxnw:replacement': String(number) };
}

function makeInstance(
  scope: Ec2Scope,
  args: MachineArgs,
  m: Machine,
  made: { readonly image: pulumi.Input<string>; readonly profile: InstanceProfile | undefined },
): Instance {
  const { settings, dialect, name, options } = scope;
  const guard = args.guardOf(m);
  const site = args.siteOf(m);
  const changes = changesOf(scope, m, args.protect);
  const tags = tagsOf(scope, m.name, { machine: m.name, group: m.group });
  return new Instance(
    `${name}-${m.name}`,
    {
      ami: made.image,
      instanceType: settings.instanceTypes[m.group],
      subnetId: site.subnetId,
      privateIp: m.host,
      vpcSecurityGroupIds: [guard.id],
      ...(settings.keyPair === '' ? {} : { keyName: settings.keyPair }),
      ...(made.profile === undefined ? {} : { iamInstanceProfile: made.profile.name }),
      userDataBase64: args.userData(m).apply((text) => encodeUserData(text, m.name)),
      userDataReplaceOnChange: m.group !== 'data',
      disableApiTermination: changes.protect === true,
      // one hop: what runs behind another address on the machine does not reach the role's keys
      ...(dialect.metadataOptions
        ? { metadataOptions: { httpEndpoint: 'enabled', httpTokens: 'required', httpPutResponseHopLimit: 1 } }
        : {}),
      ...(dialect.encryptedGp3
        ? { rootBlockDevice: { volumeType: 'gp3', volumeSize: ROOT_GIB, encrypted: true, tags } }
        : {}),
      tags: { ...tags, ...replacementTag(scope, m) },
    },
    // cloud-init reaches out in the machine's first minute
    { ...options, ...changes, dependsOn: [...site.routes, guard.out, ...(args.before?.(m) ?? [])] },
  );
}

/**
 * User data as EC2 takes it.
 * @throws BAD_CONFIG where it is too long
 */
export function encodeUserData(text: string, machine: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= USER_DATA_BYTES) return bytes.toString('base64');
  throw new NxnwError(
    'BAD_CONFIG',
    `the user data of the machine ${machine} has ${String(bytes.length)} bytes, and EC2 takes ${String(USER_DATA_BYTES)}; put the programs into the image instead`,
    { machine, bytes: bytes.length },
  );
}

/** The disk is a resource of its own: a replaced machine finds it again. */
function attachDisk(scope: Ec2Scope, args: MachineArgs, m: Machine, site: Site, instance: Instance): VolumeAttachment {
  const { settings, dialect, name, options } = scope;
  const volume = new Volume(
    `${name}-${m.name}-disk`,
    {
      availabilityZone: site.zone,
      size: settings.diskGiB,
      ...(dialect.encryptedGp3 ? { type: 'gp3', encrypted: true } : {}),
      tags: tagsOf(scope, m.name, { machine: m.name, group: m.group }),
    },
    { ...options, protect: args.protect, retainOnDelete: false },
  );
  return new VolumeAttachment(
    `${name}-${m.name}-disk-attachment`,
    {
      deviceName: STORE_DEVICE,
      instanceId: instance.id,
      volumeId: volume.id,
      // a store writes its files out before its disk goes
      ...(dialect.stops ? { stopInstanceBeforeDetaching: true } : {}),
    },
    // a disk is on one machine at a time
    { ...options, deleteBeforeReplace: true },
  );
}
