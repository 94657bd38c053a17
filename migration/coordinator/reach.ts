import { setTimeout as sleep } from 'node:timers/promises';
import { NxnwError } from '@nxnw/platform/errors';
import type { ShardStatus } from '@nxnw/platform/shards/control';
import type { PhaseName } from './api.js';
import type { AppSeen } from './gates.js';
import { notEmpty } from './perform.js';
import type { Engines } from './ports.js';
import type { Facts, MigrationState } from './state.js';

export interface ReachContext {
  readonly state: MigrationState;
  readonly engines: Engines;
  readonly signal: AbortSignal;
  readonly now: () => number;
  readonly seen: (app: string) => AppSeen | undefined;
  /** Next look at the engines has been taken. */
  readonly look: () => Promise<void>;
}

const POLL_MS = 250;
/** Room that a store needs beside the rows themselves: index rows, commit log, compaction. */
const SPACE_FACTOR = 3;

/** Waits until a phase of the way to `synced` is reached for every application. Answers its facts. */
export async function performReach(c: ReachContext, phase: PhaseName): Promise<Facts> {
  if (phase === 'DataFollow') await checkTarget(c);
  const beganMs = c.now();
  for (;;) {
    const apps = c.state.apps.map((app) => [app, c.seen(app)] as const);
    if (apps.every(([, a]) => a !== undefined && holds(phase, a, c.state.target)))
      return factsOf(phase, apps, c.now() - beganMs);
    if (phase === 'SnapshotLoad') await checkSpace(c);
    await sleep(POLL_MS, undefined, { signal: c.signal });
  }
}

/** A shard that is the target's already has been followed and loaded: so it is after a lost journal. */
function holds(phase: PhaseName, a: AppSeen, target: string): boolean {
  const shards = (is: (r: NonNullable<ShardStatus['replica']>) => boolean): boolean =>
    a.shards.length > 0 && a.shards.every((s) => s.authority === target || (s.replica !== null && is(s.replica)));
  switch (phase) {
    case 'AppSync':
      return a.app?.ready === true;
    case 'LockSync':
      return a.locks?.inSync === true;
    case 'CacheWarmup':
      return a.cache?.inSync === true;
    case 'DataFollow':
      return shards((r) => r.phase !== 'none');
    case 'SnapshotLoad':
      return shards((r) => r.phase === 'following' || r.phase === 'serving');
    case 'Verification':
      return a.verifiedAtMs !== null;
    case 'Cutover':
    case 'DnsHandoff':
    case 'Finalize':
      return false;
  }
}

type SeenApps = readonly (readonly [string, AppSeen | undefined])[];

function factsOf(phase: PhaseName, apps: SeenApps, tookMs: number): Facts {
  const shards = apps.flatMap(([, a]) => a?.shards ?? []);
  const sum = (f: (x: (typeof shards)[number]) => number): number => shards.reduce((n, x) => n + f(x), 0);
  switch (phase) {
    case 'AppSync':
      return Object.fromEntries(apps.map(([app, a]) => [app, a?.app?.bundle ?? '']));
    case 'LockSync':
      return { nodes: apps.reduce((n, [, a]) => n + (a?.locks?.copied ?? 0), 0), tookMs };
    case 'CacheWarmup':
      return { keys: apps.reduce((n, [, a]) => n + (a?.cache?.copied ?? 0), 0), tookMs };
    case 'SnapshotLoad':
      return {
        entities: sum((x) => x.entities),
        bytes: sum((x) => x.bytes),
        retries: sum((x) => x.replica?.retries ?? 0),
        tookMs,
      };
    case 'Verification':
      return { entities: sum((x) => x.entities), bytes: sum((x) => x.bytes), digest: digestOf(apps) };
    default:
      return {};
  }
}

/** One digest for all shards: their additive digests, added modulo 2^256, as 64 hex digits. */
export function digestOf(apps: SeenApps): string {
  const total = apps
    .flatMap(([, a]) => a?.shards ?? [])
    .reduce((n, s) => (s.digest === null ? n : n + BigInt(`0x${s.digest}`)), 0n);
  return BigInt.asUintN(256, total).toString(16).padStart(64, '0');
}

/** Nothing is made when N2 has data of its own. */
async function checkTarget(c: ReachContext): Promise<void> {
  await c.look();
  for (const app of c.state.apps) {
    const own = notEmpty(c.seen(app)?.shards ?? [], c.state.target);
    if (own.length === 0) continue;
    const entities = own.reduce((n, s) => n + s.entities, 0);
    throw new NxnwError(
      'TARGET_NOT_EMPTY',
      `${c.state.target} already has ${own.length} shards of its own for ${app} (${entities} entities); a migration needs an empty target: use another stack, or destroy this one first`,
      { app, shards: own.length, entities },
    );
  }
}

async function checkSpace(c: ReachContext): Promise<void> {
  const free = await c.engines.source.freeBytes();
  if (free === null) return;
  const shards = c.state.apps.flatMap((app) => c.seen(app)?.shards ?? []);
  let left = 0;
  for (const s of shards) {
    const r = s.replica;
    if (r === null || r.scanned === 0 || r.phase !== 'scanning') continue;
    left += (r.scannedBytes / r.scanned) * Math.max(0, r.scanTotal - r.scanned);
  }
  const needed = Math.round(left * SPACE_FACTOR);
  if (needed <= free) return;
  throw new NxnwError(
    'DISK_TOO_SMALL',
    `the load needs about ${Math.ceil(needed / 2 ** 20)} MiB more on N2's stores and ${Math.floor(free / 2 ** 20)} MiB are free; enlarge nxnw:store.diskGiB and run \`nxnw up\` again (what is loaded is kept)`,
    { neededBytes: needed, freeBytes: free },
  );
}
