import { RpcClient } from '@nxnw/platform/wire/rpc';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
import type { DigestCheck, HandoverFacts, KeyDifference } from '@nxnw/platform/shards/control';
import { z } from 'zod';

/** The states that an operator may ask for, in their order. */
export const STAGES = ['built', 'synced', 'switched', 'moved', 'finalized'] as const;
export type Stage = (typeof STAGES)[number];

/** Activities of the coordinator; each leads to a stage. */
export const PHASES = [
  'AppSync',
  'LockSync',
  'CacheWarmup',
  'DataFollow',
  'SnapshotLoad',
  'Verification',
  'Cutover',
  'DnsHandoff',
  'Finalize',
] as const;
export type PhaseName = (typeof PHASES)[number];

/** The stage that needs the phase: lowering the wanted stage below it undoes the phase. */
export const STAGE_OF: Readonly<Record<PhaseName, Stage>> = {
  AppSync: 'built',
  LockSync: 'synced',
  CacheWarmup: 'synced',
  DataFollow: 'synced',
  SnapshotLoad: 'synced',
  Verification: 'synced',
  Cutover: 'switched',
  DnsHandoff: 'moved',
  Finalize: 'finalized',
};

/** Order of stages: -1 for none. */
export function stageRank(stage: Stage | null): number {
  return stage === null ? -1 : STAGES.indexOf(stage);
}

/** Options of a migration (`nxnw:migration` without `attempt`, `apps` and `wait`). */
export const MigrationOptions = z.strictObject({
  load: z
    .strictObject({
      /** Entities per second for an application; `auto` = as fast as the source's latency allows. */
      entitiesPerS: z.union([z.literal('auto'), z.number().positive()]).default('auto'),
      sourceLatencyRatio: z.number().min(1).default(1.1),
    })
    .prefault({}),
  verify: z
    .strictObject({ continuous: z.boolean().default(true), maxAgeMinutes: z.number().positive().default(10) })
    .prefault({}),
  switch: z
    .strictObject({
      /** Longest hold of a shard's requests before MOVE is sent. */
      stallBudgetMs: z.int().positive().default(1000),
      /** Shards handed over at the same time. */
      parallelShards: z.int().positive().default(4),
      /** Tries per shard before the switch is taken back. */
      triesPerShard: z.int().positive().default(5),
      /** Largest replication lag at which a switch may begin. */
      maxLagMs: z.int().positive().default(5000),
      /** How long a switch waits for gates that open by themselves before it is refused. */
      gateWaitMs: z.int().nonnegative().default(20_000),
    })
    .prefault({}),
  guardrails: z
    .strictObject({
      minutes: z.number().nonnegative().default(15),
      max5xxShare: z.number().min(0).max(1).default(0.005),
      maxP99Ratio: z.number().positive().default(2),
    })
    .prefault({}),
});
export type MigrationOptions = z.infer<typeof MigrationOptions>;

const Actor = z.string().min(1).max(200);
const Reason = z.string().min(1).max(2000);

/** What the `Migration` resource sends on create and update; may be repeated. */
export const StartMigration = z.strictObject({
  /** Raised by the operator after a latch; never falls. */
  attempt: z.int().positive(),
  /** Application ids, or `all`. */
  apps: z.array(z.string().min(1)).min(1),
  wantedStage: z.enum(STAGES),
  /** The join bundle of the source (see join.ts); null keeps the one already given. A secret. */
  join: z.unknown(),
  options: MigrationOptions.prefault({}),
  actor: Actor,
});
export type StartMigration = z.input<typeof StartMigration>;

