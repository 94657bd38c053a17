import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { createCacheWarmup } from '@nxnw/migration/cache/warmup';
import { RawClient } from '@nxnw/test/integration/cache-support';

/**
 * The applications' memcached latency while a warm-up follows, over that without one. M1 and the client run on core 0, M2
 * and the warm-up (this process) on core 1; the client sends at a fixed rate far below capacity, one request at a time,
 * and counts from sending (its timer is a hundred times coarser than the answer); on and off alternate in pairs.
 * Usage: node bench/dist/cache.js [pairs] [requests a second]
 */
const PAIRS = Number(process.argv[2] ?? 20);
const RATE = Number(process.argv[3] ?? 500);
const HALF_MS = 2000;
const M1 = { host: '127.35.8.1', port: 11211 };
const M2 = { host: '127.35.8.2', port: 11211 };

function memcached(at: { host: string; port: number }, core: string): ChildProcess {
  const args = ['-c', core, 'memcached', '-u', 'nobody', '-l', at.host, '-p', String(at.port), '-U', '0', '-t', '2'];
  return spawn('taskset', args, { stdio: 'ignore' });
}

/** Runs in a process of its own: reads and writes at the rate, answers the latencies of each half, microseconds. */
async function load(): Promise<void> {
  const client = await RawClient.open(M1);
  const value = 'v'.repeat(1000);
  for (let i = 0; i < 5000; i++) await client.run(`set k${i} 0 0 1000\r\n${value}\r\n`);
  process.send?.('ready');
  process.on('message', (ms: number) => void half(ms));
  const half = async (ms: number): Promise<void> => {
    const took: number[] = [];
    const start = performance.now();
    for (let n = 0; n < (ms * RATE) / 1000; n++) {
      const due = start + (n * 1000) / RATE;
      if (due > performance.now()) await delay(due - performance.now());
      const sent = performance.now();
      const key = `k${(n * 7919) % 5000}`;
      await client.run(n % 10 === 0 ? `set ${key} 0 0 1000\r\n${value}\r\n` : `get ${key}\r\n`);
      took.push((performance.now() - sent) * 1000);
    }
    process.send?.(took.sort((a, b) => a - b));
  };
}

const quantile = (sorted: readonly number[], q: number): number => sorted[Math.floor(q * (sorted.length - 1))] ?? NaN;
const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;

/** Geometric mean of the pairs' ratios, with its 95 % interval. */
function interval(ratios: readonly number[]): string {
  const logs = ratios.map(Math.log);
  const m = mean(logs);
  const sd = Math.sqrt(mean(logs.map((x) => (x - m) ** 2)) / Math.max(1, logs.length - 1));
  return [m, m - 1.96 * sd, m + 1.96 * sd].map((x) => Math.exp(x).toFixed(3)).join(' ');
}

async function main(): Promise<void> {
  const servers = [memcached(M1, '0'), memcached(M2, '1')];
  execFileSync('taskset', ['-a', '-c', '-p', '1', String(process.pid)], { stdio: 'ignore' });
  const client = spawn('taskset', ['-c', '0', process.execPath, __filename, 'load', String(RATE)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  try {
    await once(client, 'message', { signal: AbortSignal.timeout(30_000) });
    const half = async (): Promise<number[]> => {
      client.send(HALF_MS);
      const [took] = await once(client, 'message', { signal: AbortSignal.timeout(HALF_MS * 10) });
      return Array.isArray(took) ? took.map(Number) : [];
    };
    await half();
    const p50: number[] = [];
    const p99: number[] = [];
    let last = { on: 0, off: 0 };
    for (let pair = 0; pair < PAIRS; pair++) {
      const measured = { on: [] as number[], off: [] as number[] };
      for (const which of pair % 2 ? (['on', 'off'] as const) : (['off', 'on'] as const)) {
        if (which === 'off') {
          measured.off = await half();
          continue;
        }
        const warmup = createCacheWarmup({ source: M1, target: M2 });
        await warmup.start(Date.now() + 5000);
        await warmup.awaitWhole(Date.now() + 20_000);
        measured.on = await half();
        await warmup.fence(Date.now() + 5000);
        const { equal, sampled } = await warmup.warmth(200);
        if (equal < sampled) console.log(`pair ${pair}: ${equal} of ${sampled} keys equal`);
        await warmup.close();
      }
      last = { on: quantile(measured.on, 0.5), off: quantile(measured.off, 0.5) };
      p50.push(last.on / last.off);
      p99.push(quantile(measured.on, 0.99) / quantile(measured.off, 0.99));
    }
    console.log(
      `${PAIRS} pairs at ${RATE} requests a second; last p50: ${last.off.toFixed(0)} us off, ${last.on.toFixed(0)} us on`,
    );
    console.log(
      `ratio while warming / not (mean, 95 % interval): p50 ${interval(p50)}   p99 ${interval(p99)}   goal p50 <= 1.02`,
    );
  } finally {
    client.kill('SIGKILL');
    for (const s of servers) s.kill('SIGKILL');
  }
}

void (process.argv[2] === 'load' ? load() : main());
