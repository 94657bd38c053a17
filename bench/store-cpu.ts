import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { RowImage } from '@nxnw/platform/shards/types';
import { openStore } from '@nxnw/platform/stores/index';
import type { Store } from '@nxnw/platform/stores/port';
import { startCassandra } from '@nxnw/test/support/servers';

/**
 * What Cassandra's processor time goes to (decision 024): `node bench/dist/store-cpu.js [operations a second]` (150
 * without). One client at a fixed rate on eight shards; each kind of work has a warm-up, then a measured stretch. Once
 * with the system's timers and once with those of the store role.
 */
const RATE = Number(process.argv[2] ?? 150);
const SHARDS = 8;
const WARM_MS = 20_000;
const MEASURED_MS = 15_000;
const INDEX_ROWS = 4;
const TICKS_PER_S = 100;

interface Usage {
  readonly cpuMs: number;
  readonly switches: number;
}

/** Of a process and all its threads since it began. */
function usage(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  let switches = 0;
  for (const t of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${t}/status`, 'utf8');
    for (const m of status.matchAll(/ctxt_switches:\s+(\d+)/g)) switches += Number(m[1]);
  }
  return { cpuMs: (ticks * 1000) / TICKS_PER_S, switches };
}

type Work = (store: Store, n: number) => Promise<unknown>;

const append: Work = (store, n) =>
  store.append({ app: 'bench', index: n % SHARDS }, { epoch: 1, slot: Math.floor(n / SHARDS) }, Buffer.alloc(700, n));

/** As the applier does: the stored row is read, index rows are put, then the row. */
const apply: Work = async (store, n) => {
  const shard = { app: 'bench', index: n % SHARDS };
  const key = Buffer.from(`key ${n % 5000}`);
  const row: RowImage = { key, version: n + 1, createdUs: 1, updatedUs: n + 1, entity: Buffer.alloc(300, n) };
  const index = Array.from({ length: INDEX_ROWS }, (_, p) => ({
    part: Buffer.from(`property ${p}`),
    key: Buffer.concat([Buffer.from(`value ${n} `), key]),
    version: row.version,
    present: true,
  }));
  await store.getRows(shard, 1, [key]);
  await store.putRows(shard, 1, [], index);
  await store.putRows(shard, 1, [row], []);
};

/** Runs the work at the rate, each shard's one after another; answers the cost of one in the measured stretch. */
async function measure(store: Store, pid: number, work: Work): Promise<Record<string, string>> {
  const last = Array.from({ length: SHARDS }, (): Promise<unknown> => Promise.resolve());
  const began = performance.now();
  let n = 0;
  const until = async (ms: number): Promise<void> => {
    while (performance.now() - began < ms) {
      for (const due = ((performance.now() - began) * RATE) / 1000; n < due; n++) {
        const i = n;
        last[i % SHARDS] = (last[i % SHARDS] ?? Promise.resolve()).then(() => work(store, i));
      }
      await delay(5);
    }
  };
  await until(WARM_MS);
  const before = { ...usage(pid), n };
  await until(WARM_MS + MEASURED_MS);
  const after = usage(pid);
  await Promise.all(last);
  const cpuMs = after.cpuMs - before.cpuMs;
  return {
    'of a core': `${((100 * cpuMs) / MEASURED_MS).toFixed(0)} %`,
    each: `${(cpuMs / (n - before.n)).toFixed(2)} ms`,
    'context switches': `${Math.round(((after.switches - before.switches) * 1000) / MEASURED_MS)}/s`,
  };
}

async function main(): Promise<void> {
  const results: Record<string, Record<string, string>> = {};
  for (const [i, timerSlackNs] of [50_000, 300_000].entries()) {
    const server = await startCassandra({ ip: `127.32.2.${i + 1}`, timerSlackNs });
    const store = await openStore({ kind: 'cassandra', contactPoints: [server.ip], requestTimeoutMs: 20_000 });
    await store.ensureApp('bench', SHARDS);
    for (const [name, work] of Object.entries({ append, apply }))
      results[`${name}, timers ${timerSlackNs / 1000} µs late`] = await measure(store, server.pid, work);
    await store.close();
    await server.stop();
  }
  console.table(results);
}

main().catch((e: unknown) => {
  console.error(e);
  process.exitCode = 1;
});
