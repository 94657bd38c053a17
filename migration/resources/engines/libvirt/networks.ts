import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { canonical } from '../canonical.js';
import type { Difference } from '../machines.js';
import { METADATA_URI } from './names.js';
import { networkXml, type NetworkShape } from './network-xml.js';
import { allAt, at, parseXml, renderXml, type XmlElement } from './xml.js';
import { inTurn, virsh, virshWithFile, type Target } from './virsh.js';

/** The network of a platform on one host. */
export interface NetworkInputs extends Omit<NetworkShape, 'uuid'> {
  /** libvirt URI of the host. */
  readonly uri: string;
  /** Always true; a refresh that finds it stopped says false, and the next `up` starts it. */
  readonly active: boolean;
}

const targetOf = (n: NetworkInputs, signal?: AbortSignal): Target => ({
  uri: n.uri,
  resource: `network ${n.name} of ${n.platformId}`,
  ...(signal === undefined ? {} : { signal }),
});

async function find(target: Target, name: string): Promise<XmlElement | null> {
  try {
    return parseXml(await virsh(target, ['net-dumpxml', '--inactive', name]));
  } catch (e) {
    if (hasCode(e, 'NO_NETWORK', 'LIBVIRT_NOT_FOUND')) return null;
    throw e;
  }
}

function isOurs(found: XmlElement, platformId: string): boolean {
  const mark = at(found, 'metadata', 'nxnw:network')?.attributes ?? {};
  return mark['xmlns:nxnw'] === METADATA_URI && mark['platform'] === platformId;
}

const isActive = async (target: Target, name: string): Promise<boolean> =>
  /^Active:\s+yes/m.test(await virsh(target, ['net-info', name]));

/**
 * Makes the network and starts it, now and at each start of the host; one that is there is brought to these inputs.
 * @throws NETWORK_EXISTS when another owner's has the name, NETWORK_OVERLAPS when the host has the addresses already
 */
export async function makeNetwork(inputs: NetworkInputs, signal?: AbortSignal): Promise<NetworkInputs> {
  const target = targetOf(inputs, signal);
  const { name, platformId, uri } = inputs;
  return inTurn(uri, `network ${name}`, async () => {
    const found = await find(target, name);
    if (found !== null && !isOurs(found, platformId))
      throw new NxnwError(
        'NETWORK_EXISTS',
        `${target.resource}: ${uri} has a network of that name which is not this platform's; remove or rename it, or name it as the setting \`network\` to use it`,
        { uri, name },
      );
    const uuid = found === null ? undefined : at(found, 'uuid')?.text;
    const shape = uuid === undefined ? inputs : { ...inputs, uuid };
    await virshWithFile(target, renderXml(networkXml(shape)), ['net-define', 'FILE']);
    await virsh(target, ['net-autostart', name]);
    if (!(await isActive(target, name))) await virsh(target, ['net-start', name]);
    return { ...inputs, active: true };
  });
}

/** The network as it is; null where it is gone. */
export async function readNetwork(state: NetworkInputs, signal?: AbortSignal): Promise<NetworkInputs | null> {
  const target = targetOf(state, signal);
  const found = await find(target, state.name);
  if (found === null || !isOurs(found, state.platformId)) return null;
  const mode = at(found, 'forward')?.attributes['mode'];
  const subnets = allAt(found, 'ip').map((ip) => ({
    gateway: ip.attributes['address'] ?? '',
    prefix: Number(ip.attributes['prefix'] ?? 0),
  }));
  const forward = mode === 'nat' || mode === 'route' ? mode : state.forward;
  return { ...state, forward, subnets, active: await isActive(target, state.name) };
}

/** Another owner's network of the name is left alone. */
export async function removeNetwork(state: NetworkInputs, signal?: AbortSignal): Promise<void> {
  const target = targetOf(state, signal);
  const found = await find(target, state.name);
  if (found === null || !isOurs(found, state.platformId)) return;
  if (await isActive(target, state.name)) await virsh(target, ['net-destroy', state.name]);
  await virsh(target, ['net-undefine', state.name]);
}

/** A network that runs cannot take other subnets: it is another one then. */
export function networkDiffers(old: NetworkInputs, wanted: NetworkInputs): Difference {
  const identity = ['uri', 'name', 'platformId', 'forward', 'subnets'] as const;
  const replaces = identity.filter((k) => canonical(old[k]) !== canonical(wanted[k]));
  return { changes: replaces.length > 0 || old.active !== wanted.active, replaces };
}
