import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { z } from 'zod';
import { repoRoot } from '../paths.js';
import { ensureRelease, releaseDir, sha256Of } from '../release/build.js';
import { ensurePrograms } from '../setup/debian.js';
import { say } from '../setup/run.js';
import { imageBom } from './bom.js';
import { copyKernel, makeDisk, makeQcow2 } from './disk.js';
import { makeRoot } from './root.js';

/** A machine image; files lie beside its description `image.json`. */
export const imageSchema = z.strictObject({
  /** Of the release in it. */
  version: z.string(),
  /** Digest of the release and of what makes the image; Debian's packages are those of the day. */
  inputs: z.string(),
  raw: z.string(),
  qcow2: z.string(),
  kernel: z.string(),
  initrd: z.string(),
  /** Lines of name, version and architecture. */
  packages: z.string(),
  bom: z.string(),
});
export type Image = z.output<typeof imageSchema>;

export function imageDir(root = repoRoot): string {
  return join(root, '.nxnw', 'image');
}

function builtImage(dir: string): Image | undefined {
  const file = join(dir, 'image.json');
  return existsSync(file) ? imageSchema.parse(JSON.parse(readFileSync(file, 'utf8'))) : undefined;
}

const filesOf = ({ raw, qcow2, kernel, initrd, packages, bom }: Image) => [raw, qcow2, kernel, initrd, packages, bom];

export interface ImageOptions {
  /** @default .nxnw/image */
  readonly dir?: string;
  /** `always`: also where the release is the same, for Debian's newer packages. @default 'changed' */
  readonly build?: 'changed' | 'always';
}

/**
 * Builds the machine image of this checkout's release, unless it is built already.
 * @throws PROGRAM_MISSING, SETUP_FAILED, SETUP_TIMEOUT, and what `ensureRelease` throws
 */
export async function ensureImage(o: ImageOptions = {}): Promise<Image> {
  const { dir = imageDir(), build = 'changed' } = o;
  const release = await ensureRelease();
  const own = readdirSync(__dirname).filter((f) => f.endsWith('.js')).sort(); // prettier-ignore
  const h = createHash('sha256').update(release.sha256);
  for (const file of own) h.update(readFileSync(join(__dirname, file)));
  const inputs = h.digest('hex');
  const old = builtImage(dir);
  if (build === 'changed' && old?.inputs === inputs && filesOf(old).every((f) => existsSync(join(dir, f)))) return old;
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new NxnwError(
      'SETUP_FAILED',
      `an image is for x86-64 and is made on Linux there; this is ${process.platform} on ${process.arch}`,
    );
  await ensurePrograms(['mmdebstrap', 'mkfs.ext4', 'qemu-img']);
  if (process.getuid?.() !== 0)
    throw new NxnwError(
      'SETUP_FAILED',
      `an image is made as root (its files are root's), and this is user ${String(process.getuid?.())}; run npm run image as root`,
    );
  return make(dir, release, inputs);
}

async function make(dir: string, release: { version: string; archive: string }, inputs: string): Promise<Image> {
  const { version } = release;
  const base = `nxnw-${version}-amd64`;
  const image: Image = {
    version,
    inputs,
    raw: `${base}.raw`,
    qcow2: `${base}.qcow2`,
    kernel: 'vmlinuz',
    initrd: 'initrd.img',
    packages: 'packages.txt',
    bom: 'bom.json',
  };
  const stage = join(dir, `stage-${String(process.pid)}`);
  const root = join(stage, 'root');
  const began = Date.now();
  try {
    mkdirSync(stage, { recursive: true });
    const packages = await makeRoot(root, join(releaseDir(), release.archive));
    copyKernel(root, stage);
    await makeDisk(root, join(stage, image.raw));
    await makeQcow2(join(stage, image.raw), join(stage, image.qcow2));
    const lines = packages.map((p) => `${p.name}\t${p.version}\t${p.arch}\n`);
    writeFileSync(join(stage, image.packages), lines.join(''));
    const bomOfRelease = readFileSync(join(releaseDir(), 'bom.json'), 'utf8');
    writeFileSync(join(stage, image.bom), imageBom({ version, packages, release: bomOfRelease }));
    const sums = await Promise.all(
      filesOf(image).map(async (f) => `${(await sha256Of(join(stage, f))).sha256}  ${f}\n`),
    );
    // the description goes first and comes last: with it, all files are of one build
    rmSync(join(dir, 'image.json'), { force: true });
    for (const f of filesOf(image)) renameSync(join(stage, f), join(dir, f));
    writeFileSync(join(dir, 'SHA256SUMS'), sums.join(''));
    writeFileSync(join(dir, 'image.json'), JSON.stringify(image, null, 2) + '\n');
    say(`image ${version}: ${image.qcow2}, ${String(packages.length)} Debian packages (${String(Math.round((Date.now() - began) / 1000))} s)`); // prettier-ignore
    return image;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}
