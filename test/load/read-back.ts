import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { NxnwError } from '@nxnw/platform/errors';

/**
 * Reads every entity of the gazetteer through the public API into `file`, for the oracle, in a process of its own.
 * @throws DUMP_FAILED
 */
export async function readBack(o: {
  readonly project: string;
  /** `host:port` of a door to the datastore that accepts the project. */
  readonly door: string;
  readonly file: string;
  onProgress?(entities: number): void;
  readonly signal?: AbortSignal;
}): Promise<void> {
  const child = spawn(process.execPath, [join(__dirname, 'dump.js'), o.project, o.file], {
    env: { ...process.env, METADATA_SERVER_DETECTION: 'none', DATASTORE_EMULATOR_HOST: o.door },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const end = (): void => {
    child.kill('SIGKILL');
  };
  o.signal?.addEventListener('abort', end);
  createInterface({ input: child.stdout }).on('line', (line) => {
    const done = /"done":(\d+)/.exec(line)?.[1];
    if (done !== undefined) o.onProgress?.(Number(done));
  });
  const code = await new Promise<number | null>((ok) => child.on('close', ok));
  o.signal?.removeEventListener('abort', end);
  if (code !== 0) throw new NxnwError('DUMP_FAILED', `reading the entities through ${o.door} ended with ${code}`);
}