export const SetWantedStage = z.strictObject({ stage: z.enum(STAGES), actor: Actor });
export const StartPhase = z.strictObject({ phase: z.enum(PHASES), actor: Actor });
export const UndoPhase = z.strictObject({ phase: z.enum(PHASES), actor: Actor, reason: Reason });
export const EndMigration = z.strictObject({ actor: Actor, reason: Reason });
export const Pause = z.strictObject({
  /** `load`: load and verification. `follow`: following too, so the way to the switch grows with N1's log. */
  what: z.enum(['load', 'follow']),
  actor: Actor,
  reason: Reason,
});
export const Resume = z.strictObject({ actor: Actor });
export const Throttle = z.strictObject({
  entitiesPerS: z.union([z.literal('auto'), z.number().positive()]).nullable(),
  sourceLatencyRatio: z.number().min(1).nullable(),
  actor: Actor,
});
/** `apps` null = all applications of the migration. */
export const Switch = z.strictObject({ apps: z.array(z.string().min(1)).min(1).nullable(), actor: Actor });
export const Back = z.strictObject({
  apps: z.array(z.string().min(1)).min(1).nullable(),
  actor: Actor,
  reason: Reason,
});
export const Hold = z.strictObject({ actor: Actor, reason: Reason });
export const Release = z.strictObject({ what: z.enum(['latch', 'hold']), actor: Actor });
export const Verify = z.strictObject({
  deep: z.boolean(),
  /** Most differing keys to name. */
  limit: z.int().positive().max(100_000),
});
export const EventsSince = z.strictObject({
  /** Number of the last event already known; 0 = from the oldest kept. */
  since: z.int().nonnegative(),
  follow: z.boolean(),
});

export interface Fault {
  readonly code: string;
  readonly message: string;
}

/** How far something is. `total` null = not known yet. */
export interface Progress {
  readonly done: number;
  readonly total: number | null;
  readonly unit: string;
  /** Where the total comes from: `counted by N1's owners`. */
  readonly basis: string;
  readonly ratePerS1m: number | null;
  readonly ratePerSMean: number | null;
  /** Range of the remaining seconds, from the two rates. */
  readonly remainingS: { readonly low: number; readonly high: number } | null;
  readonly slowest: string | null;
  readonly retries: number;
}

export type PhaseAt =
  | 'idle' // not asked for
  | 'running' // on its way to what it is for
  | 'paused' // by `nxnw pause`
  | 'standing' // reached, and kept up (following, warm, verified again and again)
  | 'done' // reached for good
  | 'undoing'
  | 'failed'; // ended by itself; `error` says why, and starting it again needs a person

export interface PhaseStatus {
  readonly phase: PhaseName;
  readonly at: PhaseAt;
  /** `standing` or `done`: what depends on the phase may begin. */
  readonly reached: boolean;
  /** One line for a person. */
  readonly detail: string;
  readonly sinceMs: number | null;
  readonly progress: Progress | null;
  /** Fixed when the phase was reached; plain values for outputs. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** The last failure; when `running`, it is being tried again. */
  readonly error: Fault | null;
}

export type Side = 'source' | 'target';

export interface AppStatus {
  readonly app: string;
  /** Side that serves: `moving` between the first shard's move and the edge's. */
  readonly serving: Side | 'moving';
  readonly shardsTotal: number;
  /** Shards whose log says that N2 owns them. */
  readonly shardsAtTarget: number;
  /** Age in ms of the oldest change that the following side has not acknowledged; null = not known. */
  readonly lagMs: number | null;
  readonly entities: number;
  readonly bytes: number;
  /** When both sides' digests were last found equal, null = never since the coordinator's start. */
  readonly verifiedAtMs: number | null;
  readonly handovers: readonly HandoverFacts[];
}

export interface Gate {
  readonly name: string;
  readonly open: boolean;
  /** What was found, and the limit. */
  readonly found: string;
  /** What to do when it is closed; '' when it opens by itself. */
  readonly next: string;
}

export interface Mark {
  readonly actor: string;
  readonly reason: string;
  readonly atMs: number;
}

export interface JournalEvent {
  /** 1, 2, 3 … without gaps. */
  readonly number: number;
  readonly atMs: number;
  readonly actor: string;
  /** `phase.reached`, `switch.step`, `latch.set` … */
  readonly what: string;
  /** One line for a person, with the reason where there is one. */
  readonly text: string;
}

