import type { NxnwError } from '@nxnw/platform/errors';
import type { Sides } from './applier.js';

/** `follow`: the receiver becomes and stays like the source. `drain`: only copies of ephemerals are removed. */
export type MirrorMode = 'follow' | 'drain' | 'off';

export interface MirrorOptions extends Sides {
  readonly roots: readonly string[];
  /** A node of the sync's own at the source, written to know a point in time. */
  readonly marker: string;
  /** Nodes compared each second while nothing else is to do; finds what events do not tell, as changed ACLs. */
  readonly scrubNodesPerS: number;
  /** Changed paths held at one time; more lead to a full compare. */
  readonly maxDirty: number;
  /** Hears of a full compare's progress, after each chunk. */
  readonly progress?: ((p: Progress) => void) | undefined;
  /** Hears of errors: the mirror goes on, unless `fatal`. */
  readonly failed: (e: NxnwError, fatal: 'fatal' | 'goesOn') => void;
}

/** Nodes compared; `total` are those found so far, so it grows. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly ratePerS: number;
}

export interface MirrorStatus {
  readonly mode: MirrorMode;
  readonly state: 'waiting' | 'copying' | 'following' | 'paused' | 'stopped';
  /** Of the full compare that runs or ran last. */
  readonly progress: Progress;
  readonly fullCompares: number;
  /** Changed paths that wait. */
  readonly dirty: number;
  /** Age of the oldest change that the receiver has not, or of the last proof that there is none. */
  readonly lagMs: number;
  /** From the arrival of an event to its change at the receiver. */
  readonly lagP50Ms: number;
  readonly lagP99Ms: number;
  /** Copies of ephemerals at the receiver. */
  readonly marks: number;
  /** Nodes that the receiver refuses, with the reason. */
  readonly stuck: readonly { readonly path: string; readonly code: string; readonly message: string }[];
  /** Nodes that the scrub found different though no event told of it: changed ACLs, or somebody wrote at the receiver. */
  readonly repairs: number;
  /** Parents whose sequence numbers are further at the receiver, because its own sessions drew some. */
  readonly countersAhead: number;
}

/** What a barrier proved: the receiver has everything that the source had at this transaction and time. */
export interface CaughtUp {
  readonly zxid: bigint;
  /** Milliseconds since 1970, by this machine's clock. */
  readonly atMs: number;
}
