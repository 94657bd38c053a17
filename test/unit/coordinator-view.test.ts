import { deepEqual, equal, match, ok, throws } from 'node:assert/strict';
import { MigrationOptions } from '@nxnw/migration/coordinator/api';
import { exitCodeOf, exitCodeOfMarkers, markedMessage, markersIn } from '@nxnw/migration/coordinator/codes';
import { lagOf, switchGates } from '@nxnw/migration/coordinator/gates';
import type { AppSeen, Seen } from '@nxnw/migration/coordinator/gates';
import { commonProtocol, parseJoin } from '@nxnw/migration/coordinator/join';
import { initialState } from '@nxnw/migration/coordinator/state';
import type { MigrationState } from '@nxnw/migration/coordinator/state';
import { loadProgress, statusOf } from '@nxnw/migration/coordinator/status';
import type { StatusParts } from '@nxnw/migration/coordinator/status';
import { parseDuration } from '@nxnw/cli/context';
import { showProgress, showStatus } from '@nxnw/cli/show';
import { explainLocks } from '@nxnw/cli/stack-lock';
import { NxnwError } from '@nxnw/platform/errors';
import type { ShardStatus } from '@nxnw/platform/shards/control';

const NOW = 1_000_000;
const follow = { running: true, inSync: true, lagMs: 1, copied: 3, retries: 0, detail: 'following' };

function shard(
  index: number,
  scanned: number,
  total: number,
  phase: 'scanning' | 'following',
  lagMs: number | null,
): ShardStatus {
  return {
    shard: { app: 'shop', index },
    authority: 'blue',
    process: 'green-ds-0',
    end: null,
    applied: null,
    digest: null,
    entities: scanned,
    bytes: scanned * 100,
    replica: {
      phase,
      error: null,
      p0: null,
      generation: 1,
      scanned,
      scanTotal: total,
      scannedBytes: scanned * 100,
      durable: null,
      lagMs,
      retries: 1,
    },
    handover: null,
  };
}

function seen(change: Partial<AppSeen> = {}): Seen {
  const app: AppSeen = {
    shards: [shard(0, 100, 100, 'following', 20), shard(1, 100, 100, 'following', 30)],
    atMs: NOW - 500,
    verifiedAtMs: NOW - 2000,
    locks: follow,
    cache: follow,
    app: { ready: true, bundle: 'abc', detail: 'healthy' },
    ...change,
  };
  return { apps: { shop: app }, certificate: { name: 'certificate', ok: true, found: 'none is needed', next: '' } };
}

function synced(): MigrationState {
  const s = initialState('blue', 'green', MigrationOptions.parse({}));
  return {
    ...s,
    wanted: 'switched',
    apps: ['shop'],
    phases: { ...s.phases, SnapshotLoad: { at: 'done', sinceMs: 1, facts: { entities: 200, tookMs: 2000 } } },
  };
}

const closed = (s: MigrationState, what: Seen): string[] =>
  switchGates(s, ['shop'], what, NOW)
    .filter((g) => !g.open)
    .map((g) => g.name);

function parts(state: MigrationState, what: Seen): StatusParts {
  return {
    state,
    seen: what,
    samplesOf: () => [
      { atMs: NOW - 120_000, scanned: 0 },
      { atMs: NOW - 60_000, scanned: 60 },
      { atMs: NOW, scanned: 120 },
    ],
    events: [],
    coordinator: { epoch: 1, startedMs: 0 },
    nowMs: NOW,
  };
}

describe('the gates of a switch', () => {
  it('are open when everything holds', () => {
    deepEqual(closed(synced(), seen()), []);
  });

  it('close one by one, each with what was found', () => {
    deepEqual(closed(synced(), seen({ verifiedAtMs: null })), ['verified']);
    deepEqual(closed(synced(), seen({ verifiedAtMs: NOW - 11 * 60_000 })), ['verified']);
    deepEqual(closed(synced(), seen({ shards: [shard(0, 1, 1, 'following', 60_000)] })), ['lag']);
    deepEqual(closed(synced(), seen({ shards: [shard(0, 1, 1, 'following', null)] })), ['lag']);
    deepEqual(closed(synced(), seen({ locks: { ...follow, inSync: false } })), ['locks']);
    deepEqual(closed(synced(), seen({ cache: null })), ['cache']);
    deepEqual(closed(synced(), seen({ app: { ready: false, bundle: '', detail: 'starting' } })), ['applications']);
    const pause = { what: 'follow', actor: 'eva', reason: 'night', atMs: 1 } as const;
    deepEqual(closed({ ...synced(), pause }, seen()), ['following']);
    deepEqual(closed(initialState('blue', 'green', MigrationOptions.parse({})), seen()), ['loaded']);
  });

  it('do not trust what was seen too long ago', () => {
    ok(closed(synced(), seen({ atMs: NOW - 60_000 })).includes('lag'));
    ok(closed(synced(), { apps: {}, certificate: null }).includes('certificate'));
  });

  it('call a lag 0 only when it was measured', () => {
    equal(lagOf(undefined), null);
    equal(lagOf(seen({ shards: [] }).apps['shop']), null);
    equal(lagOf(seen().apps['shop']), 30);
  });
});