export interface MigrationStatus {
  readonly source: string;
  readonly target: string;
  readonly attempt: number;
  readonly stage: { readonly wanted: Stage; readonly reached: Stage | null };
  readonly apps: readonly AppStatus[];
  readonly phases: readonly PhaseStatus[];
  readonly gates: readonly Gate[];
  readonly holds: readonly Mark[];
  readonly latch: (Mark & { readonly attempt: number }) | null;
  readonly pause: (Mark & { readonly what: 'load' | 'follow' }) | null;
  readonly throttle: { readonly entitiesPerS: 'auto' | number; readonly sourceLatencyRatio: number };
  /** The last five. */
  readonly events: readonly JournalEvent[];
  /** What happens or has to be done next. */
  readonly next: string;
  /** The exact command back and what it costs now; command null = there is none, and `cost` says why. */
  readonly back: { readonly command: string | null; readonly cost: string };
  /** Errors, verification passes that found a difference, repairs (shards loaded again). */
  readonly counts: { readonly errors: number; readonly unequal: number; readonly repairs: number };
  readonly coordinator: { readonly epoch: number; readonly startedMs: number };
  readonly atMs: number;
}

/** Facts for the outputs of the `Migration` resource, fixed at the end of phases. */
export interface MigrationFacts {
  readonly stage: Stage | null;
  readonly serving: Readonly<Record<string, Side | 'moving'>>;
  readonly entities: number;
  readonly bytes: number;
  readonly digest: string;
  /** Longest hold → first answer of any shard at the last switch; null before. */
  readonly stallMs: number | null;
  readonly switchedAt: string | null;
  readonly movedAt: string | null;
  readonly report: { readonly path: string; readonly sha256: string } | null;
}

export interface UndoAnswer {
  /** `undoing`: ask `phase` until it is `idle`. `forgotten`: nothing changes, only the caller's record goes. */
  readonly outcome: 'undoing' | 'undone' | 'forgotten';
  readonly why: string;
}

export interface Forecast {
  readonly source: string;
  readonly target: string;
  readonly stage: { readonly wanted: Stage; readonly reached: Stage | null };
  readonly entities: number;
  readonly bytes: number;
  /** Seconds of loading that remain, from what was measured; null before a rate is known. */
  readonly loadS: { readonly low: number; readonly high: number } | null;
  /** What the next steps would do, in order, one line each. */
  readonly steps: readonly string[];
  readonly gates: readonly Gate[];
}

export type VerifyAnswer =
  | { readonly deep: false; readonly equal: boolean; readonly checks: readonly DigestCheck[] }
  | { readonly deep: true; readonly equal: boolean; readonly differences: readonly KeyDifference[] };

export interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly found: string;
  readonly next: string;
}

const CALL_MS = 10_000;

/**
 * The coordinator as resources and the command see it. Calls throw NxnwErrors; `exitCodeOf` (codes.ts) tells refusals
 * (LATCHED, HELD, GATE_CLOSED, FINALIZED, SWITCHED, NOT_SYNCED, BUSY) from failures. NO_MIGRATION: none was started.
 * UNAVAILABLE and DEADLINE_EXCEEDED: the coordinator did not answer. Every call can be repeated.
 */
export class CoordinatorClient {
  private readonly rpc: RpcClient;

  /** `target` host:port; `tls` a client certificate of the target platform's authority (null = plain, tests only). */
  constructor(target: string, tls: TlsMaterial | null) {
    this.rpc = new RpcClient(target, tls);
  }

  private call<T>(method: string, request: unknown, waitMs = CALL_MS): Promise<T> {
    return this.rpc.call<T>(`coordinator.${method}`, request, { deadlineMs: Date.now() + waitMs });
  }

  /** Starts the migration or takes over changed intent. Runs every phase up to the wanted stage or `synced`. */
  startMigration(request: StartMigration): Promise<MigrationStatus> {
    return this.call('startMigration', request, 30_000);
  }

