import { RpcClient } from '@nxnw/platform/wire/rpc';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
import type { DigestCheck, HandoverFacts, KeyDifference } from '@nxnw/platform/shards/control';
import type { StartMigration } from './requests.js';
import type { PhaseName, Stage } from './stages.js';

export * from './requests.js';
export * from './stages.js';

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
  /** The command back (without --stack) and what it costs now; command null = there is none, and `cost` says why. */
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
  /** It will do, and should be looked at before a switch. @default false */
  readonly warning?: boolean;
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
