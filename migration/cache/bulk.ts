import { createReadStream, createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError } from '@nxnw/platform/errors';
import { lineSplitter, openSocket, showAddress } from './connection.js';
import type { CacheAddress } from './connection.js';
import { decodeUriKey, parseDumpLine } from './protocol.js';
import type { CacheKey } from './protocol.js';

/**
 * `all` walks the LRU lists: it can run beside a serving application, but leaves out an item that changes lists or is
 * locked just then. `hash` walks the hash table: complete, but it holds a lock while its reader is slow, so it is for
 * a server that serves nobody.
 */
export type DumpKind = 'all' | 'hash';

export interface DumpOptions {
  readonly address: CacheAddress;
  readonly kind: DumpKind;
  /** Keys are written here, one a line, still URI-encoded. */
  readonly file: string;
  /** Only items with a version up to this; null for all. */
  readonly upToCas: number | null;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Writes the server's keys to a file as fast as they come, and answers how many. The file keeps memory constant and
 * frees memcached's only crawler thread early, however slowly the keys are worked off afterwards.
 */
export async function dumpKeys(o: DumpOptions): Promise<number> {
  for (const deadline = Date.now() + o.timeoutMs; ; await delay(100, undefined, { signal: o.signal })) {
    const lines = await dumpOnce(o);
    if (lines !== 'busy') return lines;
    if (Date.now() > deadline)
      throw new NxnwError('CACHE_BUSY', `the LRU crawler of ${showAddress(o.address)} was busy for ${o.timeoutMs} ms`);
  }
}

async function dumpOnce(o: DumpOptions): Promise<number | 'busy'> {
  const socket = await openSocket(o.address, Date.now() + o.timeoutMs, o.signal);
  const out = createWriteStream(o.file, { encoding: 'latin1' });
  let lines = 0;
  try {
    await once(out, 'open', { signal: o.signal });
    const result = await new Promise<number | 'busy'>((ok, fail) => {
      const bad = (why: string, cause?: unknown) =>
        fail(new NxnwError('CACHE_DUMP_FAILED', `metadump of ${showAddress(o.address)}: ${why}`, { lines }, cause));
      out.on('error', (e) => bad(`cannot write ${o.file}: ${e.message}`, e));
      socket.on('error', (e) => bad(e.message, e));
      socket.on('close', () => bad('the connection ended before END'));
      socket.setTimeout(o.timeoutMs, () => bad(`nothing came for ${o.timeoutMs} ms`));
      const split = lineSplitter((line) => {
        if (line === 'END') return ok(lines);
        if (line.startsWith('BUSY')) return ok('busy');
        const item = parseDumpLine(line);
        if (!item) return bad(`answered ${JSON.stringify(line.slice(0, 80))}`);
        if (o.upToCas !== null && item.cas > o.upToCas) return;
        lines += 1;
        if (!out.write(item.uriKey + '\n')) socket.pause();
      });
      out.on('drain', () => socket.resume());
      socket.on('data', split);
      socket.write(`lru_crawler metadump ${o.kind}\r\n`);
    });
    return result;
  } finally {
    socket.destroy();
    await new Promise<void>((ok) => out.close(() => ok()));
  }
}

/** The keys of a file that `dumpKeys` wrote, as a stream. */
export async function* spooledKeys(file: string): AsyncGenerator<CacheKey> {
  const lines = createInterface({ input: createReadStream(file, 'latin1'), crlfDelay: Infinity });
  for await (const line of lines) yield decodeUriKey(line);
}
