import { createHash } from 'node:crypto';
import { cpSync, createReadStream, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { NxnwError } from '@nxnw/platform/errors';
import { z } from 'zod';
import { jarsDir, repoRoot } from '../paths.js';
import { run, say } from '../setup/run.js';
import { billOfMaterials } from './bom.js';
import { closureOf } from './closure.js';

/** What machines run; the Pulumi side of the migration package stays at the operator's. */
const WORKSPACES = ['platform', 'migration'] as const;
const JARS = ['zookeeper', 'cassandra'] as const;
const TAR_MS = 10 * 60_000;

/** A release that can be installed on a machine: one archive with everything but Debian's packages. */
export const releaseSchema = z.strictObject({
  version: z.string(),
  /** Digest of what went into it. */
  inputs: z.string(),
  /** File name of the archive, beside this description. */
  archive: z.string(),
  /** Of the archive, hex. */
  sha256: z.string(),
  bytes: z.number(),
});
export type Release = z.output<typeof releaseSchema>;

export function releaseDir(root = repoRoot): string {
  return join(root, '.nxnw', 'release');
}

/** The release that was built last, undefined if there is none. */
export function builtRelease(dir = releaseDir()): Release | undefined {
  const file = join(dir, 'release.json');
  return existsSync(file) ? releaseSchema.parse(JSON.parse(readFileSync(file, 'utf8'))) : undefined;
}

function* filesBelow(dir: string): Generator<string> {
  for (const e of readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(dir, e.name);
    if (e.isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}

/** Digest of what a release is made of: our code and what packs it, the lock file, the jars' names, Node's version. */
function digestInputs(): string {
  const h = createHash('sha256').update(process.version);
  for (const w of WORKSPACES)
    for (const file of filesBelow(join(repoRoot, w, 'dist')))
      h.update(file.slice(repoRoot.length)).update(readFileSync(file));
  for (const file of filesBelow(__dirname)) h.update(readFileSync(file));
  h.update(readFileSync(join(repoRoot, 'package-lock.json')));
  for (const name of JARS) h.update(readdirSync(jarsDir(name)).sort().join());
  return h.digest('hex');
}

/** Digest (hex) and size of a file. */
export async function sha256Of(file: string): Promise<{ sha256: string; bytes: number }> {
  const h = createHash('sha256');
  let bytes = 0;
  await pipeline(createReadStream(file), async function (chunks) {
    for await (const chunk of chunks as AsyncIterable<Buffer>) {
      h.update(chunk);
      bytes += chunk.length;
    }
  });
  return { sha256: h.digest('hex'), bytes };
}

/** Puts everything that belongs into the release below `stage`. */
function gather(stage: string, version: string): void {
  const packages = closureOf(repoRoot, WORKSPACES, (name) => name.startsWith('@pulumi/') || name.startsWith('@nxnw/'));
  const skipped = join(repoRoot, 'migration', 'dist', 'resources');
  mkdirSync(join(stage, 'node_modules', '@nxnw'), { recursive: true });
  const keep = (path: string) => path !== skipped && !path.endsWith('.d.ts') && !path.endsWith('.tsbuildinfo');
  for (const w of WORKSPACES) {
    cpSync(join(repoRoot, w, 'dist'), join(stage, w, 'dist'), { recursive: true, filter: keep });
    cpSync(join(repoRoot, w, 'package.json'), join(stage, w, 'package.json'));
    symlinkSync(join('..', '..', w), join(stage, 'node_modules', '@nxnw', w));
  }
  // A package's own node_modules holds packages that are listed by themselves.
  for (const p of packages) {
    const nested = join(repoRoot, p.path, 'node_modules');
    cpSync(join(repoRoot, p.path), join(stage, p.path), { recursive: true, filter: (path) => path !== nested });
  }
  for (const name of JARS) cpSync(jarsDir(name), join(stage, '.tools', 'lib', name), { recursive: true });
  mkdirSync(join(stage, 'bin'));
  cpSync(process.execPath, join(stage, 'bin', 'node'));
  const jarDirs = JARS.map(jarsDir);
  writeFileSync(join(stage, 'bom.json'), billOfMaterials({ version, packages, jarDirs, nodeVersion: process.versions.node })); // prettier-ignore
  writeFileSync(join(stage, 'package.json'), JSON.stringify({ name: 'nxnw-release', version, private: true }) + '\n');
}

/**
 * Builds the release of this checkout, unless it is built already: `nxnw-VERSION-PLATFORM.tar.gz`, its description
 * `release.json` and its bill of materials `bom.json`. The same inputs give the same archive, bit by bit.
 * @throws PACKAGE_MISSING, PROGRAM_MISSING (jars), SETUP_FAILED
 */
export async function ensureRelease(dir = releaseDir()): Promise<Release> {
  for (const name of JARS)
    if (!existsSync(jarsDir(name)))
      throw new NxnwError(
        'PROGRAM_MISSING',
        `a release holds the jars of ${name}, which are not there; run npm run setup`,
      );
  const inputs = digestInputs();
  const old = builtRelease(dir);
  if (old?.inputs === inputs && existsSync(join(dir, old.archive))) return old;
  const { version } = z.looseObject({ version: z.string() }).parse(JSON.parse(readFileSync(join(repoRoot, 'package.json'), 'utf8'))); // prettier-ignore
  const archive = `nxnw-${version}-${process.platform}-${process.arch}.tar.gz`;
  const stage = join(dir, `stage-${process.pid}`);
  const made = join(dir, `${archive}.${process.pid}`);
  say(`release ${version}: gathering`);
  try {
    mkdirSync(stage, { recursive: true });
    gather(stage, version);
    const plain = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=go=rX,u+rw'];
    await run('tar', [...plain, '-I', 'gzip -n', '-C', stage, '-cf', made, '.'], {
      what: `pack ${archive}`,
      deadlineMs: TAR_MS,
      onFailure: 'Is there room on the disk?',
    });
    cpSync(join(stage, 'bom.json'), join(dir, 'bom.json'));
    renameSync(made, join(dir, archive));
    const release: Release = { version, inputs, archive: basename(archive), ...(await sha256Of(join(dir, archive))) };
    writeFileSync(join(dir, 'release.json'), JSON.stringify(release, null, 2) + '\n');
    say(`release ${version}: ${archive}, ${(release.bytes / 1e6).toFixed(0)} MB`);
    return release;
  } finally {
    rmSync(stage, { recursive: true, force: true });
    rmSync(made, { force: true });
  }
}
