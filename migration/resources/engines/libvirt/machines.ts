import { createHash } from 'node:crypto';
import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import { canonical } from '../canonical.js';
import type { Log } from '../engine-log.js';
import type { Difference } from '../machines.js';
import { domainXml, markOf, type DirectBoot } from './domain-xml.js';
import { findDomain, stateOf, stopDomain } from './domains.js';
import { checkMemory, virtualisationOf } from './host.js';
import { domainName, macOf, rootVolume, seedVolume } from './names.js';
import { ensurePool, findImage } from './pools.js';
import { uploadSeed } from './seed.js';
import { createVolume, deleteVolume, findVolume, type Found } from './volumes.js';
import { volumeXml } from './volume-xml.js';
import { at, renderXml, type XmlElement } from './xml.js';
import { inTurn, virsh, virshWithFile, type Target } from './virsh.js';

const GIB = 1024 ** 3;
/** The system's disk takes room only as it is written. */
const ROOT_BYTES = 20 * GIB;
const COPY_MS = 15 * 60_000;
/** A machine with a disk of its own closes its store before it goes; the others have nothing to lose. */
const GRACE_MS = 60_000;

/** A machine as a libvirt domain. */
export interface DomainInputs {
  /** libvirt URI of the host. */
  readonly uri: string;
  readonly kind: 'kvm' | 'xen';
  readonly platformId: string;
  readonly machine: string;
  /** IPv4 address, the bits of its network, the way out, and name servers (may be empty). */
  readonly address: string;
  readonly prefix: number;
  readonly gateway: string;
  readonly dns: readonly string[];
  readonly network: string;
  readonly pool: string;
  /** Path of the base image on the host. */
  readonly image: string;
  readonly boot: DirectBoot | null;
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** Volume of the pool with the machine's data; '' = none. */
  readonly dataVolume: string;
  /** nwfilter of its interface; '' = none. */
  readonly filter: string;
  /** cloud-init user data, a secret. */
  readonly userData: string;
  /** '' = none. */
  readonly sshKey: string;
  /** Raised to replace the machine. */
  readonly generation: number;
  /** Always true; a refresh that finds the domain stopped says false, and the next `up` starts it. */
  readonly running: boolean;
}

export interface DomainRecord extends DomainInputs {
  /** libvirt's own id; another one when the machine is replaced. */
  readonly uuid: string;
}

/** What makes it another machine when it changes; the rest changes in place. */
const IDENTITY = ['uri', 'kind', 'platformId', 'machine', 'address', 'prefix', 'gateway', 'dns', 'network', 'pool', 'image', 'boot', 'dataVolume', 'userData', 'sshKey'] as const; // prettier-ignore

const targetOf = (m: DomainInputs, signal?: AbortSignal): Target => ({
  uri: m.uri,
  resource: `machine ${m.machine} of ${m.platformId}`,
  ...(signal === undefined ? {} : { signal }),
});
const nameOf = (m: DomainInputs): string => domainName(m.platformId, m.machine);

/** Digest of what the machine was made from. */
function specOf(m: DomainInputs): string {
  const given = canonical([...IDENTITY.map((k) => m[k]), m.generation]);
  return createHash('sha256').update(given).digest('hex').slice(0, 32);
}

/**
 * Makes the machine and starts it, now and at each start of the host. It can be repeated: what an earlier run left
 * unfinished is made again, and a run that fails leaves nothing but the pool.
 * @throws MACHINE_EXISTS, NO_MEMORY_ON_HOST, NO_IMAGE, NO_DISK, NO_NETWORK, LIBVIRT_UNSUITABLE, and those of `virsh`
 */
export async function makeMachine(inputs: DomainInputs, log: Log, signal?: AbortSignal): Promise<DomainRecord> {
  const target = targetOf(inputs, signal);
  const name = nameOf(inputs);
  const found = await findDomain(target, name);
  if (found === null) {
    await checkMemory(target, inputs.memoryMiB);
    await makeAnew(target, inputs, log);
  } else {
    refuseOther(target, inputs, found);
    await start(target, inputs);
  }
  return { ...inputs, running: true, uuid: await uuidOf(target, name) };
}

