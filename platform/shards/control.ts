import type { Position, ShardId } from './types.js';

/**
 * How a migration's coordinator sees and steers shards. Intents lie in the receiving platform's ZooKeeper
 * (`/nxnw/migrations/<app>`); the datastore processes watch them and act by themselves, also after a restart or a
 * take-over, so the coordinator may die at any time.
 */
export interface MigrationIntent {
  /** Keep following N1's log (replicate). */
  readonly follow: boolean;
  /** Load the snapshot: `on`, `paused`, or `off` (nothing asked for yet). */
  readonly load: 'off' | 'on' | 'paused';
  /** Entities per second for the whole application, or null = as fast as the source's latency allows. */
  readonly entitiesPerS: number | null;
  /** The load slows down when N1's own commit latency exceeds its latency without load by this factor. */
  readonly sourceLatencyRatio: number;
  /**
   * This platform's own doors take the application's writes: true from the cut-over's begin (before the first MOVE) on,
   * false before and after a way back. Otherwise a write through them is refused with a message that says why.
   */
  readonly serving: boolean;
}

export type ReplicaPhase =
  | 'none' // nothing asked for
  | 'scanning' // fuzzy scan of N1's rows is running (entries > p0 are kept)
  | 'redoing' // scan whole, log is applied from p0 on
  | 'following' // applied up to what has been received
  | 'serving' // this platform owns the shard
  | 'failed'; // says why in `error`; the next attempt is on its way

export interface ShardStatus {
  readonly shard: ShardId;
  /** Platform that may write now, as far as this platform's log tells. */
  readonly authority: string;
  /** Process that owns (or replicates) the shard here, or null. */
  readonly process: string | null;
  readonly end: Position | null;
  readonly applied: Position | null;
  /** Additive digest (hex) of (key, version, content) of present rows at `applied`; null while scanning. */
  readonly digest: string | null;
  readonly entities: number;
  readonly bytes: number;
  readonly replica: {
    readonly phase: ReplicaPhase;
    readonly error: string | null;
    readonly p0: Position | null;
    readonly generation: number;
    /** Rows scanned so far, and how many N1 has (estimate, counted by its owner), and bytes. */
    readonly scanned: number;
    readonly scanTotal: number;
    readonly scannedBytes: number;
    readonly durable: Position | null;
    /** Age in ms of the oldest change on N1 that is not durable here; 0 only if measured; null if unknown. */
    readonly lagMs: number | null;
    readonly retries: number;
  } | null;
  /** Facts of the last hand-over of this shard seen by this platform, or null. */
  readonly handover: HandoverFacts | null;
}

export interface HandoverFacts {
  readonly from: string;
  readonly to: string;
  /** Slot of MOVE in the old segment and of START in the new one (epoch+1, 0). */
  readonly move: Position;
  readonly start: Position | null;
  readonly heldRequests: number;
  readonly holdMs: number;
  /** From the hold's begin to the first answer given by the new owner; null until there was one. */
  readonly firstAnswerMs: number | null;
  readonly atMs: number;
}

export type HandoverResult =
  | { readonly outcome: 'moved'; readonly facts: HandoverFacts }
  /** Nothing has happened: the held requests went on where they were. */
  | { readonly outcome: 'released'; readonly reason: string; readonly holdMs: number }
  /** The shard was already with the wanted platform. */
  | { readonly outcome: 'already' };

export interface DigestCheck {
  readonly shard: ShardId;
  readonly at: Position;
  readonly equal: boolean;
  readonly here: string;
  readonly there: string;
}

/** What the slots of a shard's last hand-over hold, read anew from one platform's store. */
export interface SlotsRead {
  readonly platform: string;
  /** Kind of entry and the first bytes of its hash; null = the slot is empty. */
  readonly move: string | null;
  readonly start: string | null;
}

export interface HandoverSlots {
  readonly shard: ShardId;
  /** One for each platform that could be asked; `missing` says why the other could not. */
  readonly read: readonly SlotsRead[];
  readonly missing: string | null;
}

export interface KeyDifference {
  readonly shard: ShardId;
  /** Entity key in readable form, kind and id or name path. */
  readonly key: string;
  readonly what: 'missing' | 'extra' | 'version' | 'content' | 'index-missing' | 'index-extra';
}

/**
 * Steering of one application's shards, spoken to the datastore processes of the receiving platform (N2), which reach
 * N1's by the join. All calls can be repeated.
 */
export interface ShardControl {
  setIntent(app: string, intent: MigrationIntent): Promise<void>;
  status(app: string): Promise<ShardStatus[]>;
  /** Compares both sides' kept digests at one log position for every shard; waits for N2 to reach it. */
  compareDigests(app: string, deadlineMs: number): Promise<DigestCheck[]>;
  /** Scans both stores anew (rows and index rows) and names the keys that differ, at one position per shard. */
  deepVerify(app: string, limit: number, deadlineMs: number): AsyncIterable<KeyDifference>;
  /** Hand-over of one shard to platform `to` (C14). `stallBudgetMs` bounds the hold before MOVE is sent. */
  handOver(shard: ShardId, to: string, stallBudgetMs: number, deadlineMs: number): Promise<HandoverResult>;
  /** Reads MOVE and START of each shard's last hand-over from both platforms' stores. */
  handoverSlots(app: string, deadlineMs: number): Promise<HandoverSlots[]>;
  /** Closes the way back: a FINAL entry per shard. */
  finalize(app: string, deadlineMs: number): Promise<void>;
  /** Forgets the replica (an undone migration): stops following; rows are kept until the platform is destroyed. */
  stopFollowing(app: string): Promise<void>;
}
