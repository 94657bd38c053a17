import { rmSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { NxnwError } from '@nxnw/platform/errors';
import { askInstances, untilServing } from '../load/ask.js';
import { loadPlaces } from '../load/loader.js';
import { readPlaces } from '../load/client.js';
import { queryA } from '../load/resolver.js';
import { apacheBench } from './ab.js';
import type { AbResult } from './ab.js';
import { cleanUp } from './clean.js';
import type { Demo } from './context.js';
import { judge } from './judge.js';
import { DIR, DNS, DNS_TTL_S, EDGE_PORT, NAME, ZONE, APP, edgeAddress, isOn } from './places.js';
import type { Stack } from './places.js';
import { PROJECT } from './stacks.js';
import { watchDuring } from './watch.js';
import { startZone } from '../support/zone.js';

/** One step of the story; it can run alone against what the steps before it left. */
export interface Step {
  readonly name: string;
  readonly title: string;
  run(d: Demo): Promise<void>;
}

const SMALL = 20_000;
const READY_MS = 60_000;
/** Traffic alone, before a step begins and after it has ended. */
const SETTLE_MS = 10_000;
/** N2 follows for so long before the switch: its processes have just started, and run code that was not compiled yet. */
const FOLLOW_MS = 20_000;
const FULL_REQUESTS = 52_000;

export const STEPS: readonly Step[] = [
  { name: 'zone', title: "The clients' DNS zone", run: zone },
  { name: 'blue', title: 'N1: up of stack blue (store lmdb)', run: blue },
  { name: 'load', title: 'Real data: the places of the world', run: load },
  { name: 'ab-before', title: 'ApacheBench before', run: (d) => bench(d, 'before', 'blue') },
  { name: 'traffic', title: 'Traffic: mixed reads, writes, transactions and deletes, to the end', run: traffic },
  {
    name: 'synced',
    title: 'N2: up of stack green (store cassandra), stage synced',
    run: (d) => toStage(d, 'synced'),
  },
  { name: 'switched', title: 'Stage switched', run: (d) => toStage(d, 'switched') },
  { name: 'ab-during', title: "ApacheBench during: N1's edge forwards to N2", run: (d) => bench(d, 'during', 'blue') },
  { name: 'moved', title: 'Stage moved', run: (d) => toStage(d, 'moved') },
  { name: 'arrived', title: 'New requests arrive at N2', run: (d) => arrives(d, 'green') },
  { name: 'back', title: 'nxnw back: N1 serves again', run: back },
  { name: 'again', title: 'Released, and forward again under the same load', run: again },
  { name: 'stop', title: 'The load ends', run: stop },
  { name: 'ab-after', title: 'ApacheBench after', run: (d) => bench(d, 'after', 'green') },
  { name: 'judge', title: 'Verification, the dump of N2, the oracle, the report', run: judge },
];

async function zone(d: Demo): Promise<void> {
  const [busy = 0] = loadavg();
  if (busy > cpus().length)
    d.screen.say(
      `this machine is busy: its load average is ${busy.toFixed(1)} with ${cpus().length} cores; expect longer stalls`,
    );
  await cleanUp();
  rmSync(DIR, { recursive: true, force: true });
  PROJECT.make();
  const records = { [APP]: [edgeAddress('blue')] };
  const z = await startZone({ dir: join(DIR, 'zone'), ...DNS, zone: ZONE, ttlS: DNS_TTL_S, records });
  const { pid, startTicks, keyName, keySecret } = z;
  d.state.zone = { pid, startTicks, keyName, keySecret };
  d.save();
  d.screen.say(`${NAME} is ${edgeAddress('blue')} with a TTL of ${DNS_TTL_S} s, told by ${DNS.host}:${DNS.port}`);
}

async function blue(d: Demo): Promise<void> {
  await d.up('blue');
}

async function load(d: Demo): Promise<void> {
  const instance = await untilServing(d.target, READY_MS, d.signal);
  d.screen.say(`${NAME} is served by ${instance}`);
  const loaded = await loadPlaces({
    ...(d.state.full ? {} : { count: SMALL }),
    target: d.target,
    log: join(DIR, 'loader.jsonl'),
    placesFile: join(DIR, 'places.txt'),
    run: randomBytes(3).toString('hex'),
    onProgress: (done, total, bytes) =>
      d.screen.bar({ done, total, unit: 'places', note: `${(bytes / 1e6).toFixed(1)} MB` }),
  });
  d.fact('loaded', loaded);
  const rate = Math.round(loaded.entities / loaded.seconds);
  d.screen.say(`${loaded.entities.toLocaleString('en')} places, ${rate.toLocaleString('en')} a second`);
}

async function bench(d: Demo, when: string, stack: Stack): Promise<void> {
  const { ids } = readPlaces(join(DIR, 'places.txt'));
  const result: AbResult = await apacheBench({
    when,
    address: edgeAddress(stack),
    port: EDGE_PORT,
    host: NAME,
    path: `/places/${ids[0]}`,
    requests: 500,
    concurrency: 2,
  });
  d.fact(`ab-${when}`, result);
  const { requests, failed, non2xx, p50Ms, p99Ms, maxMs } = result;
  d.screen.say(
    `${requests} requests, ${failed + non2xx} failed; 50 % in ${p50Ms} ms, 99 % in ${p99Ms} ms, all in ${maxMs} ms`,
  );
}

async function traffic(d: Demo): Promise<void> {
  d.startLoad();
  d.mark('traffic');
  await watchDuring(d, delay(SETTLE_MS, undefined, { signal: d.signal }));
}

function toStage(d: Demo, stage: string): Promise<void> {
  return d.underLoad(async () => {
    d.setStage(stage);
    d.mark(`${stage}.begin`);
    await watchDuring(d, d.up('green'));
    d.mark(`${stage}.end`);
    await watchDuring(d, delay(stage === 'synced' ? FOLLOW_MS : SETTLE_MS, undefined, { signal: d.signal }));
    await keepReport(d, stage);
    await reached(d, stage);
  });
}

const statusSchema = z.looseObject({
  stage: z.looseObject({ reached: z.string().nullable() }),
  latch: z.looseObject({ reason: z.string() }).nullable(),
});

/** The migration is at the stage and has not gone back by itself. */
async function reached(d: Demo, stage: string): Promise<void> {
  const { stdout } = await d.nxnw(['status', '--stack', 'green', '--json'], { onLine: () => undefined });
  const status = statusSchema.parse(JSON.parse(stdout));
  if (status.latch !== null)
    throw new NxnwError('WENT_BACK', `the migration went back by itself: ${status.latch.reason}`);
  if (status.stage.reached !== stage)
    throw new NxnwError('NOT_REACHED', `the migration is at ${status.stage.reached ?? 'no stage'}, not at ${stage}`);
}

/** Keeps the migration's own report as it is after a step. */
async function keepReport(d: Demo, step: string): Promise<void> {
  const { stdout } = await d.nxnw(['report', '--stack', 'green', '--json'], { onLine: () => undefined });
  d.fact(`report-${step}`, JSON.parse(stdout));
}

/** Requests that are sent now are answered by the stack's instances. */
async function arrives(d: Demo, stack: Stack): Promise<void> {
  const found = await queryA(NAME, DNS);
  const counts = await askInstances(d.target, 20);
  const shown = [...counts].map(([i, n]) => `${i} (${n})`).join(', ');
  d.screen.say(`${NAME} is ${found.addresses.join(', ')}; 20 requests were answered by ${shown}`);
  const stray = [...counts.keys()].filter((i) => !isOn(stack, i));
  if (stray.length > 0)
    throw new NxnwError('NOT_ARRIVED', `requests still arrive at ${stray.join(', ')}, not at ${stack}`);
  d.fact(`arrived-${stack}-${d.state.attempt}`, { addresses: found.addresses, instances: Object.fromEntries(counts) });
}

function back(d: Demo): Promise<void> {
  return d.underLoad(async () => {
    d.mark('back.begin');
    await watchDuring(d, d.nxnw(['back', '--stack', 'green', '--reason', 'the demo shows the way back']));
    d.mark('back.end');
    await watchDuring(d, delay(SETTLE_MS, undefined, { signal: d.signal }));
    await keepReport(d, 'back');
    await arrives(d, 'blue');
    const refused = await d.up('green', { allowed: [4], onLine: () => undefined });
    d.screen.say(`an unchanged up is refused (exit ${refused.code}): the way back latches`);
  });
}

function again(d: Demo): Promise<void> {
  return d.underLoad(async () => {
    await d.nxnw(['release', '--stack', 'green', '--latch']);
    d.state.attempt++;
    d.setStage('moved');
    d.mark('again.begin');
    await watchDuring(d, d.up('green'));
    d.mark('again.end');
    await watchDuring(d, delay(SETTLE_MS, undefined, { signal: d.signal }));
    await keepReport(d, 'again');
    await reached(d, 'moved');
    await arrives(d, 'green');
  });
}

async function stop(d: Demo): Promise<void> {
  // With all the data the story is told to fifty thousand requests.
  while (d.state.full && d.fleet !== null && d.fleet.stats().sent < FULL_REQUESTS) {
    d.fleet.checkAlive();
    d.screen.bar({ done: d.fleet.stats().sent, total: FULL_REQUESTS, unit: 'requests' });
    await delay(1000, undefined, { signal: d.signal });
  }
  const stats = d.fleet?.stats();
  await d.stopLoad();
  d.mark('stop');
  if (stats !== undefined) d.screen.say(`${stats.sent.toLocaleString('en')} requests sent, ${stats.failed} failed`);
}
