import { open } from 'lmdb';
import { LMDB_OPTIONS, PROBE_STARTED } from './lmdb-env.js';

/**
 * Opens each environment named on the command line and prints its path when it is open. Opening takes the writer lock
 * on the calling thread, without a limit; here that thread may wait, and be killed, without harm to anybody.
 */
async function probe(paths: readonly string[]): Promise<void> {
  process.stdout.write(`${PROBE_STARTED}\n`);
  for (const path of paths) {
    await open({ path, ...LMDB_OPTIONS }).close();
    process.stdout.write(`${path}\n`);
  }
}

void probe(process.argv.slice(2));