function refuseOther(target: Target, inputs: DomainInputs, found: XmlElement): void {
  const name = nameOf(inputs);
  const mark = markOf(found);
  const ours = mark?.platformId === inputs.platformId && mark.machine === inputs.machine;
  if (ours && mark.spec === specOf(inputs)) return;
  throw new NxnwError(
    'MACHINE_EXISTS',
    `${target.resource}: ${target.uri} has a domain ${name} already, ` +
      (ours ? 'which was made from other settings and is not in the stack' : 'which is not of this platform') +
      `; if nothing needs it: \`virsh -c '${target.uri}' destroy ${name}\` and \`undefine ${name}\`, otherwise rename it or the platform`,
    { uri: target.uri, domain: name, ours },
  );
}

async function makeAnew(target: Target, inputs: DomainInputs, log: Log): Promise<void> {
  const name = nameOf(inputs);
  await ensurePool(target, inputs.pool);
  try {
    // Without its domain a root disk is a run's that was cut off.
    await removeDisks(target, inputs);
    log('making its disks');
    await makeRoot(target, inputs);
    await uploadSeed(target, inputs.pool, seedVolume(name), {
      instanceId: `${name}-${specOf(inputs).slice(0, 12)}`,
      hostName: inputs.machine,
      mac: macOf(inputs.platformId, inputs.machine),
      ...inputs,
    });
    log('defining the domain');
    await define(target, inputs);
    await virsh(target, ['autostart', name]);
    await start(target, inputs);
  } catch (e) {
    throw await undone(e, target, inputs);
  }
}

/** Takes back what a failed run made. An error on the way is attached to the first one. */
async function undone(first: unknown, { uri, resource }: Target, inputs: DomainInputs): Promise<unknown> {
  // without the signal: it may be what ended the run
  const target = { uri, resource };
  try {
    const found = await findDomain(target, nameOf(inputs));
    if (found !== null && markOf(found)?.spec !== specOf(inputs)) return first;
    if (found !== null) await undefine(target, inputs, 0);
    await removeDisks(target, inputs);
    return first;
  } catch (later) {
    const both = new AggregateError([first, later]);
    const { message } = asError(first);
    const said = `${message}; and what was made of it could not be taken back: ${asError(later).message}`;
    return first instanceof NxnwError ? new NxnwError(first.code, said, first.fields, both) : new Error(said, { cause: both }); // prettier-ignore
  }
}

/** The system's disk: on KVM an overlay of the base image, on Xen a copy, which needs no QEMU in the control domain. */
async function makeRoot(target: Target, inputs: DomainInputs): Promise<void> {
  const image = await findImage(target, inputs.image);
  const name = rootVolume(nameOf(inputs));
  const bytes = Math.max(image.bytes, ROOT_BYTES);
  if (inputs.kind === 'kvm') return createVolume(target, inputs.pool, { name, bytes, format: 'qcow2', backing: image });
  const xml = renderXml(volumeXml({ name, bytes, format: 'raw' }));
  await virshWithFile(
    target,
    xml,
    ['vol-create-from', inputs.pool, 'FILE', '--inputpool', image.pool, image.name],
    COPY_MS,
  );
}

async function volumeOf(target: Target, inputs: DomainInputs, name: string): Promise<Found> {
  const found = await findVolume(target, inputs.pool, name);
  if (found !== null) return found;
  throw new NxnwError(
    'NO_DISK',
    `${target.resource}: ${target.uri} has no volume ${name} in the pool ${inputs.pool}; \`pulumi refresh\`, then \`nxnw up\` makes it`,
    { uri: target.uri, volume: name },
  );
}

/** Defines the domain, or changes its definition where it has `uuid`. */
async function define(target: Target, inputs: DomainInputs, uuid?: string): Promise<void> {
  const name = nameOf(inputs);
  const { platformId, machine, image, boot, kind } = inputs;
  const path = async (volume: string) => (await volumeOf(target, inputs, volume)).path;
  const xml = domainXml({
    ...inputs,
    name,
    ...(uuid === undefined ? {} : { uuid }),
    mark: { platformId, machine, image, spec: specOf(inputs) },
    virtualisation: await virtualisationOf(target, kind, boot !== null),
    disks: {
      root: await path(rootVolume(name)),
      rootFormat: kind === 'kvm' ? 'qcow2' : 'raw',
      seed: await path(seedVolume(name)),
      data: inputs.dataVolume === '' ? '' : await path(inputs.dataVolume),
    },
    mac: macOf(platformId, machine),
  });
  await virshWithFile(target, renderXml(xml), ['define', 'FILE']);
}

