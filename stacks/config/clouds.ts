import { z } from 'zod';

/**
 * The blocks of `nxnw:cloud`, one for each kind. A stack may carry several: only the block of its kind counts, so that
 * `kind` alone moves it to another cloud.
 */
export const CLOUDS = ['local', 'ec2', 'openstack', 'kvm', 'xen', 'eucalyptus', 'hosts'] as const;

const cidr = z.string().regex(/^\d{1,3}(\.\d{1,3}){3}\/\d{1,2}$/, 'must be an IPv4 network, a.b.c.d/n');
const address = z.string().regex(/^\d{1,3}(\.\d{1,3}){3}$/, 'must be an IPv4 address');
const machineName = z.string().regex(/^(data|app|edge)-\d+$/, 'must be a machine: data-1, app-2, edge-1');

const local = z.strictObject({
  network: z
    .string()
    .regex(/^127\.\d{1,3}\.\d{1,3}\.0\/24$/, 'must be 127.x.y.0/24')
    .optional()
    .describe('Addresses of the machines. Default: chosen by the platform id'),
  directory: z.string().optional().describe('Where the machines lie. Default: .nxnw/platforms/PLATFORM-ID'),
});

/** What every cloud of virtual machines is told. */
const virtual = {
  subnets: z
    .array(
      z.strictObject({
        cidr: cidr.describe('IPv4, /16 to /27'),
        zone: z.string().default('').describe('Availability zone'),
        id: z.string().optional().describe('An existing subnet'),
      }),
    )
    .min(1)
    .default([{ cidr: '10.77.0.0/24', zone: '' }])
    .describe('Machines of a group take them in turn'),
  access: z
    .strictObject({
      operators: z.array(cidr).default([]).describe('Networks from which `nxnw` speaks to agents and coordinator'),
      ssh: z.array(cidr).default([]).describe('Networks that may use ssh; none by default'),
      clients: z.array(cidr).default(['0.0.0.0/0']).describe('Networks whose clients the edges serve'),
      peers: z.array(cidr).default([]).describe('Networks of the other platform in a migration'),
    })
    .prefault({})
    .describe('From where the platform is reached; everything else is closed'),
  package: z
    .strictObject({
      url: z.url({ protocol: /^https?$/ }).describe('Where machines fetch the archive that `npm run release` builds'),
      sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits'),
    })
    .optional()
    .describe('For a stock Debian 12 image. Default: the image has the release'),
  replace: z
    .record(machineName, z.int().min(1))
    .default({})
    .describe('Machines to make anew, data machines too: each with a number that is raised for each replacement'),
};

const perGroup = <T extends z.ZodType>(value: T, data: z.input<T>, app: z.input<T>, edge: z.input<T>) =>
  z
    .strictObject({
      data: value.prefault(data as never),
      app: value.prefault(app as never),
      edge: value.prefault(edge as never),
    })
    .prefault({} as never);

const amazon = {
  ...virtual,
  region: z.string().min(1).default('us-east-1'),
  instanceTypes: perGroup(z.string().min(1), 'm6i.xlarge', 'm6i.large', 'c6i.large').describe('By size class'),
  image: z.string().default('').describe('AMI. Default: the newest Debian 12'),
  keyPair: z.string().default('').describe('An existing key pair, for ssh'),
  vpcId: z.string().optional().describe('An existing VPC; the subnets must name theirs then'),
  vpcCidr: cidr.default('10.77.0.0/16').describe('Of the VPC that is made'),
  edgeAddress: z.enum(['elastic', 'balancer']).default('elastic').describe('How clients reach the edges'),
  endpoints: z.record(z.string(), z.url()).default({}).describe('Other addresses of the services, by service'),
};

const openstack = z.strictObject({
  ...virtual,
  flavors: perGroup(z.string().min(1), 'm1.large', 'm1.medium', 'm1.small').describe('By size class'),
  image: z.string().min(1).default('nxnw').describe('Name or id'),
  keyPair: z.string().default('').describe('An existing key pair, for ssh'),
  networkId: z.string().optional().describe('An existing network; the subnets must name theirs then'),
  externalNetwork: z.string().default('').describe('Where floating addresses come from; empty = none'),
  cloud: z.string().default('').describe('Entry of clouds.yaml. Default: OS_* variables'),
});

const size = z.strictObject({ vcpus: z.int().min(1), memoryMiB: z.int().min(256) });
const libvirt = (uri: string, pattern: RegExp) =>
  z.strictObject({
    ...virtual,
    hosts: z
      .array(z.string().regex(pattern, `must be a libvirt URI such as ${uri}`))
      .min(1)
      .default([uri])
      .describe('Machines of a group take them in turn'),
    image: z
      .string()
      .default('/var/lib/libvirt/images/nxnw.qcow2')
      .describe('The base image on each host, qcow2 or raw'),
    sizes: perGroup(
      size,
      { vcpus: 2, memoryMiB: 4096 },
      { vcpus: 2, memoryMiB: 2048 },
      { vcpus: 1, memoryMiB: 1024 },
    ).describe('By size class'),
    network: z.string().optional().describe('An existing libvirt network. Default: one is made on each host'),
    pool: z.string().min(1).default('nxnw').describe('Storage pool of the volumes; made where it is not there'),
    sshKey: z.string().default('').describe('A public key for the machines'),
    forward: z
      .enum(['nat', 'route'])
      .optional()
      .describe('How the network that is made reaches others. Default: nat with one host, route with several'),
    boot: z
      .strictObject({ kernel: z.string().min(1), initrd: z.string().min(1), cmdline: z.string().default('') })
      .optional()
      .describe("Kernel of the machines, paths on each host. Default: the image's boot loader"),
  });

const hosts = z.strictObject({
  hosts: z
    .array(
      z.strictObject({
        group: z.enum(['data', 'app', 'edge']),
        address: address.describe('Inside the platform'),
        ssh: z.string().min(1).optional().describe('Where ssh reaches it. Default: address'),
      }),
    )
    .default([])
    .describe('Machines that are there already'),
  user: z.string().min(1).default('root').describe('May use sudo without a password, or is root'),
  port: z.int().min(1).max(65535).default(22),
  privateKey: z.string().default('').describe('PEM, set it as a secret'),
  directory: z.string().startsWith('/').default('/var/lib/nxnw').describe('Holds a folder for each platform on a host'),
  needs: perGroup(
    z.strictObject({ memoryMiB: z.int().min(0), diskMiB: z.int().min(0) }),
    { memoryMiB: 2048, diskMiB: 10_240 },
    { memoryMiB: 1024, diskMiB: 4096 },
    { memoryMiB: 512, diskMiB: 2048 },
  ).describe('What a host must have free before a machine of the group is installed on it'),
});

export const cloud = z.strictObject({
  kind: z.enum(CLOUDS).default('local').describe('Where the machines are'),
  appMachines: z.int().min(1).max(1000).default(2).describe('Machines for applications and caches'),
  local: local.prefault({}),
  ec2: z.strictObject(amazon).prefault({}),
  openstack: openstack.prefault({}),
  kvm: libvirt('qemu:///system', /^qemu(\+[a-z]+)?:\/\//).prefault({}),
  xen: libvirt('xen:///', /^xen(\+[a-z]+)?:\/\//).prefault({}),
  eucalyptus: z.strictObject(amazon).prefault({}),
  hosts: hosts.prefault({}),
});

export type CloudConfig = z.output<typeof cloud>;
