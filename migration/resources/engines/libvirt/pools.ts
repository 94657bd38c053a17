import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { at, parseXml, renderXml } from './xml.js';
import { inTurn, virsh, virshWithFile, type Target } from './virsh.js';
import { poolXml, type ImageFormat } from './volume-xml.js';

const IMAGES = '/var/lib/libvirt/images';
/** Copies of an image that were begun before may take so long. */
const BUSY_MS = 15 * 60_000;
const AGAIN_MS = 1000;

/** libvirt's own pool is the folder itself; others get a folder in it. */
const folderOf = (pool: string): string => (pool === 'default' ? IMAGES : posix.join(IMAGES, pool));

/**
 * Sees that the pool is there and active. One that is missing is made, as a folder below /var/lib/libvirt/images of the
 * host, and started at each start of the host. Nothing removes it: disks may lie in it.
 */
export async function ensurePool(target: Target, pool: string): Promise<void> {
  await inTurn(target.uri, `pool ${pool}`, async () => {
    if (!(await isKnown(target, pool))) {
      await virshWithFile(target, renderXml(poolXml(pool, folderOf(pool))), ['pool-define', 'FILE']);
      await virsh(target, ['pool-build', pool]);
      await virsh(target, ['pool-autostart', pool]);
    }
    if (/^State:\s+running/m.test(await virsh(target, ['pool-info', pool]))) return;
    await virsh(target, ['pool-start', pool]);
  });
}

async function isKnown(target: Target, pool: string): Promise<boolean> {
  try {
    await virsh(target, ['pool-info', pool]);
    return true;
  } catch (e) {
    if (hasCode(e, 'NO_POOL')) return false;
    throw e;
  }
}

/** A base image of a host, as a volume. */
export interface BaseImage {
  readonly pool: string;
  readonly name: string;
  readonly path: string;
  readonly format: ImageFormat;
  readonly bytes: number;
}

/**
 * The image at `path` of the host. Only files of pools can be looked at from afar, so its folder is made a pool (until
 * the host restarts) where it is none.
 * @throws NO_IMAGE where there is no such file, or it is neither raw nor qcow2
 */
export async function findImage(target: Target, path: string): Promise<BaseImage> {
  const volume = (await lookUp(target, path)) ?? (await inTurn(target.uri, 'images', () => lookFurther(target, path)));
  const format = volume === null ? undefined : at(volume.xml, 'target', 'format')?.attributes['type'];
  if (volume === null || (format !== 'raw' && format !== 'qcow2'))
    throw new NxnwError(
      'NO_IMAGE',
      `${target.resource}: ${target.uri} has no image ${path}${format === undefined ? '' : ` in a usable format (it is ${format}; allowed: raw, qcow2)`}; put the image there, or change the setting \`image\``,
      { uri: target.uri, image: path },
    );
  const { pool, xml } = volume;
  return { pool, path, format, name: at(xml, 'name')?.text ?? '', bytes: Number(at(xml, 'capacity')?.text ?? 0) };
}

async function lookUp(target: Target, path: string) {
  try {
    const pool = (await virsh(target, ['vol-pool', path])).trim();
    return { pool, xml: parseXml(await virsh(target, ['vol-dumpxml', path])) };
  } catch (e) {
    if (hasCode(e, 'LIBVIRT_NOT_FOUND')) return null;
    throw e;
  }
}

async function lookFurther(target: Target, path: string) {
  // who was before in the line may have made the pool
  const known = await lookUp(target, path);
  if (known !== null) return known;
  const folder = posix.dirname(path);
  const pool = (await poolAt(target, folder)) ?? (await temporaryPool(target, folder));
  if (pool === null) return null;
  // the file may be newer than the pool's list
  await refreshPool(target, pool);
  return lookUp(target, path);
}

/** Has the host list the pool's files anew, which it refuses while a disk is being made of one of them. */
async function refreshPool(target: Target, pool: string): Promise<void> {
  const endMs = Date.now() + BUSY_MS;
  for (;;)
    try {
      await virsh(target, ['pool-refresh', pool]);
      return;
    } catch (e) {
      if (!hasCode(e, 'LIBVIRT_BUSY') || Date.now() > endMs) throw e;
      await sleep(AGAIN_MS);
    }
}

async function poolAt(target: Target, folder: string): Promise<string | null> {
  const names = (await virsh(target, ['pool-list', '--name'])).split('\n').map((n) => n.trim());
  for (const name of names.filter((n) => n !== '')) {
    const xml = parseXml(await virsh(target, ['pool-dumpxml', name]));
    if (at(xml, 'target', 'path')?.text === folder) return name;
  }
  return null;
}

/** null where there is no such folder. */
async function temporaryPool(target: Target, folder: string): Promise<string | null> {
  const name = `nxnw-images-${createHash('sha256').update(folder).digest('hex').slice(0, 8)}`;
  try {
    await virshWithFile(target, renderXml(poolXml(name, folder)), ['pool-create', 'FILE']);
    return name;
  } catch (e) {
    if (hasCode(e, 'LIBVIRT_FAILED') && /cannot open path|no such file/i.test(e.message)) return null;
    throw e;
  }
}
