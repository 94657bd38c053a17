import * as pulumi from '@pulumi/pulumi';
import { Ec2Cloud, EucalyptusCloud } from '@nxnw/components/clouds/ec2';
import type { Ec2Settings, SubnetSettings } from '@nxnw/components/clouds/settings';
import { machinesOf } from '@nxnw/components/plan/machines';
import { flowsOf } from '@nxnw/components/plan/traffic';
import type { PlatformSettings } from '@nxnw/components';
import { settings } from './fixtures.js';
import { record, type Answers, type Recording } from './recorder.js';

/** What EC2 would answer. */
const EC2_ANSWERS: Answers = {
  outputs: (type, name) => {
    switch (type.split(':').at(-1)) {
      case 'Instance':
        return { publicIp: `public of ${name}` };
      case 'Eip':
        return { publicIp: `address of ${name}` };
      case 'Subnet':
        return { availabilityZone: `zone of ${name}` };
      case 'Role':
      case 'InstanceProfile':
        return { name };
      case 'LoadBalancer':
      case 'TargetGroup':
        return { arn: `arn:${name}` };
      default:
        return {};
    }
  },
  call: (token) => (token.endsWith('getAmi') ? { id: 'ami-0debian12' } : { availabilityZone: 'eu-central-1x' }),
};

const SUBNETS: readonly SubnetSettings[] = [
  { cidr: '10.20.0.0/20', zone: 'eu-central-1a' },
  { cidr: '10.20.16.0/20', zone: 'eu-central-1b' },
  { cidr: '10.20.32.0/20', zone: 'eu-central-1c' },
];

/** A platform in one zone, with an image of its own. */
export function ec2(over: Partial<Ec2Settings> = {}): Ec2Settings {
  return {
    region: 'eu-central-1',
    subnets: SUBNETS.slice(0, 1),
    vpcCidr: '10.20.0.0/16',
    access: {
      operators: ['198.51.100.0/24'],
      ssh: ['198.51.100.7/32'],
      clients: ['0.0.0.0/0'],
      peers: ['203.0.113.0/28'],
    },
    replace: {},
    diskGiB: 100,
    instanceTypes: { data: 'm6i.xlarge', app: 'c6i.large', edge: 'c6i.large' },
    image: 'ami-0aaaaaaaaaaaaaaaa',
    keyPair: '',
    edgeAddress: 'elastic',
    endpoints: {},
    ...over,
  };
}

export function threeZones(over: Partial<Ec2Settings> = {}): Ec2Settings {
  return ec2({ subnets: SUBNETS, ...over });
}

export function existing(over: Partial<Ec2Settings> = {}): Ec2Settings {
  const subnets = [
    { cidr: '172.31.0.0/20', zone: '', id: 'subnet-0aaa' },
    { cidr: '172.31.16.0/20', zone: 'eu-central-1b', id: 'subnet-0bbb' },
  ];
  return ec2({ vpcId: 'vpc-0abc', subnets, keyPair: 'operators', ...over });
}

export function eucalyptus(over: Partial<Ec2Settings> = {}): Ec2Settings {
  return ec2({
    region: 'eucalyptus',
    subnets: [
      { cidr: '10.20.0.0/20', zone: 'rack-1' },
      { cidr: '10.20.16.0/20', zone: 'rack-2' },
    ],
    image: 'emi-0123abcd',
    instanceTypes: { data: 'm1.xlarge', app: 'm1.large', edge: 'm1.small' },
    endpoints: { ec2: 'https://ec2.cloud.example.com:8773/' },
    ...over,
  });
}

/** Three data, two app and two edge machines. */
export function platformOn(
  kind: 'ec2' | 'eucalyptus',
  block: Ec2Settings,
  over: Partial<PlatformSettings> = {},
): PlatformSettings {
  return settings({
    cloud: { kind, [kind]: block },
    store: { kind: 'cassandra', nodes: 3, replication: 3 },
    locks: { nodes: 3 },
    datastore: { processes: 3 },
    edge: { nodes: 2, httpPort: 80, httpsPort: 443, certificate: { certPem: 'CERT', keyPem: 'KEY' } },
    ...over,
  });
}

export type Ec2Plan = Recording<Ec2Cloud | EucalyptusCloud>;

/** The plan of a platform's cloud component. */
export function planned(
  kind: 'ec2' | 'eucalyptus',
  block: Ec2Settings,
  { protect = true, over = {} }: { protect?: boolean; over?: Partial<PlatformSettings> } = {},
): Promise<Ec2Plan> {
  const s = platformOn(kind, block, over);
  const args = {
    platformId: s.platformId,
    settings: block,
    machines: machinesOf(s),
    flows: flowsOf(s),
    protect,
    userData: (m: { name: string }) => pulumi.secret(`#cloud-config of ${m.name}\n`),
    enrolment: (m: { name: string }) => pulumi.secret(`enrolment of ${m.name}`),
  };
  return record(() => (kind === 'ec2' ? new Ec2Cloud('cloud', args) : new EucalyptusCloud('cloud', args)), EC2_ANSWERS);
}
