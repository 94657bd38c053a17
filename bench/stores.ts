import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openStore } from '@nxnw/platform/stores/index';
import type { IndexRow, Store } from '@nxnw/platform/stores/port';
import type { RowImage } from '@nxnw/platform/shards/types';
import { startCassandra } from '@nxnw/test/support/servers';

/**
 * What the store drivers do on this machine: `node bench/dist/stores.js [entities]` (20,000 without). One client, one
 * shard; both stores durable (LMDB synced, Cassandra with a batch commit log).
 */
const ENTITIES = Number(process.argv[2] ?? 20_000);
const APPENDS = 500;
const ENTITY_BYTES = 300;
const INDEX_ROWS = 6;
const PUT = 200;
const SHARD = { app: 'bench', index: 0 };

async function measure(store: Store): Promise<Record<string, string>> {
  await store.ensureApp(SHARD.app, 1);
  const append = percentiles(await times(APPENDS, (slot) => store.append(SHARD, { epoch: 1, slot }, Buffer.alloc(1000, slot)).then(ignore))); // prettier-ignore

  const images = Array.from({ length: ENTITIES }, (_, i) => row(i));
  const lanes = 4;
  let at = 0;
  const putMs = await timed(() =>
    Promise.all(
      Array.from({ length: lanes }, async () => {
        while (at < images.length) {
          const some = images.slice(at, (at += PUT));
          await store.putRows(SHARD, 1, some, some.flatMap(indexRows)); // prettier-ignore
        }
      }),
    ),
  );
  const all = { from: null, to: null, order: 'asc' } as const;
  const scanMs = await timed(() => count(store.scanRows(SHARD, 1, all), ENTITIES));
  const indexMs = await timed(() => count(store.scanAllIndexes(SHARD, 1), ENTITIES * INDEX_ROWS));
  const get = percentiles(await times(APPENDS, (i) => store.getRows(SHARD, 1, [row((i * 7919) % ENTITIES).key]).then(ignore))); // prettier-ignore
  const rate = (n: number, ms: number): string => `${Math.round((n / ms) * 1000)}/s`;
  return {
    'append 1 KB p50 / p99': `${append[0]} / ${append[1]} ms`,
    [`putRows, ${INDEX_ROWS} index rows each`]: rate(ENTITIES, putMs),
    'scan of rows': rate(ENTITIES, scanMs),
    'scan of index rows': rate(ENTITIES * INDEX_ROWS, indexMs),
    'getRows of one p50 / p99': `${get[0]} / ${get[1]} ms`,
  };
}

function row(i: number): RowImage {
  return { key: Buffer.from(`bench key ${(i * 7919) % ENTITIES}`), version: i + 1, createdUs: 1, updatedUs: 2, entity: Buffer.alloc(ENTITY_BYTES, i) }; // prettier-ignore
}

function indexRows(image: RowImage): IndexRow[] {
  const value = (p: number): Buffer => Buffer.concat([Buffer.from(`value ${(image.version * p) % 1000} `), image.key]);
  return Array.from({ length: INDEX_ROWS }, (_, p) => ({ part: Buffer.from(`kind property ${p}`), key: value(p), version: image.version, present: true })); // prettier-ignore
}

async function times(n: number, work: (i: number) => Promise<void>): Promise<number[]> {
  const all: number[] = [];
  for (let i = 0; i < n; i++) all.push(await timed(() => work(i)));
  return all;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

function percentiles(all: number[]): [string, string] {
  const sorted = all.sort((a, b) => a - b);
  const at = (q: number): string => (sorted[Math.floor(q * (sorted.length - 1))] ?? 0).toFixed(2);
  return [at(0.5), at(0.99)];
}

async function count(items: AsyncIterable<unknown>, expected: number): Promise<void> {
  let n = 0;
  for await (const _ of items) n++;
  if (n !== expected) throw new Error(`the scan found ${n} of ${expected}`);
}

function ignore(): void {}

async function main(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-bench-'));
  const server = await startCassandra({ ip: '127.32.1.1' });
  const results: Record<string, Record<string, string>> = {};
  for (const config of [
    { kind: 'lmdb', dir },
    { kind: 'cassandra', contactPoints: [server.ip], requestTimeoutMs: 20_000 },
  ]) {
    const store = await openStore(config);
    results[config.kind] = await measure(store);
    await store.close();
  }
  await server.stop();
  rmSync(dir, { recursive: true });
  console.table(results);
}

main().catch((e: unknown) => {
  console.error(e);
  process.exitCode = 1;
});
