import { sameItem } from './mirror.js';
import type { CacheKey } from './protocol.js';
import type { CacheServer } from './server.js';

export interface Warmth {
  /** Keys looked at that M1 holds. */
  readonly sampled: number;
  readonly present: number;
  readonly equal: number;
}

const RECENT_KEYS = 4096;
const MOST_LOOKS = 4;

/** A sample of the keys that the source's applications used lately, or that a full pass has met. Bounded. */
export class LiveKeys {
  private readonly keys: CacheKey[] = [];

  constructor(private readonly random: () => number) {}

  used(key: CacheKey): void {
    if (this.keys.length < RECENT_KEYS) this.keys.push(key);
    else this.keys[Math.floor(this.random() * RECENT_KEYS)] = key;
  }

  /** Fills up; what is used counts more. */
  met(key: CacheKey): void {
    if (this.keys.length < RECENT_KEYS) this.keys.push(key);
  }

  /** Different ones, `most` of them where there are as many. */
  pick(most: number): ReadonlySet<CacheKey> {
    const left = [...this.keys];
    const picked = new Set<CacheKey>();
    while (picked.size < most) {
      const i = Math.floor(this.random() * left.length);
      const [key, last] = [left[i], left.pop()];
      if (key === undefined || last === undefined) break;
      picked.add(key);
      if (i < left.length) left[i] = last;
    }
    return picked;
  }
}

/** Compares the keys on both servers. `quiet` says whether a key is waiting for its copier, and waits until it is not. */
export async function measureWarmth(
  source: CacheServer,
  target: CacheServer,
  keys: Iterable<CacheKey>,
  quiet: { isBusy(key: CacheKey): boolean; until(key: CacheKey): Promise<void> },
): Promise<Warmth> {
  const seen = { sampled: 0, present: 0, equal: 0 };
  for (const key of keys) {
    let now = await compare(source, target, key);
    for (let looks = 1; looks < MOST_LOOKS && now !== 'equal' && quiet.isBusy(key); looks++) {
      await quiet.until(key);
      now = await compare(source, target, key);
    }
    if (now === 'gone') continue;
    seen.sampled += 1;
    if (now !== 'missing') seen.present += 1;
    if (now === 'equal') seen.equal += 1;
  }
  return seen;
}

async function compare(
  source: CacheServer,
  target: CacheServer,
  key: CacheKey,
): Promise<'gone' | 'missing' | 'different' | 'equal'> {
  const [there, here] = await Promise.all([source.read(key), target.read(key)]);
  if (!there) return 'gone';
  if (!here) return 'missing';
  return sameItem(there, here) ? 'equal' : 'different';
}
