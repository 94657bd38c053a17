import type * as pulumi from '@pulumi/pulumi';
import { NxnwError } from '@nxnw/platform/errors';
import type { HostsCloudArgs, ReleaseFile } from './hosts.js';
import type { Cloud, CloudArgs } from './port.js';
import type { CloudSettings } from './settings.js';

type Ec2 = typeof import('./ec2.js');
type Hosts = typeof import('./hosts.js');
type Libvirt = typeof import('./libvirt.js');
type Openstack = typeof import('./openstack.js');

/** Everything that any cloud may be asked for; each takes its own block of the settings. */
export interface StandUpArgs extends Omit<CloudArgs<unknown>, 'settings'> {
  readonly cloud: CloudSettings;
  /** What is installed on machines whose image does not have it. */
  readonly release: ReleaseFile | undefined;
}

/**
 * Stands up the machines on the settings' cloud. A cloud's package is loaded only where it is used: some take seconds.
 * The local cloud is no part of it: its machines are made with their keys, and enrol nowhere.
 */
export function standUp(name: string, args: StandUpArgs, opts: pulumi.ComponentResourceOptions): Cloud {
  const { cloud, release, ...rest } = args;
  if (cloud.kind === 'hosts' && cloud.hosts !== undefined) {
    if (release === undefined) throw new Error('machines reached by ssh are given a release');
    const { HostsCloud }: Hosts = require('./hosts.js');
    const hosts: HostsCloudArgs = { ...rest, settings: cloud.hosts, release };
    return new HostsCloud(name, hosts, opts);
  }
  if (cloud.kind === 'openstack' && cloud.openstack !== undefined) {
    const { OpenstackCloud }: Openstack = require('./openstack.js');
    return new OpenstackCloud(name, { ...rest, settings: cloud.openstack }, opts);
  }
  if (cloud.kind === 'ec2' && cloud.ec2 !== undefined) {
    const { Ec2Cloud }: Ec2 = require('./ec2.js');
    return new Ec2Cloud(name, { ...rest, settings: cloud.ec2 }, opts);
  }
  if (cloud.kind === 'eucalyptus' && cloud.eucalyptus !== undefined) {
    const { EucalyptusCloud }: Ec2 = require('./ec2.js');
    return new EucalyptusCloud(name, { ...rest, settings: cloud.eucalyptus }, opts);
  }
  const { kind } = cloud;
  const libvirt = kind === 'kvm' || kind === 'xen' ? cloud[kind] : undefined;
  if ((kind === 'kvm' || kind === 'xen') && libvirt !== undefined) {
    const { LibvirtCloud }: Libvirt = require('./libvirt.js');
    return new LibvirtCloud(name, { ...rest, kind, settings: libvirt }, opts);
  }
  throw new NxnwError('BAD_CONFIG', `nxnw:cloud.kind: this release has no machines on "${cloud.kind}"`);
}
