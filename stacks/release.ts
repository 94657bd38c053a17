import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { ReleaseFile } from '@nxnw/components';
import { NxnwError } from '@nxnw/platform/errors';

const described = z.looseObject({ archive: z.string().min(1), sha256: z.string().regex(/^[0-9a-f]{64}$/) });

/** The release that `npm run release` has built in this project. @throws NO_RELEASE */
export function readRelease(root: string): ReleaseFile {
  const dir = resolve(root, '.nxnw', 'release');
  const file = join(dir, 'release.json');
  if (!existsSync(file))
    throw new NxnwError(
      'NO_RELEASE',
      'machines reached by ssh get the release of this checkout, and none is built; run `npm run release` and then `nxnw up` again',
    );
  const { archive, sha256 } = described.parse(JSON.parse(readFileSync(file, 'utf8')));
  return { path: join(dir, archive), sha256 };
}
