import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { z } from 'zod';

const packageJson = z.looseObject({
  name: z.string(),
  version: z.string(),
  license: z.string().default('unknown'),
  dependencies: z.record(z.string(), z.string()).default({}),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
});

/** A package of node_modules that a release carries. */
export interface ReleasePackage {
  readonly name: string;
  readonly version: string;
  /** SPDX, as the package says. */
  readonly license: string;
  /** Folder, relative to the root. */
  readonly path: string;
}

function readPackage(dir: string): z.output<typeof packageJson> {
  return packageJson.parse(JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')));
}

/** Folder of the package that `from` gets for `name`, as Node resolves it; undefined if there is none. */
function folderOf(name: string, from: string, root: string): string | undefined {
  for (let dir = from; ; dir = dirname(dir)) {
    const found = join(dir, 'node_modules', name);
    if (existsSync(join(found, 'package.json'))) return found;
    if (dir === root || dir === dirname(dir)) return undefined;
  }
}

/**
 * Every package that the workspaces `starts` need to run, but for those that `left` names; sorted by path. Optional
 * packages that are not there (binaries of other machines) are left out.
 * @throws PACKAGE_MISSING for a dependency that is not installed
 */
export function closureOf(root: string, starts: readonly string[], left: (name: string) => boolean): ReleasePackage[] {
  const found = new Map<string, ReleasePackage>();
  const visit = (dir: string): void => {
    const { name: from, dependencies, optionalDependencies } = readPackage(dir);
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (left(name)) continue;
      const folder = folderOf(name, dir, root);
      if (folder === undefined) {
        if (name in optionalDependencies) continue;
        throw new NxnwError('PACKAGE_MISSING', `${from} needs the package ${name}, which is not installed; run npm ci`);
      }
      const path = relative(root, folder);
      // a workspace is a link: it is packed as itself
      if (found.has(path) || relative(root, realpathSync(folder)) !== path) continue;
      const { version, license } = readPackage(folder);
      found.set(path, { name, version, license, path });
      visit(folder);
    }
  };
  for (const start of starts) visit(join(root, start));
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}
