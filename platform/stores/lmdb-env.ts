import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate as turn } from 'node:timers/promises';
import { open, type RootDatabase } from 'lmdb';
import { NxnwError } from '../errors.js';

/**
 * Without `overlappingSync` a commit's promise resolves after its data and then its meta page are on disk (C6).
 * 4 KiB pages whatever the machine, so that key limits and files are the same everywhere. Batching by event turn wraps
 * writes into a promise of lmdb's own, which nobody can catch when a commit fails.
 */
export const LMDB_OPTIONS = {
  overlappingSync: false,
  eventTurnBatching: false,
  noSubdir: false,
  pageSize: 4096,
  keyEncoding: 'binary',
  encoding: 'binary',
  maxReaders: 512,
} as const;

/** The probe's first line. */
export const PROBE_STARTED = 'started';

export interface Entry {
  readonly key: Buffer;
  readonly value: Buffer;
}

const CHUNK_ENTRIES = 256;
const CHUNK_BYTES = 1 << 20;
/** Writes that wait in one environment; more than an owner's appends and appliers ever have. */
const MAX_WAITING = 256;

/**
 * One shard's LMDB environment. Several processes may have it open (an old and a new owner): LMDB has one writer at a
 * time and readers never wait. A process that is stopped while it writes holds the writer lock until it goes on or is
 * killed (the lock is robust); so every write waits at most `writeTimeoutMs` and then throws UNAVAILABLE, which means
 * "unknown": it may still land.
 */
export class LmdbEnv {
  private waiting = 0;

  private constructor(
    private readonly path: string,
    private readonly db: RootDatabase<Buffer, Buffer>,
    private readonly writeTimeoutMs: number,
  ) {}

  /** Opens (and makes) an environment that `freeToOpen` has named. */
  static open(path: string, writeTimeoutMs: number): LmdbEnv {
    mkdirSync(path, { recursive: true });
    return new LmdbEnv(path, open({ path, ...LMDB_OPTIONS }), writeTimeoutMs);
  }

  /** What to throw for an environment that `freeToOpen` has not named. */
  static blocked(path: string, waitMs: number): NxnwError {
    return new NxnwError('UNAVAILABLE', `cannot open the LMDB environment ${path}: another process holds its writer lock for more than ${waitMs} ms (stopped while writing?); let it go on or kill it`, { path }); // prettier-ignore
  }

  /** Put-if-absent, durable when it answers: true if it was this call that wrote. */
  putIfAbsent(key: Buffer, value: Buffer): Promise<boolean> {
    return this.bounded(
      () => this.db.ifNoExists(key, () => void this.db.put(key, value).catch(() => undefined)), // the outer promise tells
    );
  }

  /** Runs `work` inside a write transaction; durable when it answers. `work` must be short: it runs on this thread. */
  write<T>(work: (txn: WriteTxn) => T): Promise<T> {
    return this.bounded(() => this.db.transaction(() => work(this.txn)));
  }

  /** What is committed now, by whatever process: a read never uses an older snapshot. */
  get(key: Buffer): Buffer | null {
    this.db.resetReadTxn();
    return this.db.get(key) ?? null;
  }

  /** Up to a chunk (256 entries, 1 MiB and one entry) of keys >= lo and < hi. */
  chunk(lo: Buffer, hi: Buffer | null, order: 'asc' | 'desc', maxEntries = CHUNK_ENTRIES): Entry[] {
    this.db.resetReadTxn();
    const found: Entry[] = [];
    let bytes = 0;
    for (const { key, value } of this.db.getRange(bounds(lo, hi, order, maxEntries))) {
      found.push({ key, value });
      bytes += key.length + value.length;
      if (bytes >= CHUNK_BYTES) break;
    }
    return found;
  }

  /**
   * At most `limit` entries with keys >= lo and < hi, chunk by chunk: no read transaction outlives a chunk (it would keep LMDB from
   * using freed pages again) and the event loop runs between chunks. Each chunk sees what is committed then.
   */
  async *range(lo: Buffer, hi: Buffer | null, order: 'asc' | 'desc', limit = Infinity): AsyncGenerator<Entry> {
    let from = lo;
    let to = hi;
    for (let left = limit; left > 0;) {
      const entries = this.chunk(from, to, order, Math.min(left, CHUNK_ENTRIES));
      yield* entries;
      left -= entries.length;
      const last = entries.at(-1);
      if (last === undefined) return;
      if (order === 'asc') from = Buffer.concat([last.key, Buffer.from([0])]);
      else to = last.key;
      await turn();
    }
  }

