import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { dumpKeys, spooledKeys } from './bulk.js';
import { keyToken } from './protocol.js';
import type { CacheKey } from './protocol.js';
import type { CacheServer } from './server.js';

export interface PassProgress {
  readonly phase: 'forward' | 'reverse';
  readonly done: number;
  readonly total: number;
}

export interface PassOptions {
  readonly source: CacheServer;
  readonly target: CacheServer;
  readonly spoolDir: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  onProgress(p: PassProgress): void;
  /** Hands a key to a copier; waits while the copiers have enough. */
  offer(key: CacheKey): Promise<void>;
  /** All keys offered have been mirrored. */
  settled(): Promise<void>;
}

/**
 * A full pass: afterwards the target holds nothing that the source did not hold at some moment since the pass began,
 * whatever had been missed before.
 *
 * Forward: every key that the source lists is mirrored. Reverse: every item of the target that nobody has written since
 * the pass began (its version is not above that of a probe written first) is mirrored too, so it is removed or renewed;
 * the target's list comes from its hash table and is complete. Forward alone could leave deleted keys behind.
 *
 * An item that the forward list leaves out (see DumpKind) is a miss on the target, never a stale value. A list that is
 * shorter than what the source holds is taken a second time, and what the target does not have then is mirrored.
 */
export async function fullPass(o: PassOptions): Promise<void> {
  const file = join(o.spoolDir, `nxnw-cache-${randomBytes(8).toString('hex')}.keys`);
  const probeCas = await probe(o.target);
  try {
    const spool = { file, timeoutMs: o.timeoutMs, signal: o.signal };
    const held = Number((await o.source.stats()).get('curr_items') ?? '0');
    const listed = () => dumpKeys({ ...spool, address: o.source.address, kind: 'all', upToCas: null });
    const there = await listed();
    await offerAll(o, file, 'forward', there);
    if (there < held) {
      await listed();
      await offerAbsent(o, file);
    }
    const here = await dumpKeys({ ...spool, address: o.target.address, kind: 'hash', upToCas: probeCas });
    await offerAll(o, file, 'reverse', here);
  } finally {
    await rm(file, { force: true });
  }
}

async function offerAll(o: PassOptions, file: string, phase: PassProgress['phase'], total: number): Promise<void> {
  let done = 0;
  o.onProgress({ phase, done, total });
  for await (const key of spooledKeys(file)) {
    o.signal.throwIfAborted();
    await o.offer(key);
    o.onProgress({ phase, done: ++done, total });
  }
  await o.settled();
}

/** Keys that the target is asked for at once. */
const ASKED_AT_ONCE = 64;

async function offerAbsent(o: PassOptions, file: string): Promise<void> {
  let keys: CacheKey[] = [];
  const offerThem = async (): Promise<void> => {
    const heads = await Promise.all(keys.map((k) => o.target.head(k)));
    for (const [i, k] of keys.entries()) if (!heads[i]) await o.offer(k);
    keys = [];
  };
  for await (const key of spooledKeys(file)) {
    o.signal.throwIfAborted();
    // one that cannot be named has been counted as it was met first
    if (keyToken(key) !== null) keys.push(key);
    if (keys.length === ASKED_AT_ONCE) await offerThem();
  }
  await offerThem();
  await o.settled();
}

/** The version that the target gives to what is written now. */
async function probe(target: CacheServer): Promise<number> {
  const key = `nxnw-probe:${randomBytes(8).toString('hex')}`;
  await target.store(key, { value: Buffer.alloc(0), flags: 0, ttlS: 60, cas: '0' });
  const head = await target.head(key);
  await target.remove(key);
  if (!head) throw new NxnwError('CACHE_REFUSED', 'the target did not keep a probe key; it may be out of memory');
  return Number(head.cas);
}
