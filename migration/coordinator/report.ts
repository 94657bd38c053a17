import type { HandoverSlots, ShardStatus } from '@nxnw/platform/shards/control';
import type { Forecast, JournalEvent } from './api.js';
import { STAGES, stageRank } from './api.js';
import { stallMs } from './perform.js';
import { phaseList, reachedStage } from './state.js';
import { factsOf, gatesOf, loadProgress } from './status.js';
import type { StatusParts } from './status.js';

const DOES: Readonly<Record<(typeof STAGES)[number], string>> = {
  built: 'start the applications on N2 in standby',
  synced: 'follow N1, load its snapshot, verify, copy locks, warm caches; N1 serves, nothing on N1 waits',
  switched: 'hand the shards over, then the edge: N2 serves, N1 forwards, the way back stays open',
  moved: 'lower the TTL, point DNS at N2, wait until N1 has drained',
  finalized: 'close the way back, stop following, release N1',
};

/** What `nxnw forecast` and the preview show. */
export function forecastOf(p: StatusParts): Forecast {
  const { state: s } = p;
  const reached = reachedStage(s);
  const ahead = STAGES.filter((x) => stageRank(x) > stageRank(reached) && stageRank(x) <= stageRank(s.wanted));
  const shards = s.apps.flatMap((app) => p.seen.apps[app]?.shards ?? []);
  const progress = loadProgress(p);
  const perEntity =
    progress.done === 0 ? 0 : shards.reduce((n, x) => n + (x.replica?.scannedBytes ?? 0), 0) / progress.done;
  const entities = progress.total ?? 0;
  return {
    source: s.source,
    target: s.target,
    stage: { wanted: s.wanted, reached },
    entities,
    bytes: Math.round(perEntity * entities),
    loadS: progress.remainingS,
    steps: ahead.map((x) => `${x}: ${DOES[x]}`),
    gates: gatesOf(p),
  };
}

/** The slots of the last hand-overs, by application. */
export type SlotsByApp = Readonly<Record<string, readonly HandoverSlots[]>>;

/**
 * The migration's report as JSON; no secrets. Each shard's last hand-over with MOVE and START as `slots` were read from
 * both stores.
 */
export function reportOf(p: StatusParts, events: readonly JournalEvent[], slots: SlotsByApp): string {
  const { state: s } = p;
  const apps = s.apps.map((app) => {
    const shards = p.seen.apps[app]?.shards ?? [];
    return {
      app,
      shards: shards.map((x) => ({
        shard: x.shard.index,
        authority: x.authority,
        entities: x.entities,
        bytes: x.bytes,
        digest: x.digest,
        applied: x.applied,
        handover:
          x.handover === null ? null : { ...x.handover, stallMs: stallMs(x.handover), ...readBack(slots[app], x) },
      })),
    };
  });
  const report = {
    source: s.source,
    target: s.target,
    attempt: s.attempt,
    facts: factsOf(p, null),
    phases: Object.fromEntries(phaseList(s)),
    load: loadProgress(p),
    counts: s.counts,
    apps,
    events,
    writtenAt: new Date(p.nowMs).toISOString(),
  };
  return `${JSON.stringify(report, null, 2)}\n`;
}

function readBack(slots: readonly HandoverSlots[] | undefined, x: ShardStatus): object {
  const found = slots?.find((s) => s.shard.index === x.shard.index);
  return { slots: found?.read ?? [], slotsMissing: found ? found.missing : 'the slots could not be read' };
}