/** One after another on a host, so that two do not count on the same free memory. */
async function start(target: Target, inputs: DomainInputs): Promise<void> {
  const name = nameOf(inputs);
  await inTurn(target.uri, 'start', async () => {
    const state = await stateOf(target, name);
    if (state === 'paused') await virsh(target, ['resume', name]);
    if (state !== 'shut off') return;
    await checkMemory(target, inputs.memoryMiB);
    await virsh(target, ['start', name]);
  });
}

async function uuidOf(target: Target, name: string): Promise<string> {
  return (await virsh(target, ['domuuid', name])).trim();
}

/**
 * The machine as it is now, found by its name; null where it is gone. What differs from `state` is drift.
 * @throws MACHINE_EXISTS where another owner's domain has the name by now, and those of `virsh`
 */
export async function readMachine(state: DomainRecord, signal?: AbortSignal): Promise<DomainRecord | null> {
  const target = targetOf(state, signal);
  const name = nameOf(state);
  const xml = await findDomain(target, name);
  if (xml === null) return null;
  const mark = markOf(xml);
  if (mark?.platformId !== state.platformId || mark.machine !== state.machine) refuseOther(target, state, xml);
  const root = await findVolume(target, state.pool, rootVolume(name));
  const kib = Number(at(xml, 'memory')?.text ?? 0);
  return {
    ...state,
    memoryMiB: kib / 1024,
    vcpus: Number(at(xml, 'vcpu')?.text ?? 0),
    filter: at(xml, 'devices', 'interface', 'filterref')?.attributes['filter'] ?? '',
    image: root === null || root.backing === '' ? (mark?.image ?? '') : root.backing,
    uuid: at(xml, 'uuid')?.text ?? '',
    running: (await stateOf(target, name)) === 'running',
  };
}

/**
 * Changes memory, processors and filter in place, and starts the machine if it is off. A machine that runs takes memory
 * and processors when it is next shut down and started; nothing here does that, because it may hold data.
 */
export async function updateMachine(
  old: DomainRecord,
  wanted: DomainInputs,
  log: Log,
  signal?: AbortSignal,
): Promise<DomainRecord> {
  const target = targetOf(wanted, signal);
  const name = nameOf(wanted);
  const runs = (await stateOf(target, name)) !== 'shut off';
  await define(target, wanted, await uuidOf(target, name));
  const changed = (['memoryMiB', 'vcpus', 'filter'] as const).filter((k) => old[k] !== wanted[k]);
  if (runs && changed.length > 0)
    log(`${changed.map((k) => `${k} ${String(old[k])} -> ${String(wanted[k])}`).join(', ')}: in force once ${name} was shut down and started again (virsh shutdown, virsh start)`); // prettier-ignore
  await start(target, wanted);
  return { ...wanted, running: true, uuid: await uuidOf(target, name) };
}

/**
 * Removes the machine with its system's disk and its seed. Its disk for data stays.
 * @param graceMs how long it may take to shut down by itself. Default: 60 s with a disk for data, otherwise 0
 */
export async function removeMachine(state: DomainRecord, graceMs?: number, signal?: AbortSignal): Promise<void> {
  const target = targetOf(state, signal);
  const found = await findDomain(target, nameOf(state));
  const mark = found === null ? null : markOf(found);
  if (found !== null && (mark?.platformId !== state.platformId || mark.machine !== state.machine)) return;
  if (found !== null) await undefine(target, state, graceMs ?? (state.dataVolume === '' ? 0 : GRACE_MS));
  await removeDisks(target, state);
}

async function undefine(target: Target, m: DomainInputs, graceMs: number): Promise<void> {
  await stopDomain(target, nameOf(m), graceMs);
  try {
    await virsh(target, ['undefine', nameOf(m)]);
  } catch (e) {
    if (!hasCode(e, 'LIBVIRT_NOT_FOUND')) throw e;
  }
}

async function removeDisks(target: Target, m: DomainInputs): Promise<void> {
  for (const volume of [rootVolume(nameOf(m)), seedVolume(nameOf(m))]) await deleteVolume(target, m.pool, volume);
}

export function machineDiffers(old: DomainRecord, wanted: DomainInputs): Difference {
  const replaces: string[] = IDENTITY.filter((k) => canonical(old[k]) !== canonical(wanted[k]));
  if (wanted.generation > old.generation) replaces.push('generation');
  const inPlace = (['vcpus', 'memoryMiB', 'filter', 'running'] as const).some((k) => old[k] !== wanted[k]);
  return { changes: inPlace || replaces.length > 0, replaces };
}
