import { join } from 'node:path';
import { asError } from '@nxnw/platform/errors';
import { ensureRelease, releaseDir } from './build.js';

/** `npm run release`: builds the release of this checkout and says where it lies. */
ensureRelease().then(
  (r) => process.stdout.write(`${join(releaseDir(), r.archive)}\nsha256 ${r.sha256}\n`),
  (e: unknown) => {
    process.stderr.write(`${asError(e).message}\n`);
    process.exitCode = 1;
  },
);
