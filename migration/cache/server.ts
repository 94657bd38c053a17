import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError, asError } from '@nxnw/platform/errors';
import { CacheConnection, isError, lineSplitter, openSocket, showAddress } from './connection.js';
import type { CacheAddress, Reply } from './connection.js';
import { keyToken, metaFlags, parseLogLine, ttlOf, ttlToken } from './protocol.js';
import type { CacheItem, CacheKey, ItemHead } from './protocol.js';

/** Keys that the warm-up itself touches to follow the log. They are never stored. */
export const MARKER_PREFIX = 'nxnw-mark:';

export interface CacheServerOptions {
  readonly address: CacheAddress;
  /** A request without an answer for so long ends the connection. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /**
   * Use a new connection only after the server has closed the one before. Then all writes of all our connections are
   * done in one order, and a write whose answer was lost cannot be done late (see CacheServer).
   */
  readonly ordered: boolean;
  onConnected?(): void;
  onLost?(why: NxnwError): void;
}

/**
 * One memcached, over one connection that is made again when it breaks. While it is broken every call fails at once
 * with CACHE_LOST; `ready` waits.
 *
 * Late writes: when a connection breaks, a write sent on it may still lie unread in the server's socket (a stopped
 * machine does that) and be done much later, over a newer value. So an `ordered` server asks `stats conns` and uses its
 * next connection only when the one before is no longer listed: memcached handles what it has read of a connection
 * before it lists it no more, hence nothing of it can happen afterwards. The own entry in that list is found through
 * the watch log, so this holds through a TCP proxy too.
 */
export class CacheServer {
  private connection: CacheConnection | undefined;
  private waiters: (() => void)[] = [];
  private predecessor: { readonly pid: string; readonly peer: string } | undefined;
  private clockOffsetS = 0;
  lastError: NxnwError | undefined;
  connects = 0;
  /** Reads of our own, which the server counts among its clients'. */
  readonly own = { hits: 0, misses: 0, flushes: 0 };

  constructor(private readonly options: CacheServerOptions) {}

  get address(): CacheAddress {
    return this.options.address;
  }

  /** Keeps a connection until the signal aborts. */
  async run(): Promise<void> {
    const { signal, timeoutMs } = this.options;
    for (let failures = 0; !signal.aborted;) {
      let made: CacheConnection | undefined;
      try {
        made = await this.open();
        failures = 0;
        this.connects += 1;
        this.connection = made;
        this.options.onConnected?.();
        for (const w of this.waiters.splice(0)) w();
        const close = () => made?.close(new Error('stopped'));
        signal.addEventListener('abort', close, { once: true });
        if (signal.aborted) close();
        this.lastError = await made.ending();
        signal.removeEventListener('abort', close);
        this.connection = undefined;
        if (!signal.aborted) this.options.onLost?.(this.lastError);
      } catch (e) {
        made?.close(e);
        this.lastError = e instanceof NxnwError ? e : new NxnwError('CACHE_LOST', asError(e).message, {}, e);
        failures += 1;
        await delay(Math.min(timeoutMs, 25 * 2 ** Math.min(failures, 6)), undefined, { signal }).catch(() => undefined);
      }
    }
  }

  private async open(): Promise<CacheConnection> {
    const { address, timeoutMs, signal, ordered } = this.options;
    const socket = await openSocket(address, Date.now() + timeoutMs, signal);
    const made = new CacheConnection(address, socket, timeoutMs);
    try {
      const stats = await statsOf(made);
      checkServer(address, stats, await statsOf(made, 'settings'));
      if (ordered) {
        await this.awaitPredecessor(made, stats.get('pid') ?? '');
        this.predecessor = { pid: stats.get('pid') ?? '', peer: await this.peerOf(made) };
      }
    } catch (e) {
      made.close(e);
      throw e;
    }
    return made;
  }

