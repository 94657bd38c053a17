import { z } from 'zod';
import { PHASES, STAGES } from './stages.js';

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
      parallelShards: z.int().positive().default(2),
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
