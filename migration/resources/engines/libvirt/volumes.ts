import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type { Difference } from '../machines.js';
import { ensurePool } from './pools.js';
import { allAt, at, parseXml, renderXml } from './xml.js';
import { virsh, virshWithFile, type Target } from './virsh.js';
import { volumeXml, type VolumeShape } from './volume-xml.js';

const GIB = 1024 ** 3;

/** A disk for data, which outlives the machine that has it. */
export interface VolumeInputs {
  /** libvirt URI of the host. */
  readonly uri: string;
  readonly pool: string;
  readonly name: string;
  readonly gib: number;
}

export interface VolumeState extends VolumeInputs {
  /** On the host. */
  readonly path: string;
}

const targetOf = (v: VolumeInputs, signal?: AbortSignal): Target => ({
  uri: v.uri,
  resource: `disk ${v.name}`,
  ...(signal === undefined ? {} : { signal }),
});

export interface Found {
  readonly path: string;
  readonly bytes: number;
  /** Path of the image under an overlay; '' = none. */
  readonly backing: string;
}

/** null where the pool, or the volume in it, is not there. */
export async function findVolume(target: Target, pool: string, name: string): Promise<Found | null> {
  try {
    const xml = parseXml(await virsh(target, ['vol-dumpxml', '--pool', pool, name]));
    return {
      path: at(xml, 'target', 'path')?.text ?? '',
      bytes: Number(at(xml, 'capacity')?.text ?? 0),
      backing: at(xml, 'backingStore', 'path')?.text ?? '',
    };
  } catch (e) {
    if (hasCode(e, 'LIBVIRT_NOT_FOUND', 'NO_POOL')) return null;
    throw e;
  }
}

export async function createVolume(target: Target, pool: string, shape: VolumeShape): Promise<void> {
  await virshWithFile(target, renderXml(volumeXml(shape)), ['vol-create', pool, 'FILE']);
}

/** Removes the volume where it is there. */
export async function deleteVolume(target: Target, pool: string, name: string): Promise<void> {
  if ((await findVolume(target, pool, name)) === null) return;
  await virsh(target, ['vol-delete', '--pool', pool, name]);
}

/**
 * Makes the disk, or takes the one of this name: it holds data, so it is never made anew, and only ever grows.
 * @throws DISK_EXISTS where the disk is larger than asked for
 */
export async function makeVolume(inputs: VolumeInputs, signal?: AbortSignal): Promise<VolumeState> {
  const target = targetOf(inputs, signal);
  const bytes = inputs.gib * GIB;
  await ensurePool(target, inputs.pool);
  let found = await findVolume(target, inputs.pool, inputs.name);
  if (found === null) {
    await createVolume(target, inputs.pool, { name: inputs.name, bytes, format: 'raw' });
    found = await findVolume(target, inputs.pool, inputs.name);
  }
  if (found === null) throw new NxnwError('LIBVIRT_FAILED', `${target.resource}: ${inputs.uri} made it, and does not have it; look at the pool ${inputs.pool} there`); // prettier-ignore
  if (found.bytes > bytes)
    throw new NxnwError(
      'DISK_EXISTS',
      `${target.resource}: ${inputs.uri} has it already with ${String(found.bytes / GIB)} GiB, and ${String(inputs.gib)} GiB were asked for; a disk never shrinks: ` +
        `set diskGiB to its size, or, if its data is not needed, remove it by \`virsh vol-delete --pool ${inputs.pool} ${inputs.name}\``,
      { ...inputs, hasBytes: found.bytes },
    );
  if (found.bytes < bytes) await grow(target, inputs, found.path);
  return { ...inputs, path: found.path };
}

/** A running domain must learn of its disk's new size, so it is the one to ask. */
async function grow(target: Target, inputs: VolumeInputs, path: string): Promise<void> {
  const user = await userOf(target, path);
  const size = `${String(inputs.gib)}GiB`;
  if (user === null) await virsh(target, ['vol-resize', '--pool', inputs.pool, inputs.name, size]);
  else await virsh(target, ['blockresize', user, path, size]);
}

/** Running domain that has the disk; null = none. */
async function userOf(target: Target, path: string): Promise<string | null> {
  const running = (await virsh(target, ['list', '--name'])).split('\n').map((n) => n.trim());
  for (const name of running.filter((n) => n !== '')) {
    const xml = parseXml(await virsh(target, ['dumpxml', name]));
    const sources = allAt(xml, 'devices', 'disk', 'source');
    if (sources.some((s) => s.attributes['file'] === path)) return name;
  }
  return null;
}

/** The disk as it is; null where it is gone. */
export async function readVolume(state: VolumeState, signal?: AbortSignal): Promise<VolumeState | null> {
  const found = await findVolume(targetOf(state, signal), state.pool, state.name);
  return found === null ? null : { ...state, path: found.path, gib: found.bytes / GIB };
}

export async function removeVolume(state: VolumeState, signal?: AbortSignal): Promise<void> {
  await deleteVolume(targetOf(state, signal), state.pool, state.name);
}

/** Another host, pool or name is another disk; a size changes in place. */
export function volumeDiffers(old: VolumeState, wanted: VolumeInputs): Difference {
  const replaces = (['uri', 'pool', 'name'] as const).filter((k) => old[k] !== wanted[k]);
  return { changes: replaces.length > 0 || old.gib !== wanted.gib, replaces };
}
