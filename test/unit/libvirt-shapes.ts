import type { DomainShape } from '@nxnw/migration/resources/engines/libvirt/domain-xml';

/** A domain of a small platform. */
export function domainShape(over: Partial<DomainShape> = {}): DomainShape {
  return {
    name: 'shop-blue-data-1',
    mark: { platformId: 'shop-blue', machine: 'data-1', image: '/images/base.qcow2', spec: 'abc' },
    virtualisation: 'kvm',
    memoryMiB: 512,
    vcpus: 2,
    disks: { root: '/pool/root.img', rootFormat: 'qcow2', data: '/pool/data.img', seed: '/pool/seed.iso' },
    network: 'nxnw-shop-blue',
    mac: '52:54:01:02:03:04',
    address: '10.77.0.16',
    filter: 'nxnw-shop-blue-data',
    boot: null,
    ...over,
  };
}
