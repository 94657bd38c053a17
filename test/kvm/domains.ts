import type { LibvirtLab } from '../support/libvirt-lab.js';

/** Network of the machines, and the cable between the lab and this machine. */
export const SUBNET = '192.168.171.0/25';
export const CABLE = { here: '192.168.171.253', there: '192.168.171.254', bits: 30 } as const;
/** Where operators and clients are: this end of the cable. */
const OPERATOR = '192.168.171.252/30';
/** First machine of each group. */
export const DATA = '192.168.171.8';
export const APP = '192.168.171.48';
export const EDGE = '192.168.171.112';

/** Block of `nxnw:cloud` for the lab: domains small enough that a few of them are emulated at once. */
export function kvm(lab: LibvirtLab, image: string, appMachines: number): Readonly<Record<string, unknown>> {
  return {
    kind: 'kvm',
    appMachines,
    kvm: {
      hosts: [lab.uri],
      image,
      forward: 'route',
      subnets: [{ cidr: SUBNET }],
      access: { operators: [OPERATOR], clients: [OPERATOR] },
      sizes: {
        data: { vcpus: 2, memoryMiB: 1024 },
        app: { vcpus: 1, memoryMiB: 512 },
        edge: { vcpus: 1, memoryMiB: 512 },
      },
    },
  };
}
