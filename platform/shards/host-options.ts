import type { Store } from '../stores/port.js';
import type { ConfirmAnswer } from './api.js';
import type { HandoverFacts, MigrationIntent } from './control.js';
import type { ShardCalls } from './crossgroup.js';
import type { SlotImage } from './log.js';
import type { PeerShard } from './replica.js';
import type { KeyNaming } from './verify.js';
import type { Indexer, Position, QueryEngine, ShardId } from './types.js';

/** The other platform as one shard sees it. */
export interface PeerLink extends PeerShard {
  readonly platform: string;
  confirm(r: { through: Position; hash: Buffer; digest: string }, deadlineMs: number): Promise<ConfirmAnswer>;
  /** Hands MOVE over; answers when the other side has opened its segment. */
  open(image: SlotImage, facts: HandoverFacts, deadlineMs: number): Promise<{ start: Position }>;
}

export interface HostOptions {
  readonly shard: ShardId;
  readonly shards: number;
  readonly store: Store;
  readonly platform: string;
  readonly process: string;
  readonly indexer: Indexer;
  readonly engine: QueryEngine;
  readonly naming: KeyNaming;
  /** A new application of this platform, not one that is being moved here. */
  readonly mayFound: () => boolean;
  readonly peer: () => PeerLink | null;
  readonly intent: () => MigrationIntent;
  readonly loadSlot: <T>(run: () => Promise<T>) => Promise<T>;
  readonly calls: ShardCalls;
  /** Waits for a lease on this process's session; UNAVAILABLE after the deadline (C12). */
  readonly leased: (deadlineMs: number) => Promise<void>;
  readonly historyMs: number;
  /**
   * Never steps: for how long something took. A deadline is a point of the wall clock (`Date.now`) instead, on which all
   * processes agree, also after it has been set.
   */
  readonly nowMs: () => number;
  readonly nowUs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

/** Of each shard's state in memory, bytes. */
export const STATE_LIMITS = { maxRecentBytes: 128 << 20, maxPendingBytes: 16 << 20, maxCacheBytes: 32 << 20 } as const;
