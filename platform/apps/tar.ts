import { NxnwError } from '../errors.js';

/** A file of an archive. `path` is relative, with slashes. */
export interface ArchiveEntry {
  readonly path: string;
  readonly executable: boolean;
  readonly content: Buffer;
}

const BLOCK = 512;
const NAME_BYTES = 100;
const PREFIX_BYTES = 155;

/** A ustar archive: the same entries always give the same bytes (no times, no owners). */
export function writeTar(entries: readonly ArchiveEntry[]): Buffer {
  const blocks: Buffer[] = [];
  for (const e of entries) {
    const padding = (BLOCK - (e.content.length % BLOCK)) % BLOCK;
    blocks.push(header(e), e.content, Buffer.alloc(padding));
  }
  blocks.push(Buffer.alloc(2 * BLOCK));
  return Buffer.concat(blocks);
}

function header(e: ArchiveEntry): Buffer {
  const { name, prefix } = splitPath(e.path);
  const h = Buffer.alloc(BLOCK);
  h.write(name, 0, NAME_BYTES);
  h.write(e.executable ? '0000755' : '0000644', 100);
  h.write('0000000', 108);
  h.write('0000000', 116);
  h.write(e.content.length.toString(8).padStart(11, '0'), 124);
  h.write('00000000000', 136);
  h.write(' '.repeat(8), 148);
  h.write('0', 156);
  h.write('ustar\0' + '00', 257);
  h.write(prefix, 345, PREFIX_BYTES);
  const sum = h.reduce((s, b) => s + b, 0);
  h.write(sum.toString(8).padStart(6, '0') + '\0 ', 148);
  return h;
}

function splitPath(path: string): { name: string; prefix: string } {
  if (Buffer.byteLength(path) <= NAME_BYTES) return { name: path, prefix: '' };
  for (let i = path.indexOf('/'); i > 0; i = path.indexOf('/', i + 1)) {
    const [prefix, name] = [path.slice(0, i), path.slice(i + 1)];
    if (Buffer.byteLength(name) <= NAME_BYTES && Buffer.byteLength(prefix) <= PREFIX_BYTES) return { name, prefix };
  }
  throw new NxnwError('BUNDLE_INVALID', `the path ${path} is too long for an archive (about 250 bytes)`, { path });
}

/** Reads what `writeTar` wrote. Throws BUNDLE_INVALID for anything else, paths that leave the archive included. */
export function readTar(archive: Buffer): ArchiveEntry[] {
  const entries: ArchiveEntry[] = [];
  for (let at = 0; at + BLOCK <= archive.length;) {
    const h = archive.subarray(at, at + BLOCK);
    if (h[0] === 0) return entries;
    const text = (from: number, length: number): string => {
      const raw = h.toString('utf8', from, from + length);
      const end = raw.indexOf('\0');
      return end < 0 ? raw : raw.slice(0, end);
    };
    const prefix = text(345, PREFIX_BYTES);
    const path = (prefix === '' ? '' : prefix + '/') + text(0, NAME_BYTES);
    const size = parseInt(text(124, 12), 8);
    const plainFile = text(257, 5) === 'ustar' && h[156] === '0'.charCodeAt(0);
    if (!plainFile || !(size >= 0) || path.startsWith('/') || path.split('/').includes('..'))
      throw new NxnwError('BUNDLE_INVALID', `the archive has an entry "${path}" that a bundle may not have`, { path });
    const content = archive.subarray(at + BLOCK, at + BLOCK + size);
    if (content.length < size) break;
    entries.push({ path, executable: (parseInt(text(100, 8), 8) & 0o100) !== 0, content });
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  throw new NxnwError('BUNDLE_INVALID', 'the archive ends too early; pack and upload the bundle again');
}
