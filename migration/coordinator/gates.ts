import type { ShardStatus } from '@nxnw/platform/shards/control';
import type { Finding, Gate } from './api.js';
import type { AppState, FollowStatus } from './ports.js';
import { isReached } from './state.js';
import type { MigrationState } from './state.js';

/** What was last seen of one application; the coordinator's memory, made anew after a restart. */
export interface AppSeen {
  readonly shards: readonly ShardStatus[];
  /** When `shards` was read; 0 = not yet. */
  readonly atMs: number;
  readonly verifiedAtMs: number | null;
  readonly locks: FollowStatus | null;
  readonly cache: FollowStatus | null;
  readonly app: AppState | null;
}

export interface Seen {
  readonly apps: Readonly<Record<string, AppSeen>>;
  readonly certificate: Finding | null;
}

/** An observation older than this is no ground for a switch. */
const STALE_MS = 10_000;

/** Largest lag of the shards that N2 follows; null when one is not known, or none is followed. */
export function lagOf(seen: AppSeen | undefined): number | null {
  let lag: number | null = null;
  for (const s of seen?.shards ?? []) {
    if (s.replica === null || s.replica.phase === 'serving') continue;
    if (s.replica.lagMs === null) return null;
    lag = Math.max(lag ?? 0, s.replica.lagMs);
  }
  return lag;
}

/** What has to hold before the applications may be switched. Latch and holds are refused before, by `beginForward`. */
export function switchGates(s: MigrationState, apps: readonly string[], seen: Seen, nowMs: number): readonly Gate[] {
  const each = (name: string, f: (a: AppSeen, app: string) => string | null, good: string, next = ''): Gate => {
    const bad = apps.flatMap((app) => {
      const a = seen.apps[app];
      const why = a === undefined || nowMs - a.atMs > STALE_MS ? 'not seen for 10 s' : f(a, app);
      return why === null ? [] : [`${app}: ${why}`];
    });
    return { name, open: bad.length === 0, found: bad.length === 0 ? good : bad.join(', '), next };
  };
  const maxAgeMs = s.options.verify.maxAgeMinutes * 60_000;
  const { maxLagMs } = s.options.switch;
  const loaded = isReached(s.phases.SnapshotLoad);
  return [
    {
      name: 'loaded',
      open: loaded,
      found: loaded ? 'snapshot loaded' : 'snapshot not loaded yet',
      next: loaded ? '' : 'wait for stage synced (`nxnw wait --for synced`)',
    },
    {
      name: 'following',
      open: s.pause?.what !== 'follow',
      found: s.pause?.what === 'follow' ? `following is paused (${s.pause.reason})` : 'following',
      next: s.pause?.what === 'follow' ? 'run `nxnw resume`' : '',
    },
    each(
      'lag',
      (a) => {
        const lag = lagOf(a);
        return lag === null ? 'lag not known' : lag > maxLagMs ? `lag ${lag} ms > ${maxLagMs} ms` : null;
      },
      `lag <= ${maxLagMs} ms`,
    ),
    each(
      'verified',
      (a) => {
        if (a.verifiedAtMs === null) return 'not verified since the coordinator started';
        const ageMs = nowMs - a.verifiedAtMs;
        return ageMs > maxAgeMs ? `verified ${Math.round(ageMs / 1000)} s ago > ${maxAgeMs / 1000} s` : null;
      },
      `digests equal, checked within ${s.options.verify.maxAgeMinutes} min`,
      s.pause === null ? '' : 'verification is paused; run `nxnw resume`',
    ),
    each('locks', (a) => (a.locks?.inSync === true ? null : (a.locks?.detail ?? 'not started')), 'in sync'),
    each('cache', (a) => (a.cache?.inSync === true ? null : (a.cache?.detail ?? 'not started')), 'warm'),
    each('applications', (a) => (a.app?.ready === true ? null : (a.app?.detail ?? 'not seen')), 'healthy in standby'),
    {
      name: 'certificate',
      open: seen.certificate?.ok === true,
      found: seen.certificate?.found ?? 'not looked at yet',
      next: seen.certificate?.next ?? '',
    },
  ];
}
