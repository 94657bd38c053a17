import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError, asError } from '@nxnw/platform/errors';
import { lineSplitter, openSocket, showAddress } from './connection.js';
import { parseLogLine } from './protocol.js';
import type { CacheKey } from './protocol.js';
import { MARKER_PREFIX } from './server.js';
import type { CacheServer } from './server.js';

export interface FollowerOptions {
  readonly source: CacheServer;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** How often a marker is sent while nothing else is heard. */
  readonly markerEveryMs: number;
  /** Told as often, whether a marker is sent or not. */
  onBeat(): void;
  /** An application's command on a key, by another connection than ours. */
  onKey(key: CacheKey, type: 'stored' | 'fetched'): void;
  /** Lines are missing, so keys may have changed unheard. */
  onLost(reason: string): void;
}

/** While applications are heard, one beat in so many sends a marker. */
const BUSY_BEATS = 4;

interface Marker {
  readonly n: number;
  readonly sentAt: number;
  heard?(): void;
}

/**
 * Hears of every key that the source's clients use, from `watch mutations fetchers`.
 *
 * Markers: every few milliseconds our data connection touches a key that never exists. Its line in the log (a) gives
 * the number by which the server knows that connection, so that our own reads are told apart; (b) measures the lag;
 * (c) keeps memcached's logger thread awake: left idle it sleeps for up to a second, and the first burst after that
 * overflows the worker threads' 64 KiB buffers (526 commands are enough), silently; (d) shows lost lines early: markers
 * come in order, so a missing one is a gap; (e) makes the fence. Lines of applications do (c) too, so while some come
 * there are fewer markers: each is two ways through the join port.
 */
export class Follower {
  private readonly prefix = `${MARKER_PREFIX}${randomBytes(8).toString('hex')}:`;
  private markers: Marker[] = [];
  private sent = 0;
  private ownCfd: number | undefined;
  private following = false;
  private heardAt = 0;
  private lastDelayMs = 0;
  private beats = 0;
  private othersAtBeat = 0;
  private others = 0;
  lines = 0;
  lostLines = 0;
  connects = 0;

  constructor(private readonly options: FollowerOptions) {}

  /** Follows until the signal aborts; watches again after each break. */
  async run(): Promise<void> {
    const { signal, markerEveryMs, timeoutMs, onBeat } = this.options;
    const beat = setInterval(() => {
      if (++this.beats % BUSY_BEATS === 0 || this.others === this.othersAtBeat) this.mark();
      this.othersAtBeat = this.others;
      onBeat();
    }, markerEveryMs);
    try {
      for (let failures = 0; !signal.aborted;) {
        const why = await this.watch().then(
          () => undefined,
          (e: unknown) => asError(e),
        );
        failures = this.following ? 0 : failures + 1;
        this.following = false;
        if (signal.aborted) break;
        this.options.onLost(`watch log broken: ${why?.message ?? 'ended'}`);
        await delay(Math.min(timeoutMs, 20 * 2 ** Math.min(failures, 6)), undefined, { signal }).catch(() => undefined);
      }
    } finally {
      clearInterval(beat);
    }
  }

  private async watch(): Promise<void> {
    const { source, signal, timeoutMs } = this.options;
    const socket = await openSocket(source.address, Date.now() + timeoutMs, signal);
    await new Promise<void>((ok, fail) => {
      const stop = (why?: string) => {
        clearInterval(stalled);
        socket.destroy();
        this.markers = [];
        if (why === undefined || signal.aborted) ok();
        else fail(new NxnwError('CACHE_LOST', `watch on ${showAddress(source.address)}: ${why}`));
      };
      this.heardAt = Date.now();
      const stalled = setInterval(() => {
        if (source.connected && Date.now() - this.heardAt > timeoutMs) stop(`no line for ${timeoutMs} ms`);
      }, timeoutMs / 4);
      socket.on('error', (e) => stop(e.message));
      socket.on('close', () => stop('connection closed'));
      const onLine = (line: string) => {
        if (this.following) return this.take(line);
        if (line !== 'OK') return stop(`refused with ${JSON.stringify(line.slice(0, 80))}`);
        this.following = true;
        this.connects += 1;
        this.markers = [];
        this.options.onLost('watch log opened');
      };
      socket.on('data', lineSplitter(onLine));
      socket.write('watch mutations fetchers\r\n');
    });
  }

  private take(line: string): void {
    const entry = parseLogLine(line);
    if (entry.type === 'other') return;
    if (entry.type === 'lost') {
      this.lostLines += entry.lines;
      return this.options.onLost(`${entry.lines} lines skipped by the watcher`);
    }
    this.lines += 1;
    if (entry.key.startsWith(MARKER_PREFIX)) {
      if (entry.key.startsWith(this.prefix)) this.marked(Number(entry.key.slice(this.prefix.length)), entry.cfd);
      return;
    }
    this.others += 1;
    if (entry.cfd !== this.ownCfd) this.options.onKey(entry.key, entry.type);
  }

  private marked(n: number, cfd: number): void {
    this.ownCfd = cfd;
    this.heardAt = Date.now();
    while (this.markers[0] && this.markers[0].n <= n) {
      const m = this.markers.shift();
      if (!m) break;
      if (m.n < n) this.options.onLost(`marker ${m.n} is missing from the log`);
      this.lastDelayMs = this.heardAt - m.sentAt;
      m.heard?.();
    }
  }

  /** The source's data connection broke: its number may belong to somebody else now. */
  forgetOwn(): void {
    this.ownCfd = undefined;
    this.markers = [];
  }

  /** Sends a marker; called by a timer, and first of all on a new data connection. */
  mark(heard?: () => void): void {
    const { source } = this.options;
    if (!source.connected || !this.following || (!heard && this.markers.length > 64)) return;
    const n = ++this.sent;
    this.markers.push({ n, sentAt: Date.now(), ...(heard ? { heard } : {}) });
    // A failed touch means a broken connection, which its owner reports.
    source.mark(this.prefix + n).catch(() => undefined);
  }

  /** Age of the oldest marker not yet heard, or the last one's delay: what the log is behind, milliseconds. */
  get delayMs(): number {
    if (!this.following) return Infinity;
    const oldest = this.markers[0];
    return Math.max(this.lastDelayMs, oldest ? Date.now() - oldest.sentAt : 0);
  }

  /**
   * Resolves when every command that the source answered before the call has been heard or was lost.
   * The logger thread empties the workers' buffers one after another, round after round, so a marker can overtake an
   * earlier line of another worker by one round; a second marker, sent when the first was heard, cannot. The third is
   * for `stats`, whose count of dropped lines is brought up to date at the end of a round.
   * CACHE_FENCE_TIMEOUT after the deadline (milliseconds since 1970).
   */
  async fence(deadlineMs: number): Promise<void> {
    for (let round = 0; round < 3;) {
      const left = deadlineMs - Date.now();
      if (left <= 0 || this.options.signal.aborted)
        throw new NxnwError(
          'CACHE_FENCE_TIMEOUT',
          `the log of ${showAddress(this.options.source.address)} did not show our marker in time; it is ` +
            `${this.following ? 'behind' : 'not being followed'}. Check the server, then try again.`,
        );
      const heard = await new Promise<boolean>((ok) => {
        const timer = setTimeout(() => ok(false), Math.min(left, 50 * (round + 1)));
        this.mark(() => {
          clearTimeout(timer);
          ok(true);
        });
      });
      if (heard) round += 1;
    }
  }
}
