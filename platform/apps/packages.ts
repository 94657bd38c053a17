import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { NxnwError } from '../errors.js';

const manifestSchema = z.object({
  dependencies: z.record(z.string(), z.string()).default({}),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
});

/** A package to be copied: from `source` to `path` inside the bundle (`node_modules/a`, `node_modules/a/node_modules/b`). */
export interface Placement {
  readonly source: string;
  readonly path: string;
}

/** Where Node would find package `name` when a file of `from` asks for it; null if nowhere. */
function locate(name: string, from: string): string | null {
  for (let dir = from; ; dir = dirname(dir)) {
    const candidate = join(dir, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return realpathSync(candidate);
    if (dir === dirname(dir)) return null;
  }
}

/**
 * All npm packages that the package in `root` needs at run time, laid out so that each finds the version it finds now:
 * at the top of the bundle where the name is free, else below the package that asks for it.
 */
export function packagePlacements(root: string): Placement[] {
  const placed = new Map<string, string>();
  const queue: { source: string; path: string }[] = [{ source: root, path: '' }];
  for (let next = queue.shift(); next; next = queue.shift()) {
    const manifest = manifestSchema.parse(JSON.parse(readFileSync(join(next.source, 'package.json'), 'utf8')));
    const names = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.optionalDependencies)];
    for (const name of new Set(names)) {
      const source = locate(name, next.source);
      if (source === null) {
        if (name in manifest.optionalDependencies) continue;
        throw new NxnwError(
          'BUNDLE_INVALID',
          `package "${name}", which ${next.source} needs, is not installed; run npm install there first`,
          { package: name },
        );
      }
      if (resolveIn(placed, next.path, name) === source) continue;
      const top = `node_modules/${name}`;
      const path = placed.has(top) ? `${next.path === '' ? '' : next.path + '/'}node_modules/${name}` : top;
      placed.set(path, source);
      queue.push({ source, path });
    }
  }
  return [...placed].map(([path, source]) => ({ path, source }));
}

/** What the package at `path` of the bundle would find under `name`, as placed so far. */
function resolveIn(placed: ReadonlyMap<string, string>, path: string, name: string): string | undefined {
  for (let at = path; at !== '';) {
    const found = placed.get(`${at}/node_modules/${name}`);
    if (found !== undefined) return found;
    const up = at.lastIndexOf('/node_modules/');
    at = up < 0 ? '' : at.slice(0, up);
  }
  return placed.get(`node_modules/${name}`);
}
