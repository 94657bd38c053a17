import { asError, hasCode } from '@nxnw/platform/errors';
import type { Condition } from './condition.js';
import { invalidate, mirror } from './mirror.js';
import type { SyncedKeys } from './mirror.js';
import { keyToken } from './protocol.js';
import type { CacheKey } from './protocol.js';
import { KeyQueue } from './queue.js';
import type { Heard } from './queue.js';
import type { CacheServer } from './server.js';
import type { LaneMode } from './state.js';

export interface CopiersOptions {
  readonly source: CacheServer;
  readonly target: CacheServer;
  readonly synced: SyncedKeys;
  /** Keys worked on at once. */
  readonly copiers: number;
  readonly queueKeys: number;
  readonly changes: Condition;
  readonly signal: AbortSignal;
  mode(): LaneMode;
  /** A key was dropped, or what the target holds under one is not known. */
  onLost(reason: string): void;
  onError(e: Error): void;
}

const FULL = 'the queue of keys is full';

/** Works off keys, each by one copier at a time: mirrors them, or in invalidate mode takes them from the target. */
export class Copiers {
  private readonly queue: KeyQueue;
  /** Keys of a full pass that are not done yet; at most as many as there are copiers. */
  private readonly bulk = new Set<CacheKey>();
  private working = 0;
  readonly counts = { copied: 0, removed: 0, unchanged: 0, refused: 0, unnameable: 0, errors: 0 };

  constructor(private readonly options: CopiersOptions) {
    this.queue = new KeyQueue(options.queueKeys);
  }

  get waiting(): number {
    return this.queue.size;
  }
  /** Copiers at work. */
  get active(): number {
    return this.working;
  }
  has(key: CacheKey): boolean {
    return this.queue.has(key);
  }
  /** See KeyQueue.oldestMs. */
  oldestMs(): number | null {
    return this.queue.oldestMs();
  }
  forgetWaiting(): void {
    this.queue.clear();
  }

  /**
   * Takes a key of which the follower heard. While copying it waits for the next `pump`, which comes some ten times a
   * second: what was heard meanwhile goes out in one write, and a key that is used often is looked at once.
   */
  heard(key: CacheKey, stored: boolean): void {
    if (keyToken(key) === null) {
      this.counts.unnameable += 1;
      if (this.options.mode() !== 'copy') this.options.onLost('a key that cannot be named was used');
      return;
    }
    if (!this.queue.add(key, { stored, heardAtMs: Date.now() })) this.options.onLost(FULL);
    else if (this.options.mode() !== 'copy') this.pump();
  }

  /** Takes a key of a full pass; waits while the copiers have enough. */
  async offer(key: CacheKey, signal: AbortSignal): Promise<void> {
    if (keyToken(key) === null) {
      this.counts.unnameable += 1;
      return;
    }
    const { changes, copiers, queueKeys } = this.options;
    await changes.until(() => this.bulk.size < copiers, 'a copier', Infinity, signal);
    this.bulk.add(key);
    while (!this.queue.add(key, { stored: false, heardAtMs: Date.now() }))
      await changes.until(() => this.queue.size < queueKeys, 'room in the queue', Infinity, signal);
    this.pump();
  }

  /** All keys offered are done. */
  settled(signal: AbortSignal): Promise<void> {
    return this.options.changes.until(() => this.bulk.size === 0, 'the copiers', Infinity, signal);
  }

  /** The full pass that offered keys is over. */
  forgetOffered(): void {
    this.bulk.clear();
  }

  /** Starts copiers while there is work for them and both servers are connected; called when that may have changed. */
  pump(): void {
    const { source, target, copiers, signal, changes, mode } = this.options;
    while (this.working < copiers && mode() !== 'closing' && source.connected && target.connected && !signal.aborted) {
      const next = this.queue.take();
      if (!next) break;
      this.working += 1;
      void this.work(next.key, next.heard).finally(() => {
        this.working -= 1;
        changes.changed();
        this.pump();
      });
    }
  }

  private async work(key: CacheKey, heard: Heard): Promise<void> {
    const { source, target, synced, mode, onLost, onError } = this.options;
    const again = (heardAtMs: number) => {
      if (!this.queue.add(key, { heardAtMs, stored: true })) onLost(FULL);
    };
    try {
      const outcome =
        mode() === 'copy'
          ? await mirror(source, target, key, synced)
          : await invalidate(source, target, key, heard.stored);
      // What was heard is on the target; what has been written since is another matter.
      if (outcome === 'moving') return again(Date.now());
      this.counts[outcome] += 1;
      this.bulk.delete(key);
    } catch (e) {
      if (hasCode(e, 'CACHE_LOST')) return again(heard.heardAtMs);
      this.counts.errors += 1;
      onError(asError(e));
      this.bulk.delete(key);
      // What the target holds under the key is not known; without it, it is a miss.
      await target.remove(key).catch(() => onLost('a key could neither be written nor removed'));
    } finally {
      this.queue.done(key);
    }
  }
}
