import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { ReleaseFile } from '@nxnw/components';

const described = z.looseObject({ archive: z.string().min(1), sha256: z.string().regex(/^[0-9a-f]{64}$/) });

/** The release that `npm run release` has built in this project; undefined if there is none. */
export function readRelease(root: string): ReleaseFile | undefined {
  const dir = resolve(root, '.nxnw', 'release');
  const file = join(dir, 'release.json');
  if (!existsSync(file)) return undefined;
  const { archive, sha256 } = described.parse(JSON.parse(readFileSync(file, 'utf8')));
  return { path: join(dir, archive), sha256 };
}
