import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { asError } from '@nxnw/platform/errors';
import { ensureImage, imageDir } from './build.js';

/** `npm run image [-- --again]`: builds the machine image of this checkout and says where it lies. */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { again: { type: 'boolean', default: false } } });
  const image = await ensureImage({ build: values.again ? 'always' : 'changed' });
  process.stdout.write(`${join(imageDir(), image.qcow2)}\n${join(imageDir(), image.raw)}\n`);
}

main().catch((e: unknown) => {
  process.stderr.write(`${asError(e).message}\n`);
  process.exitCode = 1;
});
