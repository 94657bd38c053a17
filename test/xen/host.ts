import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { ensureImage, imageDir } from '@nxnw/tools/image/build';
import { ROOT_LABEL } from '@nxnw/tools/image/files';
import { XenLab } from '../support/xen-lab.js';

/** Network of the machines, and the way between the control domain and this machine. */
export const SUBNET = '192.168.172.0/25';
/** First machine with an edge. */
export const EDGE = '192.168.172.112';
export const LINK = { here: '192.168.172.253', there: '192.168.172.254', bits: 30, behind: SUBNET } as const;
/** Where operators and clients are: this end of it. */
const OPERATOR = '192.168.172.252/30';
const DOM0_MIB = 1024;
/** What the hypervisor itself takes. */
const XEN_MIB = 256;

/** A host with the image on it that has room for machines of `machinesMiB` in all. */
export async function startHost(machinesMiB: number): Promise<XenLab> {
  await ensureTools(['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot']);
  const image = await ensureImage();
  const file = (name: string): string => join(imageDir(), name);
  return XenLab.start({
    ...LINK,
    image: file(image.raw),
    kernel: file(image.kernel),
    initrd: file(image.initrd),
    dom0MiB: DOM0_MIB,
    memoryMiB: DOM0_MIB + machinesMiB + XEN_MIB,
  });
}

/** The kernel of the image: pygrub, which would find it in the image, stood still in an emulated control domain. */
export function bootOf({ kernelFiles }: XenLab) {
  return { ...kernelFiles, cmdline: `root=LABEL=${ROOT_LABEL} ro console=hvc0 panic=30` };
}

/** Memory of the machines of `xen`, two of them for applications. */
export const MACHINES_MIB = 2560;

/** Block of `nxnw:cloud`: machines small enough that a few of them are emulated at once. */
export function xen(lab: XenLab, image: string, appMachines: number): Readonly<Record<string, unknown>> {
  return {
    kind: 'xen',
    appMachines,
    xen: {
      hosts: [lab.uri],
      image,
      boot: bootOf(lab),
      forward: 'route',
      subnets: [{ cidr: SUBNET }],
      access: { operators: [OPERATOR], clients: [OPERATOR] },
      sizes: {
        data: { vcpus: 1, memoryMiB: 1024 },
        app: { vcpus: 1, memoryMiB: 512 },
        edge: { vcpus: 1, memoryMiB: 512 },
      },
    },
  };
}
