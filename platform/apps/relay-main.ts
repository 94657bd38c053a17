import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { asError } from '../errors.js';
import { endpointSchema } from '../agent/spec.js';
import { startRelay } from './relay.js';

const configSchema = z.strictObject({
  listen: endpointSchema,
  targets: z.array(endpointSchema).min(1),
  tlsSide: z.enum(['listen', 'targets', 'none']),
  tls: z.strictObject({ ca: z.string(), cert: z.string(), key: z.string() }),
});

/** `node relay-main.js --config FILE`: one relay, until SIGTERM; SIGHUP: other targets for new connections. */
async function main(): Promise<void> {
  const file = process.argv[process.argv.indexOf('--config') + 1] ?? '';
  const read = (path: string): string => readFileSync(path, 'utf8');
  const readConfig = () => configSchema.parse(JSON.parse(read(file)));
  let config = readConfig();
  const tls = { ca: read(config.tls.ca), cert: read(config.tls.cert), key: read(config.tls.key) };
  process.on('SIGHUP', () => {
    config = readConfig();
  });
  process.on('SIGTERM', () => process.exit(0));
  await startRelay({ ...config, targets: () => config.targets, tls });
}

void main().catch((e: unknown) => {
  process.stderr.write(`${asError(e).stack ?? ''}\n`);
  process.exit(1);
});