  /** Records the wanted stage; never starts Cutover, DnsHandoff or Finalize. FINALIZED when that is too late. */
  setWantedStage(stage: Stage, actor: string): Promise<MigrationStatus> {
    return this.call('setWantedStage', { stage, actor });
  }

  /** Starts the phase or attaches to it; then ask `phase` until it is reached. Refusals as for the class. */
  startPhase(phase: PhaseName, actor: string): Promise<PhaseStatus> {
    return this.call('startPhase', { phase, actor }, 60_000);
  }

  /** State of one phase; `waitMs` is how long to wait for an answer (a `diff` gives 2 s). */
  phase(phase: PhaseName, waitMs = CALL_MS): Promise<PhaseStatus> {
    return this.call('phase', { phase }, waitMs);
  }

  /** What a phase resource's delete asks: undone if the wanted stage is below the phase's, otherwise forgotten. */
  undoPhase(phase: PhaseName, actor: string, reason: string): Promise<UndoAnswer> {
    return this.call('undoPhase', { phase, actor, reason }, 60_000);
  }

  /** The `Migration` resource goes: before the switch everything is stopped; after it SWITCHED; finalised: forgotten. */
  endMigration(actor: string, reason: string): Promise<UndoAnswer> {
    return this.call('endMigration', { actor, reason }, 60_000);
  }

  status(waitMs = CALL_MS): Promise<MigrationStatus> {
    return this.call('status', {}, waitMs);
  }

  facts(waitMs = CALL_MS): Promise<MigrationFacts> {
    return this.call('facts', {}, waitMs);
  }

  /** Journal events after number `since`; with `follow`, goes on until the signal aborts. */
  events(since: number, follow: boolean, signal: AbortSignal): AsyncIterable<JournalEvent> {
    const stream = this.rpc.open<unknown, JournalEvent>('coordinator.events', signal);
    void stream.send({ since, follow }).then(
      () => stream.end(),
      () => undefined,
    );
    return stream.answers;
  }

  pause(what: 'load' | 'follow', actor: string, reason: string): Promise<MigrationStatus> {
    return this.call('pause', { what, actor, reason });
  }

  resume(actor: string): Promise<MigrationStatus> {
    return this.call('resume', { actor });
  }

  /** null keeps a value. */
  throttle(
    entitiesPerS: 'auto' | number | null,
    sourceLatencyRatio: number | null,
    actor: string,
  ): Promise<MigrationStatus> {
    return this.call('throttle', { entitiesPerS, sourceLatencyRatio, actor });
  }

  /** Switches applications (null = all of the migration) to N2; same gates as the Cutover phase. */
  switch(apps: readonly string[] | null, actor: string): Promise<MigrationStatus> {
    return this.call('switch', { apps, actor }, 60_000);
  }

  /** Goes back to N1 and latches. Answers when the way back has begun; `status` says when it is over. */
  back(apps: readonly string[] | null, actor: string, reason: string): Promise<MigrationStatus> {
    return this.call('back', { apps, actor, reason });
  }

  /** No switch begins until `release`. */
  hold(actor: string, reason: string): Promise<MigrationStatus> {
    return this.call('hold', { actor, reason });
  }

  release(what: 'latch' | 'hold', actor: string): Promise<MigrationStatus> {
    return this.call('release', { what, actor });
  }

  /** Compares digests at one log position, or (`deep`) scans both stores and names at most `limit` keys. */
  verify(deep: boolean, limit: number, waitMs: number): Promise<VerifyAnswer> {
    return this.call('verify', { deep, limit }, waitMs);
  }

  forecast(): Promise<Forecast> {
    return this.call('forecast', {});
  }

  doctor(): Promise<readonly Finding[]> {
    return this.call('doctor', {}, 30_000);
  }

  /** The report's text (JSON) as it stands; also written to the coordinator's data directory when finalised. */
  report(): Promise<{ readonly text: string; readonly sha256: string; readonly path: string | null }> {
    return this.call('report', {}, 30_000);
  }

  close(): void {
    this.rpc.close();
  }
}
