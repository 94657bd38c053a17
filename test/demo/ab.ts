import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findProgram } from '@nxnw/tools';
import { NxnwError } from '@nxnw/platform/errors';

export interface AbResult {
  readonly when: string;
  readonly url: string;
  readonly requests: number;
  readonly failed: number;
  readonly non2xx: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const TIMEOUT_MS = 60_000;

/** ApacheBench through an edge, by address and Host header, as the slides timed the switch. */
export async function apacheBench(o: {
  readonly when: string;
  readonly address: string;
  readonly port: number;
  readonly host: string;
  readonly path: string;
  readonly requests: number;
  readonly concurrency: number;
}): Promise<AbResult> {
  const ab = findProgram('ab');
  if (ab === undefined) throw new NxnwError('MISSING_PROGRAM', 'ab (ApacheBench) is not there; run `npm run setup`');
  const url = `http://${o.address}:${o.port}${o.path}`;
  const args = [
    '-n',
    String(o.requests),
    '-c',
    String(o.concurrency),
    '-k',
    '-l',
    '-s',
    '10',
    '-H',
    `Host: ${o.host}`,
    url,
  ];
  const { stdout } = await promisify(execFile)(ab, args, { timeout: TIMEOUT_MS });
  return { when: o.when, url, ...parseAb(stdout) };
}

/** Reads what `ab` prints. */
export function parseAb(text: string): Omit<AbResult, 'when' | 'url'> {
  const number = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? NaN);
  const result = {
    requests: number(/^Complete requests:\s+(\d+)/m),
    failed: number(/^Failed requests:\s+(\d+)/m),
    non2xx: /^Non-2xx responses:\s+(\d+)/m.test(text) ? number(/^Non-2xx responses:\s+(\d+)/m) : 0,
    perSecond: number(/^Requests per second:\s+([\d.]+)/m),
    p50Ms: number(/^\s*50%\s+(\d+)/m),
    p99Ms: number(/^\s*99%\s+(\d+)/m),
    maxMs: number(/^\s*100%\s+(\d+)/m),
  };
  if (Number.isNaN(result.requests))
    throw new NxnwError('AB_UNREADABLE', `ab printed no result: ${text.slice(0, 300)}`);
  return result;
}
