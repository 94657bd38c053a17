/**
 * The texts of memcached 1.6.18 that the warm-up reads and writes: keys in commands, lines of `watch`, lines of
 * `lru_crawler metadump`. Keys are byte strings; in this folder a key is a JavaScript string of one char per byte
 * (latin1), so that it can be the key of a Map.
 */
export type CacheKey = string;

/** Longest key token of a command, bytes (KEY_MAX_LENGTH). */
const MAX_KEY_TOKEN_BYTES = 250;

/** How a key stands in a meta command: as it is, or in base64 with the flag `b`. */
export interface KeyToken {
  readonly token: string;
  readonly base64: boolean;
}

/**
 * A key's token, or null for a key that no text command can name: one with a control character or a space whose base64
 * is over 250 bytes (only clients of the binary protocol can make such a key).
 */
export function keyToken(key: CacheKey): KeyToken | null {
  if (key.length === 0 || key.length > MAX_KEY_TOKEN_BYTES) return null;
  if (!/[\x00-\x20\x7f]/.test(key)) return { token: key, base64: false };
  const token = Buffer.from(key, 'latin1').toString('base64');
  return token.length > MAX_KEY_TOKEN_BYTES ? null : { token, base64: true };
}

/** Undoes memcached's URI encoding (`a%20b` is the three bytes `a b`). */
export function decodeUriKey(encoded: string): CacheKey {
  if (!encoded.includes('%')) return encoded;
  return encoded.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

/**
 * A line of `watch mutations fetchers`.
 * `stored`: the key was written. `fetched`: it was read, or deleted, incremented or touched, which look the same.
 * `lost`: the watcher's buffer was full and `lines` lines were left out. Lines lost in a worker thread's buffer are not
 * announced at all; only `stats` (log_worker_dropped) tells of them.
 */
export type LogLine =
  | { readonly type: 'stored' | 'fetched'; readonly key: CacheKey; readonly cfd: number }
  | { readonly type: 'lost'; readonly lines: number }
  | { readonly type: 'other' };

const LOG_ITEM = /^ts=\S+ gid=\d+ type=item_(get|store) key=(\S+) status=(\S+) .*?\bcfd=(\d+)/;

export function parseLogLine(line: string): LogLine {
  const item = LOG_ITEM.exec(line);
  if (item) {
    const [, what = '', key = '', , cfd = ''] = item;
    return { type: what === 'store' ? 'stored' : 'fetched', key: decodeUriKey(key), cfd: Number(cfd) };
  }
  const lost = /^skipped=(\d+)/.exec(line);
  return lost ? { type: 'lost', lines: Number(lost[1]) } : { type: 'other' };
}

/** A line of `lru_crawler metadump`: `key=a%20b exp=1795502993 la=1795502893 cas=2 fetch=no cls=1 size=68`. */
export interface DumpLine {
  /** Still URI-encoded: a dump is spooled as it comes. */
  readonly uriKey: string;
  readonly cas: number;
}

export function parseDumpLine(line: string): DumpLine | null {
  const m = /^key=(\S+) .*?\bcas=(\d+)/.exec(line);
  return m ? { uriKey: m[1] ?? '', cas: Number(m[2]) } : null;
}

/** What a key holds. `ttlS` is what remains, in seconds, null for ever; `cas` is the server's version of the item. */
export interface CacheItem {
  readonly value: Buffer;
  readonly flags: number;
  readonly ttlS: number | null;
  readonly cas: string;
}

export type ItemHead = Omit<CacheItem, 'value' | 'flags'>;

/** Longest TTL that a command takes as relative, seconds; above, the number is a time since 1970. */
const MAX_RELATIVE_TTL_S = 30 * 24 * 3600;

/**
 * The TTL token for an item that has `ttlS` seconds left on a server whose clock shows `serverNowS` (seconds since
 * 1970): 0 for ever, relative up to 30 days, absolute above. Null: nothing is left, the item must not be stored (0 would
 * keep it for ever).
 */
export function ttlToken(ttlS: number | null, serverNowS: number): number | null {
  if (ttlS === null) return 0;
  if (ttlS < 1) return null;
  return ttlS <= MAX_RELATIVE_TTL_S ? ttlS : Math.floor(serverNowS) + ttlS;
}

/** Flags of a meta reply: `HD c12 t-1 f5` gives `c` → `12`. A stale item has X. */
export function metaFlags(tokens: readonly string[]): ReadonlyMap<string, string> {
  return new Map(tokens.map((t) => [t.slice(0, 1), t.slice(1)]));
}

/** `t-1` is for ever. */
export function ttlOf(flag: string | undefined): number | null {
  const n = Number(flag ?? '-1');
  return n < 0 ? null : n;
}
