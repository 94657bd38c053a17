import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { NxnwError, asError } from '../errors.js';
import { packagePlacements } from './packages.js';
import { readTar, writeTar } from './tar.js';
import type { ArchiveEntry } from './tar.js';

/** An application as it is uploaded: one archive, named by its SHA-256. */
export interface Bundle {
  readonly digest: string;
  readonly archive: Buffer;
}

const MAX_BUNDLE_BYTES = 512 << 20;
const LEFT_OUT = new Set(['.git', 'node_modules', '.DS_Store']);

const manifestSchema = z.strictObject({
  runtime: z.enum(['node', 'python', 'custom']),
  /** A file for node and python; a command with its arguments for `custom` (blanks separate, or a list). */
  entrypoint: z.union([z.string().min(1), z.array(z.string()).min(1)]),
  env: z.record(z.string(), z.string()).default({}),
  health: z.string().startsWith('/').optional(),
});

/** The `app.yaml` of a bundle. */
export type Manifest = z.output<typeof manifestSchema>;

/** Reads `app.yaml` of an application's folder; throws BUNDLE_INVALID with every fault. */
export function readManifest(dir: string): Manifest {
  const file = join(dir, 'app.yaml');
  if (!existsSync(file))
    throw new NxnwError('BUNDLE_INVALID', `${dir} has no app.yaml; it needs one with runtime and entrypoint`, { dir });
  let content: unknown;
  try {
    content = parse(readFileSync(file, 'utf8'));
  } catch (e) {
    throw new NxnwError('BUNDLE_INVALID', `${file} is not YAML: ${asError(e).message}`, { file }, e);
  }
  const parsed = manifestSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((i) => `${i.path.join('.') || '(top)'}: ${i.message}`).join('; ');
  throw new NxnwError('BUNDLE_INVALID', `${file}: ${faults}; allowed are runtime, entrypoint, env, health`, { file });
}

/**
 * Packs an application's folder. For one with a package.json the npm packages it depends on are added from where Node
 * finds them, so that the bundle runs anywhere. The same files always give the same digest.
 */
export function packBundle(dir: string): Bundle {
  readManifest(dir);
  const entries = filesOf(dir, '');
  if (existsSync(join(dir, 'package.json')))
    for (const p of packagePlacements(dir)) entries.push(...filesOf(p.source, `${p.path}/`));
  entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  const archive = writeTar(entries);
  if (archive.length > MAX_BUNDLE_BYTES)
    throw new NxnwError(
      'BUNDLE_INVALID',
      `the bundle of ${dir} has ${archive.length} bytes; at most ${MAX_BUNDLE_BYTES}`,
    );
  return { digest: createHash('sha256').update(archive).digest('hex'), archive };
}

function filesOf(dir: string, prefix: string): ArchiveEntry[] {
  const entries: ArchiveEntry[] = [];
  const walk = (at: string): void => {
    for (const name of readdirSync(at).sort()) {
      if (LEFT_OUT.has(name)) continue;
      const path = join(at, name);
      const s = statSync(path);
      if (s.isDirectory()) walk(path);
      else if (s.isFile())
        entries.push({
          path: prefix + relative(dir, path).split(sep).join('/'),
          executable: (s.mode & 0o100) !== 0,
          content: readFileSync(path),
        });
    }
  };
  walk(dir);
  return entries;
}

/** Unpacks an archive into `target`, as a whole: a `target` that exists is complete. */
export function unpackBundle(archive: Buffer, target: string): void {
  if (existsSync(target)) return;
  const partial = `${target}.partial`;
  rmSync(partial, { recursive: true, force: true });
  for (const e of readTar(archive)) {
    const path = join(partial, e.path);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, e.content);
    if (e.executable) chmodSync(path, 0o755);
  }
  renameSync(partial, target);
}
