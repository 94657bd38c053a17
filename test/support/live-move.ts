import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CoordinatorClient } from '@nxnw/migration/coordinator/api';
import type { Stage } from '@nxnw/migration/coordinator/api';
import type { Access } from '@nxnw/migration/resources/engines/access';
import { NxnwError } from '@nxnw/platform/errors';
import { askInstances, untilServing } from '../load/ask.js';
import { nowUs } from '../load/clock.js';
import type { ClientConfig } from '../load/config.js';
import { Fleet } from '../load/fleet.js';
import { loadPlaces } from '../load/loader.js';
import type { Span } from '../load/traffic.js';
import { judgeMove } from './live-move-verdict.js';
import type { MoveFigures } from './live-move-verdict.js';

const READY_MS = 240_000;
const VERIFY_MS = 120_000;
const PROBES = 20;
const STAGES = ['synced', 'switched', 'moved'] as const satisfies readonly Stage[];
/** When something may be done to the platforms: under load before N2 comes, or while N2 comes to a stage. */
export type Moment = 'before' | (typeof STAGES)[number];

/** One of the two stacks, however it is brought up. */
export interface MovingStack {
  /** Brings the stack up, N2 to a stage; throws with the output when that fails. */
  up(stage: Stage): Promise<void>;
  /** Whether the application's instance (`host:port`) is one of this platform's. */
  has(instance: string): boolean;
}

export interface LiveMove {
  /** New folder for the logs of load and oracle. */
  readonly dir: string;
  /** The application's id: examples/gazetteer. */
  readonly app: string;
  readonly n1: MovingStack;
  readonly n2: MovingStack;
  /** The name that the clients use, its port and the server that tells its addresses. */
  readonly clients: ClientConfig['target'];
  /** How to reach N2, once it is up. */
  access(): Access;
  /** Opens a door to N2's datastore (see `operatorDoor`), through which the oracle's dump is read. */
  door(): Promise<{ readonly endpoint: string; close(): void }>;
  /** Places loaded into N1. @default 3000 */
  readonly places?: number;
  /** Requests a second of all clients; a third of them writes. @default 8 */
  readonly ratePerS?: number;
  /** How long a client waits for an answer. @default 5000 */
  readonly deadlineMs?: number;
  /** Load before N2 comes, and after each stage. @default 5000 */
  readonly settleMs?: number;
  /** Done beside the `up` of a stage, for faults in the middle of it. @default nothing */
  readonly meanwhile?: Partial<Readonly<Record<Moment, () => Promise<void>>>>;
  /** Takes a line about each step. @default nothing */
  say?(line: string): void;
}

/**
 * Moves a running gazetteer from N1 to N2 under a light load: N1 comes up and is loaded with real places, clients work
 * on, N2 comes to `synced`, `switched` and `moved`, requests arrive at it, the load ends, everything is read back from
 * N2, and the oracle judges. What is wrong with the data or with an answer is in `faults`; a step that fails throws.
 */
export async function liveMove(o: LiveMove): Promise<MoveFigures> {
  const say = (line: string): void => o.say?.(line);
  mkdirSync(o.dir, { recursive: true });
  const began = nowUs();
  await o.n1.up('synced');
  const first = await untilServing(o.clients, READY_MS);
  const n1UpS = (nowUs() - began) / 1e6;
  if (!o.n1.has(first)) throw new NxnwError('NOT_ARRIVED', `${o.clients.host} is served by ${first}, not by N1`);
  say(`N1 serves after ${n1UpS.toFixed(0)} s`);
  const files = { loader: join(o.dir, 'loader.jsonl'), places: join(o.dir, 'places.txt') };
  await loadPlaces({
    count: o.places ?? 3000,
    target: o.clients,
    log: files.loader,
    placesFile: files.places,
    run: randomBytes(3).toString('hex'),
    onProgress: () => undefined,
  });
  const fleet = new Fleet({
    clients: 2,
    ratePerS: o.ratePerS ?? 8,
    target: o.clients,
    placesFile: files.places,
    dir: join(o.dir, 'load'),
    seed: 1,
    ...(o.deadlineMs === undefined ? {} : { deadlineMs: o.deadlineMs }),
  });
  const spans: Span[] = [];
  try {
    await during('before', o, fleet, spans, () => Promise.resolve());
    for (const stage of STAGES) {
      await during(stage, o, fleet, spans, async () => {
        await o.n2.up(stage);
        await reached(o.access(), stage);
      });
      say(`${stage}: ${spanS(spans, stage).toFixed(0)} s; ${JSON.stringify(fleet.stats())}`);
    }
    await arrived(o);
  } finally {
    await fleet.stop();
  }
  const digestsEqual = await verify(o.access());
  const figures = await judgeMove({
    ...o,
    logs: fleet.logs,
    loaderLog: files.loader,
    lagLog: fleet.lagLog,
    spans,
    n1UpS,
    digestsEqual,
  });
  say(figures.line);
  return figures;
}

function spanS(spans: readonly Span[], name: string): number {
  const s = spans.find((x) => x.name === name);
  return s === undefined ? NaN : (s.toUs - s.fromUs) / 1e6;
}

/** Runs one step with what is done beside it, then lets the load go on for a while; both belong to the span. */
async function during(
  name: Moment,
  o: LiveMove,
  fleet: Fleet,
  spans: Span[],
  step: () => Promise<void>,
): Promise<void> {
  const fromUs = nowUs();
  await Promise.all([step(), o.meanwhile?.[name]?.()]);
  const toUs = nowUs();
  await delay(o.settleMs ?? 5000);
  fleet.checkAlive();
  spans.push({ name, fromUs, toUs }, { name: `${name} and after`, fromUs, toUs: nowUs() });
}

/** The migration is at the stage and has not gone back by itself. @throws WENT_BACK, NOT_REACHED */
async function reached(access: Access, stage: Stage): Promise<void> {
  const status = await asked(access, (c) => c.status());
  if (status.latch !== null)
    throw new NxnwError('WENT_BACK', `the migration went back by itself: ${status.latch.reason}`);
  if (status.stage.reached !== stage)
    throw new NxnwError('NOT_REACHED', `the migration is at ${status.stage.reached ?? 'no stage'}, not at ${stage}`);
}

async function verify(access: Access): Promise<boolean> {
  return (await asked(access, (c) => c.verify(true, 20, VERIFY_MS))).equal;
}

async function asked<T>(access: Access, ask: (c: CoordinatorClient) => Promise<T>): Promise<T> {
  if (access.coordinator === null)
    throw new NxnwError('NO_MIGRATION', `stack ${access.stack} has no coordinator: it takes over from nobody`);
  const client = new CoordinatorClient(access.coordinator, access.operator);
  try {
    return await ask(client);
  } finally {
    client.close();
  }
}

/** What is asked now is answered by N2. @throws NOT_ARRIVED */
async function arrived(o: LiveMove): Promise<void> {
  const counts = await askInstances(o.clients, PROBES, o.deadlineMs);
  const stray = [...counts.keys()].filter((i) => !o.n2.has(i));
  if (stray.length > 0) throw new NxnwError('NOT_ARRIVED', `requests still arrive at ${stray.join(', ')}, not at N2`);
}