describe('the progress of the load', () => {
  const loading = (): MigrationState => {
    const s = synced();
    const running = { at: 'running', step: '', sinceMs: 1, actor: 'eva', tries: 0, error: null, facts: {} } as const;
    return { ...s, phases: { ...s.phases, SnapshotLoad: running } };
  };

  it('gives rates of a minute and in all, the range that is left, and the slowest shard', () => {
    const shards = [shard(0, 100, 200, 'scanning', null), shard(1, 20, 200, 'scanning', null)];
    const p = loadProgress(parts(loading(), seen({ shards })));
    deepEqual([p.done, p.total, p.slowest, p.retries], [120, 400, 'shop/1', 2]);
    deepEqual([p.ratePerS1m, p.ratePerSMean], [1, 1]);
    deepEqual(p.remainingS, { low: 280, high: 280 });
    match(
      showProgress(p),
      /^30 % 120 \/ 400 entities .* 1\/s \(mean 1\/s\), 4 min 40 s to 4 min 40 s left, slowest shop\/1/,
    );
  });

  it('stays listed when it is done', () => {
    const p = loadProgress(parts(synced(), seen()));
    deepEqual([p.done, p.total, p.ratePerSMean], [200, 200, 100]);
  });
});

describe('the status', () => {
  it('ends with the command back and its cost, and with the counts', () => {
    const s: MigrationState = { ...synced(), routes: { shop: { at: 'target', sinceMs: 1, facts: {} } } };
    const lines = showStatus(statusOf(parts(s, seen())), 'prod').split('\n');
    match(lines.at(-2) ?? '', /^back: nxnw back --stack prod --reason "…" {3}\(0 shards handed back/);
    equal(lines.at(-1), 'errors 0, passes that found a difference 0, repairs 0');
  });

  it('says until when the old TTL of the name is waited for', () => {
    const facts = { oldTtlS: 3600, oldTtlGoneAtMs: Date.UTC(2026, 10, 27, 20, 37, 43) };
    const running = { at: 'running', step: 'waitTtl', sinceMs: 1, actor: 'eva', tries: 0, error: null, facts } as const;
    const s = synced();
    const shown = statusOf(parts({ ...s, phases: { ...s.phases, DnsHandoff: running } }, seen()));
    equal(
      shown.phases.find((x) => x.phase === 'DnsHandoff')?.detail,
      'step waitTtl until 2026-11-27T20:37:43.000Z: resolvers may hold the name with its old TTL',
    );
  });

  it('says what a latch asks for', () => {
    const latch = { actor: 'eva', reason: 'errors', atMs: 1, attempt: 1 };
    match(statusOf(parts({ ...synced(), latch }, seen())).next, /^latched \(errors\).*attempt to 2/);
  });
});

describe('codes and markers', () => {
  it('tell refusals, waiting and failures apart', () => {
    deepEqual(['LATCHED', 'GATE_CLOSED', 'NOT_YET', 'PAUSED', 'USAGE', 'UNAVAILABLE'].map(exitCodeOf), [4, 4, 3, 3, 2, 1]); // prettier-ignore
  });

  it('survive the output of Pulumi', () => {
    const text = `error: ${markedMessage(new NxnwError('LATCHED', 'taken back'))}\nerror: [nxnw:NOT_YET] later`;
    deepEqual(markersIn(text), ['LATCHED', 'NOT_YET']);
    equal(exitCodeOfMarkers(markersIn(text), 1), 4);
    equal(exitCodeOfMarkers(['NOT_YET'], 1), 3);
    equal(exitCodeOfMarkers(['NOT_YET', 'UNAVAILABLE'], 1), 1);
    equal(exitCodeOfMarkers([], 1), 1);
  });
});

describe('a join bundle', () => {
  it('is refused with every fault by its path, and never with a value', () => {
    const bad = { format: 1, platformId: 'blue', tls: { ca: 'x', cert: 'y', key: 'TOP-SECRET', more: 1 } };
    throws(
      () => parseJoin(JSON.stringify(bad), 0),
      (e: unknown) =>
        e instanceof NxnwError && /agents:.*zookeeper:.*tls: /.test(e.message) && !e.message.includes('TOP-SECRET'),
    );
    throws(() => parseJoin('{', 0), { code: 'BAD_JOIN' });
  });

  it('needs one protocol version in common, and takes the highest', () => {
    equal(commonProtocol({ platformId: 'a', protocols: [1, 2, 3] }, { platformId: 'b', protocols: [2, 3, 4] }), 3);
    throws(() => commonProtocol({ platformId: 'a', protocols: [1] }, { platformId: 'b', protocols: [3, 4] }), {
      code: 'NO_COMMON_PROTOCOL',
      message: /a speaks protocol 1 and b speaks 3, 4/,
    });
  });
});

describe('durations and stack locks', () => {
  it('reads durations as people write them', () => {
    deepEqual(['90', '250ms', '30s', '1h30m'].map(parseDuration), [90_000, 250, 30_000, 5_400_000]);
    throws(() => parseDuration('soon'), { code: 'USAGE' });
  });

  it('says whether the holder of a lock runs, is gone, or cannot be asked', () => {
    const lock = { path: '', pid: 7, user: 'eva', host: 'h', since: 'noon' };
    match(explainLocks([{ ...lock, holder: 'alive' }], 'green') ?? '', /running: wait/);
    match(explainLocks([{ ...lock, holder: 'dead' }], 'green') ?? '', /gone.*nxnw cancel --stack green/);
    match(explainLocks([{ ...lock, holder: 'elsewhere' }], 'green') ?? '', /if that process is gone/);
    equal(explainLocks([], 'green'), null);
  });
});