  async close(): Promise<void> {
    await this.bounded(() => this.db.close());
  }

  private readonly txn: WriteTxn = {
    // Valid until the next read: for comparing, not for keeping.
    peek: (key) => this.db.getBinaryFast(key) ?? null,
    put: (key, value) => void this.db.put(key, value),
    remove: (key) => void this.db.remove(key),
    keys: (lo, hi, limit) => [...this.db.getKeys({ ...bounds(lo, hi, 'asc', limit) })],
  };

  private async bounded<T>(work: () => Promise<T>): Promise<T> {
    const late = (cause?: unknown): NxnwError =>
      new NxnwError(
        'UNAVAILABLE',
        `the LMDB environment ${this.path} did not commit within ${this.writeTimeoutMs} ms: another process may hold its writer lock (stopped while writing?); let it go on or kill it`,
        { path: this.path, waiting: this.waiting },
        cause,
      );
    if (this.waiting >= MAX_WAITING) throw late();
    this.waiting++;
    let timer: NodeJS.Timeout | undefined;
    const done = work().catch(async (e: unknown) => {
      const cause = await commitError(e);
      throw new NxnwError('UNAVAILABLE', `a write to the LMDB environment ${this.path} failed: ${String(cause)}; is the disk full?`, { path: this.path }, cause); // prettier-ignore
    });
    done.finally(() => this.waiting--).catch(() => undefined); // told to the caller below, if it still waits
    try {
      return await Promise.race([
        done,
        new Promise<never>((_, fail) => (timer = setTimeout(() => fail(late()), this.writeTimeoutMs))),
      ]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What a write transaction can do. */
export interface WriteTxn {
  peek(key: Buffer): Buffer | null;
  put(key: Buffer, value: Buffer): void;
  remove(key: Buffer): void;
  keys(lo: Buffer, hi: Buffer | null, limit: number): Buffer[];
}

function bounds(lo: Buffer, hi: Buffer | null, order: 'asc' | 'desc', limit: number) {
  const top = hi ?? Buffer.from([0xff]);
  return order === 'asc'
    ? { start: lo, end: top, limit }
    : { start: top, exclusiveStart: true, end: lo, inclusiveEnd: true, reverse: true, limit };
}

/** Why a commit failed: lmdb keeps it in a promise of its own, which must not be left unhandled. */
function commitError(e: unknown): Promise<unknown> | unknown {
  const reason: unknown = e instanceof Error ? Reflect.get(e, 'commitError') : undefined;
  return reason instanceof Promise ? reason.catch((inner: unknown) => inner) : e;
}

/** Longest start of the process that tries the locks, ms; a busy machine is slow, not blocked. */
const START_MS = 30_000;

/**
 * Which of the environments can be opened without waiting for a writer lock. Opening takes that lock on the calling
 * thread, however long it is held, so a process of its own opens them first: that one can be killed. Environments that
 * nobody has made yet are free.
 */
export async function freeToOpen(paths: readonly string[], waitMs: number): Promise<Set<string>> {
  const free = new Set(paths.filter((path) => !existsSync(join(path, 'lock.mdb'))));
  let left = paths.filter((path) => !free.has(path));
  while (left.length > 0) {
    for (const path of await opened(left, waitMs)) free.add(path);
    const stuck = left.findIndex((path) => !free.has(path));
    left = stuck < 0 ? [] : left.slice(stuck + 1);
  }
  return free;
}

/** The paths, from the first on, that the probe has opened before it met one that it had to wait for. */
async function opened(paths: readonly string[], waitMs: number): Promise<string[]> {
  const child = spawn(process.execPath, [join(__dirname, 'lmdb-probe.js'), ...paths], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  let timer = setTimeout(() => child.kill('SIGKILL'), START_MS);
  const done: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line !== PROBE_STARTED) done.push(line);
    clearTimeout(timer);
    if (done.length < paths.length) timer = setTimeout(() => child.kill('SIGKILL'), waitMs);
  }
  const errors = (await child.stderr.toArray()).join('');
  await closed;
  clearTimeout(timer);
  if (done.length < paths.length && errors !== '') throw new NxnwError('UNAVAILABLE', `cannot open the LMDB environment ${paths[done.length] ?? ''}: ${errors.trim()}`, { path: paths[done.length] }); // prettier-ignore
  return done;
}
