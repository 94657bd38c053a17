import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EdgeRuntime } from '@nxnw/platform/edge/runtime';
import { z } from 'zod';
import { nowUs } from '../load/clock.js';
import { LineLog } from '../load/lines.js';
import { fileSource } from '../oracle/index.js';
import { DIR, NETWORKS, machinesDir } from './places.js';
import type { Stack } from './places.js';

/**
 * Counters that the clients cannot see, sampled every second: UNAVAILABLE at the datastore's doors, and what HAProxy
 * tried again. Each is a sum over both platforms since their start.
 */
const sample = z.strictObject({ at: z.number(), doorUnavailable: z.number(), haproxyRetries: z.number() });
export type Sample = z.infer<typeof sample>;

export const COUNTERS_FILE = join(DIR, 'counters.jsonl');
const STACKS: readonly Stack[] = ['blue', 'green'];
const METRICS_PORTS = [7430, 7431];
const SCRAPE_MS = 800;

export async function sampleCounters(log: LineLog): Promise<void> {
  const doors = STACKS.flatMap((s) =>
    METRICS_PORTS.map((p) => doorUnavailable(`http://${NETWORKS[s]}.11:${p}/metrics`)),
  );
  const edges = STACKS.map(haproxyRetries);
  const sum = (list: number[]): number => list.reduce((a, b) => a + b, 0);
  const [atDoors, atEdges] = await Promise.all([Promise.all(doors), Promise.all(edges)]);
  log.write({ at: nowUs(), doorUnavailable: sum(atDoors), haproxyRetries: sum(atEdges) });
}

/** 0 for a process that is not there, or too busy to tell: the next sample has it. */
async function doorUnavailable(url: string): Promise<number> {
  try {
    const text = await (await fetch(url, { signal: AbortSignal.timeout(SCRAPE_MS) })).text();
    return readUnavailable(text);
  } catch {
    return 0;
  }
}

/** Sum of the requests that doors answered with UNAVAILABLE, in Prometheus' text. */
export function readUnavailable(text: string): number {
  const lines = text.matchAll(/^nxnw_datastore_requests_total\{[^}]*code="UNAVAILABLE"[^}]*\} (\S+)$/gm);
  return [...lines].reduce((sum, m) => sum + Number(m[1]), 0);
}

async function haproxyRetries(stack: Stack): Promise<number> {
  const dir = join(machinesDir(stack), 'edge-1', 'roles', 'edge');
  if (!existsSync(dir)) return 0;
  try {
    return readRetries(await new EdgeRuntime(dir).command('show stat'));
  } catch {
    return 0;
  }
}

/** Retries and redispatches of all backends, in the CSV of `show stat`. */
export function readRetries(csv: string): number {
  const [head = '', ...rows] = csv.replace(/^# /, '').split('\n');
  const columns = head.split(',');
  const at = (row: string[], name: string): string => row[columns.indexOf(name)] ?? '';
  return rows
    .map((row) => row.split(','))
    .filter((row) => at(row, 'svname') === 'BACKEND')
    .reduce((sum, row) => sum + Number(at(row, 'wretr')) + Number(at(row, 'wredis')), 0);
}

export interface Counted {
  readonly doorUnavailable: number;
  readonly haproxyRetries: number;
}

/** How much the counters rose between two moments; what a restart took away is not seen. Null without samples there. */
export async function countersBetween(fromUs: number, toUs: number): Promise<Counted | null> {
  if (!existsSync(COUNTERS_FILE)) return null;
  let before: Sample | null = null;
  const risen = { doorUnavailable: 0, haproxyRetries: 0 };
  let seen = 0;
  for await (const value of fileSource(COUNTERS_FILE).read()) {
    const s = sample.parse(value);
    if (before !== null && s.at >= fromUs && before.at <= toUs) {
      seen++;
      for (const k of ['doorUnavailable', 'haproxyRetries'] as const) risen[k] += Math.max(0, s[k] - before[k]);
    }
    before = s;
  }
  return seen === 0 ? null : risen;
}
