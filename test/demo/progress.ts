import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { CoordinatorClient } from '@nxnw/migration/coordinator/api';
import type { MigrationStatus } from '@nxnw/migration/coordinator/api';
import { readAccess } from '@nxnw/migration/resources/engines/access';
import { hasCode } from '@nxnw/platform/errors';
import { z } from 'zod';
import { nowUs } from '../load/clock.js';
import { LineLog } from '../load/lines.js';
import { fileSource } from '../oracle/index.js';
import { DIR, HOME } from './places.js';
import type { Screen } from './screen.js';

const POLL_MS = 500;
export const PROGRESS_FILE = join(DIR, 'progress.jsonl');

/** A line of the progress log: how far the load is, and how far N2 is behind. */
const line = z.looseObject({
  at: z.number(),
  load: z.string(),
  done: z.number(),
  total: z.number().nullable(),
  lagMs: z.number().nullable(),
});
export type ProgressLine = z.infer<typeof line>;

/**
 * Asks the coordinator twice a second how far it is, shows it, and writes it down, until the signal aborts. While there
 * is no coordinator yet nothing is shown.
 */
export async function followProgress(screen: Screen, signal: AbortSignal): Promise<void> {
  const log = new LineLog(PROGRESS_FILE);
  let client: CoordinatorClient | null = null;
  try {
    while (!signal.aborted) {
      try {
        client ??= connect();
        if (client !== null) show(screen, log, await client.status(POLL_MS * 4));
      } catch (e) {
        if (!hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'NO_ACCESS', 'NO_MIGRATION', 'NO_JOIN', 'NOT_STARTED'))
          throw e;
      }
      await delay(POLL_MS, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    client?.close();
    log.close();
  }
}

function connect(): CoordinatorClient | null {
  const { coordinator, operator } = readAccess(HOME, 'green');
  return coordinator === null ? null : new CoordinatorClient(coordinator, operator);
}

function show(screen: Screen, log: LineLog, s: MigrationStatus): void {
  const load = s.phases.find((p) => p.phase === 'SnapshotLoad');
  const lags = s.apps.flatMap((a) => a.lagMs ?? []);
  const lagMs = lags.length === 0 ? null : Math.max(...lags);
  const { done = 0, total = null } = load?.progress ?? {};
  log.write({ at: nowUs(), load: load?.at ?? 'idle', done, total, lagMs });
  const running = s.phases.filter((p) => p.at === 'running' || p.at === 'undoing');
  const words = running.map((p) => (p.detail === '' ? p.phase : `${p.phase} (${p.detail})`)).join(', ');
  const lag = lagMs === null ? '' : `lag ${Math.round(lagMs)} ms`;
  if (load?.at === 'running')
    screen.bar({ done, total, unit: 'entities', note: [lag, words].filter((t) => t !== '').join('  ') });
  else screen.passing(`stage ${s.stage.reached ?? 'none'} of ${s.stage.wanted}  ${lag}  ${words}`);
}

export interface LoadWindow {
  readonly seconds: number;
  /** Acknowledged writes to loaded places while the snapshot was loaded, by where the scan was. */
  readonly writesScanned: number;
  readonly writesNotYetScanned: number;
  readonly deletesScanned: number;
  readonly deletesNotYetScanned: number;
  readonly maxLagMs: number | null;
}

const start = z.looseObject({ k: z.literal('start'), nonce: z.string(), op: z.string(), groups: z.array(z.number()) });
const end = z.looseObject({ k: z.literal('end'), nonce: z.string(), at: z.number(), outcome: z.string() });
const WRITES = new Set(['sign', 'edit', 'create', 'remove', 'move']);

/**
 * Counts the clients' acknowledged writes to loaded places during the load. A place counts as scanned when its rank in
 * key order lies below the share that was scanned by then: shards are scanned at the same time, each in key order.
 */
export async function loadWindow(logs: readonly string[], ids: readonly number[]): Promise<LoadWindow | null> {
  const steps: ProgressLine[] = [];
  const lags: number[] = [];
  for await (const value of fileSource(PROGRESS_FILE).read()) {
    const p = line.parse(value);
    if (p.lagMs !== null) lags.push(p.lagMs);
    if (p.load === 'running') steps.push(p);
  }
  const first = steps[0];
  const last = steps.at(-1);
  if (first === undefined || last === undefined) return null;
  const rank = new Map([...ids].sort((a, b) => a - b).map((id, i) => [id, i / ids.length]));
  const count = { writesScanned: 0, writesNotYetScanned: 0, deletesScanned: 0, deletesNotYetScanned: 0 };
  for (const log of logs) {
    const open = new Map<string, z.infer<typeof start>>();
    for await (const value of fileSource(log).read()) {
      const s = start.safeParse(value);
      if (s.success) {
        if (WRITES.has(s.data.op)) open.set(s.data.nonce, s.data);
        continue;
      }
      const e = end.safeParse(value);
      const op = e.success ? open.get(e.data.nonce) : undefined;
      if (!e.success || op === undefined) continue;
      open.delete(op.nonce);
      if (e.data.outcome !== 'ok' || e.data.at < first.at || e.data.at > last.at) continue;
      const share = shareAt(steps, e.data.at);
      for (const id of op.groups) {
        const at = rank.get(id);
        if (at === undefined) continue;
        const scanned = at < share;
        count[scanned ? 'writesScanned' : 'writesNotYetScanned']++;
        if (op.op === 'remove') count[scanned ? 'deletesScanned' : 'deletesNotYetScanned']++;
      }
    }
  }
  return { seconds: (last.at - first.at) / 1e6, ...count, maxLagMs: lags.length === 0 ? null : Math.max(...lags) };
}

/** Share of the rows scanned at a moment, by the last line before it. */
function shareAt(steps: readonly ProgressLine[], at: number): number {
  const s = steps.findLast((x) => x.at <= at);
  return s?.total ? s.done / s.total : 0;
}
