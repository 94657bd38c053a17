import { METADATA_URI } from './names.js';
import { el, type XmlElement } from './xml.js';

export interface SubnetShape {
  /** Address of the host in it, the machines' gateway. */
  readonly gateway: string;
  readonly prefix: number;
}

export interface NetworkShape {
  readonly name: string;
  readonly uuid?: string;
  readonly platformId: string;
  /** `nat`: machines reach out, and only the host reaches in. `route`: both ways, where routers know the subnets. */
  readonly forward: 'nat' | 'route';
  readonly subnets: readonly SubnetShape[];
}

/** Machines have fixed addresses, so there is no DHCP; names are looked up at the host where it leads out. */
export function networkXml(n: NetworkShape): XmlElement {
  return el(
    'network',
    {},
    el('name', {}, n.name),
    n.uuid !== undefined && el('uuid', {}, n.uuid),
    el('metadata', {}, el('nxnw:network', { 'xmlns:nxnw': METADATA_URI, platform: n.platformId })),
    el('forward', { mode: n.forward }),
    el('bridge', { stp: 'off', delay: 0 }),
    n.forward === 'route' && el('dns', { enable: 'no' }),
    n.subnets.map((s) => el('ip', { address: s.gateway, prefix: s.prefix })),
  );
}