  private async awaitPredecessor(made: CacheConnection, pid: string): Promise<void> {
    const { timeoutMs, signal, address } = this.options;
    const before = this.predecessor;
    if (!before || before.pid !== pid) return;
    for (const deadline = Date.now() + timeoutMs; ; await delay(20, undefined, { signal })) {
      const conns = await statsOf(made, 'conns');
      if (![...conns.values()].includes(before.peer)) return;
      if (Date.now() > deadline)
        throw new NxnwError(
          'CACHE_LATE_WRITES',
          `memcached at ${showAddress(address)} still holds our broken connection ${before.peer}; writes on it may ` +
            `still happen, so no new ones are sent. It is asked again until the server has closed it.`,
          { address: showAddress(address) },
        );
    }
  }

  /** The address by which the server lists this connection: `tcp:10.0.0.7:40312`. */
  private async peerOf(made: CacheConnection): Promise<string> {
    const { address, timeoutMs, signal } = this.options;
    const watch = await openSocket(address, Date.now() + timeoutMs, signal);
    const marker = `${MARKER_PREFIX}${randomBytes(12).toString('hex')}`;
    try {
      const cfd = await new Promise<number>((ok, fail) => {
        const timer = setTimeout(() => fail(new NxnwError('CACHE_LOST', `the watch log of ${showAddress(address)} did not show our own command within ${timeoutMs} ms`)), timeoutMs); // prettier-ignore
        const stop = (e: Error) => {
          clearTimeout(timer);
          fail(e);
        };
        watch.once('error', stop);
        watch.once('close', () => stop(new Error('the watch connection ended')));
        const touch = () => void made.request(`touch ${marker} 1`).catch(stop);
        const onLine = (line: string) => {
          if (line === 'OK') return touch();
          const entry = parseLogLine(line);
          if (entry.type !== 'fetched' || entry.key !== marker) return;
          clearTimeout(timer);
          ok(entry.cfd);
        };
        watch.on('data', lineSplitter(onLine));
        watch.write('watch fetchers\r\n');
      });
      const peer = (await statsOf(made, 'conns')).get(`${cfd}:addr`);
      if (peer === undefined) throw new NxnwError('CACHE_LOST', `${showAddress(address)} does not list our connection`);
      return peer;
    } finally {
      watch.destroy();
    }
  }

  get connected(): boolean {
    return this.connection?.open ?? false;
  }

  /** Waits for a connection; CACHE_UNREACHABLE after the deadline (milliseconds since 1970). */
  async ready(deadlineMs: number): Promise<void> {
    while (!this.connected) {
      const left = deadlineMs - Date.now();
      if (left <= 0 || this.options.signal.aborted)
        throw this.lastError ?? new NxnwError('CACHE_UNREACHABLE', `no connection to ${showAddress(this.address)}`);
      await new Promise<void>((ok) => {
        const done = () => {
          clearTimeout(timer);
          this.options.signal.removeEventListener('abort', done);
          ok();
        };
        const timer = setTimeout(done, left);
        this.options.signal.addEventListener('abort', done, { once: true });
        this.waiters.push(done);
      });
    }
  }

  private request(command: string, data?: Buffer): Promise<Reply> {
    const c = this.connection;
    if (!c) return Promise.reject(new NxnwError('CACHE_LOST', `no connection to ${showAddress(this.address)}`));
    return c.request(command, 'one', data);
  }

  /** The key's present state, or null when absent. Does not count as a use for the server's LRU. */
  async read(key: CacheKey): Promise<CacheItem | null> {
    const { token, flag } = named(key);
    const r = await this.request(`mg ${token} v t f c u${flag}`);
    const head = this.headOf(r);
    if (!head || !r.value) return null;
    return { ...head.item, flags: Number(head.flags.get('f') ?? '0'), value: r.value };
  }

  /** Version and remaining time only. */
  async head(key: CacheKey): Promise<ItemHead | null> {
    const { token, flag } = named(key);
    return this.headOf(await this.request(`mg ${token} t c u${flag}`))?.item ?? null;
  }

