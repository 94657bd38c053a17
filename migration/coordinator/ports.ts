import type { ShardControl } from '@nxnw/platform/shards/control';
import type { DnsHandoff } from '../cutover/handoff.js';
import type { Finding, Side } from './api.js';
import type { CacheMode, Direction, LocksMode } from './plan.js';

/**
 * What the coordinator needs of the engines. The real ones are put together in engines.ts; unit tests of the behaviour
 * (`step`) need none of them.
 */
export interface Engines {
  readonly data: ShardControl;
  readonly locks: LocksPort;
  readonly cache: CachePort;
  readonly apps: AppsPort;
  readonly edge: EdgePort;
  /** null: no DNS name is moved, the hand-off of DNS is done at once. */
  readonly dns: DnsHandoff | null;
  readonly source: SourcePort;
  close(): Promise<void>;
}

export interface FollowStatus {
  /** False when it was never started, was turned off, or has given up. */
  readonly running: boolean;
  readonly inSync: boolean;
  readonly lagMs: number | null;
  /** Nodes or keys copied so far. */
  readonly copied: number;
  readonly retries: number;
  readonly detail: string;
}

/** The lock sync of one application's tree (`/apps/<app>`). */
export interface LocksPort {
  /** A level: called again and again, does nothing when it is so already. */
  set(app: string, mode: LocksMode): Promise<void>;
  status(app: string): FollowStatus;
  /**
   * Resolves when everything that the copied-from side held at the call is on the other side; what the other side's
   * applications write from then on stays. `turn` ends it, or `set` with the direction that is in force.
   */
  prepareTurn(app: string, deadlineMs: number): Promise<void>;
  /** Resolves when what the copied-from side's applications have written by now is on the other side; DEADLINE_EXCEEDED. */
  caughtUp(app: string, deadlineMs: number): Promise<void>;
  /** A last marker in the present direction where that runs, then the other one. */
  turn(app: string, to: Direction, deadlineMs: number): Promise<void>;
  /** Removes the copies of ephemerals of the side that was left: its sessions count no more. */
  releaseCopies(app: string): Promise<void>;
}

export interface CachePort {
  /**
   * A level; resolves when it is in force. Where the invalidating begins anew (after a restart, or in a direction that
   * was not followed before) the copied-to side is emptied first.
   */
  set(app: string, mode: CacheMode): Promise<void>;
  status(app: string): FollowStatus;
}

export interface AppState {
  readonly ready: boolean;
  readonly bundle: string;
  readonly detail: string;
}

export interface AppsPort {
  /** Brings N1's bundle to N2 and says whether N2's instances are up in standby. */
  sync(app: string): Promise<AppState>;
  /** Tells the side's instances whether they serve (cron, background loops). */
  setServing(side: Side, app: string, serving: boolean): Promise<void>;
}

export interface EdgeTraffic {
  /** Requests under way to the instances of the side itself, and in all since its start. */
  readonly localSessions: number;
  readonly localRequests: number;
  /** Requests that the side's edge has passed on to the other platform's edge. */
  readonly peerRequests: number;
  readonly requests: number;
  readonly responses5xx: number;
  readonly serversUp: number;
  readonly peersUp: number;
}

export interface EdgePort {
  /** Tells N1's edge, which was made before N2 existed, where N2's edge is; changes no route. */
  introduce(): Promise<void>;
  /** In force when it answers. */
  setRoute(side: Side, app: string, to: 'local' | 'peer'): Promise<void>;
  /**
   * Holds the application's new requests at the side's edge until `setRoute`, or for `ms`; then as before. Answers true
   * once no request is under way through that edge, false when the hold was over before.
   */
  hold(side: Side, app: string, ms: number): Promise<boolean>;
  traffic(side: Side, app: string): Promise<EdgeTraffic>;
  /** Whether N2's edge holds a certificate where N1's has one. */
  certificate(): Promise<Finding>;
}

export interface SourcePort {
  /** The lease that keeps N1 from being destroyed while it is a source. */
  lease(reason: string): Promise<void>;
  release(): Promise<void>;
  /** Reach, clocks, versions, disk: what `nxnw doctor` prints. */
  examine(): Promise<readonly Finding[]>;
  /** Bytes free for data on N2's stores; null = not known. */
  freeBytes(): Promise<number | null>;
}
