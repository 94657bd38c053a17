import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import pino from 'pino';
import type { z } from 'zod';
import type { Endpoint } from '../agent/spec.js';
import { NxnwError, asError } from '../errors.js';
import type { WireLog } from './gateway-stream.js';
import { addHealth, type Health } from './health.js';
import { RpcServer, type TlsMaterial } from './rpc.js';

const logger = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime });
export const log: WireLog = (event, fields) => logger.info(fields, event);

/** @throws USAGE, BAD_CONFIG */
export function configOf<T>(schema: z.ZodType<T>): T {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (values.config === undefined) throw new NxnwError('USAGE', 'usage: node <this program> --config FILE');
  const parsed = schema.safeParse(JSON.parse(readFileSync(values.config, 'utf8')));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
  throw new NxnwError('BAD_CONFIG', `wrong configuration ${values.config}: ${faults.join('; ')}`, { faults });
}

export function readTls(paths: { ca: string; cert: string; key: string }): TlsMaterial {
  const read = (p: string): string => readFileSync(p, 'utf8');
  return { ca: read(paths.ca), cert: read(paths.cert), key: read(paths.key) };
}

/** Tells the machine's agent how the process is. */
export async function serveHealth(at: Endpoint, tls: TlsMaterial, state: () => Health): Promise<void> {
  const server = new RpcServer();
  addHealth(server, state);
  await server.listen(`${at.host}:${at.port}`, tls);
}

/** Runs until SIGTERM; a failure ends the process. */
export function runProcess(main: () => Promise<void>): void {
  process.on('SIGTERM', () => process.exit(0));
  main().catch((e: unknown) => {
    logger.fatal({ err: asError(e) }, 'join.failed');
    process.exit(1);
  });
}