  private headOf(r: Reply): { item: ItemHead; flags: ReadonlyMap<string, string> } | null {
    if (isError(r.head)) throw refused(this.address, r.head);
    const words = r.head.split(' ');
    if (words[0] === 'EN') {
      this.own.misses += 1;
      return null;
    }
    this.own.hits += 1;
    const flags = metaFlags(words.slice(words[0] === 'VA' ? 2 : 1));
    // An item that its application has marked stale is as good as absent: only M1's winner may refill it.
    if (flags.has('X')) return null;
    return { item: { ttlS: ttlOf(flags.get('t')), cas: flags.get('c') ?? '0' }, flags };
  }

  /** `expired`: nothing of its time is left. `refused`: the server cannot hold it (size, memory). */
  async store(key: CacheKey, item: CacheItem): Promise<'stored' | 'expired' | 'refused'> {
    const { token, flag } = named(key);
    const ttl = ttlToken(item.ttlS, Date.now() / 1000 + this.clockOffsetS);
    if (ttl === null) return 'expired';
    const r = await this.request(`ms ${token} ${item.value.length} T${ttl} F${item.flags}${flag}`, item.value);
    if (r.head.startsWith('HD')) return 'stored';
    if (r.head.startsWith('SERVER_ERROR')) return 'refused';
    throw refused(this.address, r.head);
  }

  /** True if the key was there. */
  async remove(key: CacheKey): Promise<boolean> {
    const { token, flag } = named(key);
    const r = await this.request(`md ${token}${flag}`);
    if (isError(r.head)) throw refused(this.address, r.head);
    return r.head.startsWith('HD');
  }

  async flush(): Promise<void> {
    const r = await this.request('flush_all');
    if (r.head !== 'OK') throw refused(this.address, r.head);
    this.own.flushes += 1;
  }

  /** Touches a key that never exists: changes nothing, and is in the log with this connection's number. */
  async mark(key: CacheKey): Promise<void> {
    await this.request(`touch ${key} 1`);
  }

  async stats(section?: 'settings'): Promise<ReadonlyMap<string, string>> {
    const c = this.connection;
    if (!c) throw new NxnwError('CACHE_LOST', `no connection to ${showAddress(this.address)}`);
    const stats = await statsOf(c, section);
    const time = stats.get('time');
    if (time !== undefined) this.clockOffsetS = Number(time) - Date.now() / 1000;
    return stats;
  }
}

async function statsOf(c: CacheConnection, section?: 'settings' | 'conns'): Promise<ReadonlyMap<string, string>> {
  const r = await c.request(section ? `stats ${section}` : 'stats', 'list');
  if (isError(r.head)) throw refused(c.address, r.head);
  return new Map(
    r.list.map((line) => {
      const [, name = '', ...value] = line.split(' ');
      return [name, value.join(' ')];
    }),
  );
}

function checkServer(
  at: CacheAddress,
  stats: ReadonlyMap<string, string>,
  settings: ReadonlyMap<string, string>,
): void {
  const needs = { cas_enabled: 'yes', lru_crawler: 'yes', flush_enabled: 'yes', dump_enabled: 'yes' };
  const wrong = Object.entries(needs).filter(([name, value]) => settings.get(name) !== value);
  if (wrong.length === 0) return;
  throw new NxnwError(
    'CACHE_UNSUITABLE',
    `memcached ${stats.get('version') ?? '?'} at ${showAddress(at)} cannot be warmed: ` +
      wrong.map(([n, v]) => `${n} is ${settings.get(n) ?? 'unknown'}, must be ${v}`).join('; ') +
      `. Start it without the option that turns this off.`,
    { address: showAddress(at) },
  );
}

function named(key: CacheKey): { token: string; flag: string } {
  const t = keyToken(key);
  if (!t) throw new NxnwError('CACHE_KEY_UNNAMEABLE', 'a key with control characters of more than 186 bytes cannot be named in a text command'); // prettier-ignore
  return { token: t.token, flag: t.base64 ? ' b' : '' };
}

function refused(at: CacheAddress, line: string): NxnwError {
  return new NxnwError('CACHE_REFUSED', `memcached at ${showAddress(at)} answered ${JSON.stringify(line.slice(0, 120))}`, { address: showAddress(at) }); // prettier-ignore
}
