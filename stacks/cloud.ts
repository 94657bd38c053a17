import { join } from 'node:path';
import { defaultNetwork, type CloudSettings, type VirtualSettings } from '@nxnw/components';
import type { CloudConfig } from './config/clouds.js';
import type { StackConfig } from './config/schema.js';

const DEFAULT_DISK_GIB = 50;

/** The settings of the configured cloud: the block of its kind, with every default decided. */
export function compileCloud(config: StackConfig, platformId: string): CloudSettings {
  const { cloud } = config;
  const diskGiB = config.store.diskGiB ?? DEFAULT_DISK_GIB;
  switch (cloud.kind) {
    case 'local':
      return {
        kind: 'local',
        local: {
          network: cloud.local.network?.replace(/\.0\/24$/, '') ?? defaultNetwork(platformId),
          directory: cloud.local.directory ?? join('.nxnw', 'platforms', platformId),
        },
      };
    case 'hosts':
      return {
        kind: 'hosts',
        hosts: { ...cloud.hosts, hosts: cloud.hosts.hosts.map(({ ssh, ...h }) => ({ ...h, ...given({ ssh }) })) },
      };
    case 'ec2':
    case 'eucalyptus': {
      const { vpcId, package: _, ...rest } = cloud[cloud.kind];
      return {
        kind: cloud.kind,
        [cloud.kind]: { ...rest, ...virtual(cloud[cloud.kind], diskGiB), ...given({ vpcId }) },
      };
    }
    case 'openstack': {
      const { networkId, package: _, ...rest } = cloud.openstack;
      return {
        kind: 'openstack',
        openstack: { ...rest, ...virtual(cloud[cloud.kind], diskGiB), ...given({ networkId }) },
      };
    }
    case 'kvm':
    case 'xen': {
      const { network, forward, boot, package: _, ...rest } = cloud[cloud.kind];
      const options = { ...given({ network, forward }), ...(boot === undefined ? {} : { boot }) };
      return { kind: cloud.kind, [cloud.kind]: { ...rest, ...virtual(cloud[cloud.kind], diskGiB), ...options } };
    }
  }
}

function virtual(
  { subnets, access, replace, package: release }: CloudConfig['openstack'] | CloudConfig['kvm'] | CloudConfig['ec2'],
  diskGiB: number,
): VirtualSettings {
  const optional = release === undefined ? {} : { package: release };
  return {
    subnets: subnets.map(({ id, ...s }) => ({ ...s, ...given({ id }) })),
    access,
    replace,
    diskGiB,
    ...optional,
  };
}

/** Only what has a value: an optional setting that is not there is left out. */
function given<K extends string>(values: Readonly<Record<K, string | undefined>>): { [P in K]?: string } {
  return Object.fromEntries(Object.entries(values).filter(([, v]) => v !== undefined)) as { [P in K]?: string };
}
