import type { CacheItem, CacheKey, ItemHead } from './protocol.js';
import type { CacheServer } from './server.js';

/** Remaining times that differ by no more are the same: servers count in whole seconds. */
const SAME_TTL_S = 1;
/** A key that changes under the copier is read again at once so often, then waits its turn. */
const MOST_ROUNDS = 8;

export type MirrorOutcome =
  /** The target holds what the source held at some moment after the call. */
  | 'copied'
  | 'removed'
  /** It held it already. */
  | 'unchanged'
  /** The target cannot hold the item (size, memory); it holds nothing under the key. */
  | 'refused'
  /** The source's item changed during every round: call again. */
  | 'moving';

interface Synced {
  readonly cas: string;
  /** Milliseconds since 1970; null for ever. */
  readonly expiresMs: number | null;
  readonly atMs: number;
}

/** What copiers lately wrote: saves reading and writing values again of keys that are only read. Bounded. */
export class SyncedKeys {
  private readonly keys = new Map<CacheKey, Synced>();
  /** Counts the target's emptyings: what was written before one is not there after it. */
  emptied = 0;

  /** `forMs`: how long an entry is believed; the target may evict what it holds. */
  constructor(
    private readonly most: number,
    private readonly forMs: number,
  ) {}

  /** `emptied` as it was before the item was written; the entry is left out if it has changed. */
  set(key: CacheKey, item: ItemHead, emptied: number): void {
    if (emptied !== this.emptied) return;
    const now = Date.now();
    this.keys.delete(key);
    this.keys.set(key, { cas: item.cas, expiresMs: item.ttlS === null ? null : now + item.ttlS * 1000, atMs: now });
    if (this.keys.size > this.most) for (const oldest of this.keys.keys()) return void this.keys.delete(oldest);
  }

  /** The item that the target is known to hold, as it would show now. */
  get(key: CacheKey): ItemHead | null {
    const s = this.keys.get(key);
    const now = Date.now();
    if (!s || now - s.atMs > this.forMs) return null;
    return { cas: s.cas, ttlS: s.expiresMs === null ? null : Math.ceil((s.expiresMs - now) / 1000) };
  }

  drop(key: CacheKey): void {
    this.keys.delete(key);
  }

  /** The target was emptied. */
  clear(): void {
    this.emptied += 1;
    this.keys.clear();
  }
}

/** A touch changes the time without the version, so both are compared. */
function sameHead(a: ItemHead | null, b: ItemHead | null): boolean {
  if (a === null || b === null) return a === b;
  return a.cas === b.cas && sameTtl(a.ttlS, b.ttlS);
}

function sameTtl(a: number | null, b: number | null): boolean {
  return a === null || b === null ? a === b : Math.abs(a - b) <= SAME_TTL_S;
}

/** Same value, flags and (within a second) remaining time. */
export function sameItem(a: CacheItem, b: CacheItem): boolean {
  return a.flags === b.flags && sameTtl(a.ttlS, b.ttlS) && a.value.equals(b.value);
}

/**
 * Makes the target hold what the source holds under `key`. The caller runs one at a time per key.
 *
 * The source's version is read again after the target was written, until it has not changed: so when the call answers,
 * the target's value was the source's at a moment after the write to the target was done.
 */
export async function mirror(
  source: CacheServer,
  target: CacheServer,
  key: CacheKey,
  synced: SyncedKeys,
): Promise<MirrorOutcome> {
  const known = synced.get(key);
  if (known && sameHead(known, await source.head(key))) return 'unchanged';
  synced.drop(key);
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const readAt = performance.now();
    const emptied = synced.emptied;
    const item = await source.read(key);
    const outcome = item ? await put(target, key, item, readAt) : await take(target, key);
    const now = await source.head(key);
    if (!sameHead(item && aged(item, readAt), now)) continue;
    if (outcome === 'copied' && now) synced.set(key, now, emptied);
    return outcome;
  }
  return 'moving';
}

async function put(target: CacheServer, key: CacheKey, item: CacheItem, readAt: number): Promise<MirrorOutcome> {
  const stored = await target.store(key, aged(item, readAt));
  if (stored === 'stored') return 'copied';
  await target.remove(key);
  return stored === 'expired' ? 'removed' : 'refused';
}

async function take(target: CacheServer, key: CacheKey): Promise<MirrorOutcome> {
  await target.remove(key);
  return 'removed';
}

function aged<T extends ItemHead>(item: T, readAt: number): T {
  const goneS = Math.floor((performance.now() - readAt) / 1000);
  return item.ttlS === null ? item : { ...item, ttlS: item.ttlS - goneS };
}

/**
 * Takes from the target what the source has changed. A key heard as written goes at once. A key heard as read may also
 * have been deleted, incremented or touched: it goes unless both hold the same. Only ever removes, so it cannot make
 * the target stale, whatever the target's own applications write meanwhile; at worst they miss once more.
 */
export async function invalidate(
  source: CacheServer,
  target: CacheServer,
  key: CacheKey,
  stored: boolean,
): Promise<'removed' | 'unchanged'> {
  if (!stored) {
    const [there, here] = await Promise.all([source.read(key), target.read(key)]);
    if (!here || (there && sameItem(there, here))) return 'unchanged';
  }
  await target.remove(key);
  return 'removed';
}
