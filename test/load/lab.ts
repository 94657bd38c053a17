import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createDoor } from '@nxnw/platform/datastore/door';
import type { Door } from '@nxnw/platform/datastore/door';
import { NxnwError } from '@nxnw/platform/errors';
import { repoRoot } from '@nxnw/tools';
import { startZone } from '../support/zone.js';
import type { Zone } from '../support/zone.js';
import { MemoryShards } from '../support/memory-shards.js';
import { startMemcached, startZooKeeper } from '../support/servers.js';
import type { TestServer } from '../support/servers.js';
import type { ClientConfig } from './config.js';

/**
 * The gazetteer without a platform round it, for tests of the application, the load and the oracle: two instances over
 * shards in memory behind the real door, with a real memcached, a real ZooKeeper and a real DNS server.
 */
export interface Lab {
  readonly dir: string;
  readonly project: string;
  /** `host:port` of the door. */
  readonly door: string;
  readonly memcached: string;
  readonly target: ClientConfig['target'];
  /** Ends memcached, as with a machine that is lost. */
  endCache(): Promise<void>;
  stop(): Promise<void>;
}

const PROJECT = 'gazetteer';
const APP_PORT = 9100;
const READY_MS = 90_000;

/** @param net first three parts of the addresses to use, `127.36.9` */
export async function startLab(net: string): Promise<Lab> {
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-lab-'));
  const stops: (() => unknown)[] = [];
  const stop = async (): Promise<void> => {
    for (const s of stops.reverse()) await s();
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const door = await openDoor();
    stops.push(() => door.close());
    const doorAddress = `${net}.1:${await door.listen(`${net}.1:0`)}`;
    const cache: TestServer = await startMemcached({ ip: `${net}.2` });
    stops.push(() => cache.stop());
    const locks: TestServer = await startZooKeeper({ ip: `${net}.3` });
    stops.push(() => locks.stop());
    const memcached = `${cache.ip}:${cache.port}`;
    const hosts = [`${net}.101`, `${net}.102`];
    for (const host of hosts) {
      const app = startApp(host, { door: doorAddress, memcached, zookeeper: `${locks.ip}:${locks.port}` });
      stops.push(() => endApp(app));
      await ready(app, host);
    }
    const dns = { host: `${net}.53`, port: 5353 };
    const zone: Zone = await startZone({
      dir: join(dir, 'zone'),
      ...dns,
      zone: 'nxnw.example',
      ttlS: 1,
      records: { gazetteer: hosts },
    });
    stops.push(() => process.kill(zone.pid, 'SIGTERM'));
    const target = { host: 'gazetteer.nxnw.example', port: APP_PORT, dns };
    return { dir, project: PROJECT, door: doorAddress, memcached, target, endCache: () => cache.stop(), stop };
  } catch (e) {
    await stop();
    throw e;
  }
}

async function openDoor(): Promise<Door> {
  const nowUs = (): number => Math.floor((performance.timeOrigin + performance.now()) * 1000);
  const say = (fields: object, event: string): void => {
    process.stderr.write(`door: ${event} ${JSON.stringify(fields)}\n`);
  };
  return createDoor({
    projectId: PROJECT,
    client: new MemoryShards(8, nowUs, [PROJECT]),
    forwarder: { forward: () => Promise.reject(new NxnwError('UNAVAILABLE', 'there is one process only')) },
    platform: 'lab',
    processId: 'lab',
    clock: { nowUs },
    logger: { warn: say, error: say },
  });
}

function startApp(host: string, at: { door: string; memcached: string; zookeeper: string }): ChildProcess {
  return spawn(process.execPath, [join(repoRoot, 'examples', 'gazetteer', 'server.js')], {
    env: {
      ...process.env,
      HOST: host,
      PORT: String(APP_PORT),
      DATASTORE_EMULATOR_HOST: at.door,
      DATASTORE_PROJECT_ID: PROJECT,
      MEMCACHE_SERVERS: at.memcached,
      ZOOKEEPER_SERVERS: at.zookeeper,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

async function ready(app: ChildProcess, host: string): Promise<void> {
  const until = Date.now() + READY_MS;
  for (;;) {
    const body: unknown = await fetch(`http://${host}:${APP_PORT}/healthz`).then(
      (r) => (r.ok ? r.json() : null),
      () => null,
    );
    if (typeof body === 'object' && body !== null && 'registered' in body && body.registered === true) return;
    if (app.exitCode !== null || Date.now() > until)
      throw new NxnwError('LAB_FAILED', `the gazetteer at ${host} does not serve (exit ${app.exitCode ?? 'none'})`);
    await delay(100);
  }
}

async function endApp(app: ChildProcess): Promise<void> {
  if (app.exitCode !== null || app.signalCode !== null) return;
  const ended = once(app, 'exit');
  app.kill('SIGTERM');
  const late = setTimeout(() => app.kill('SIGKILL'), 5000);
  await ended;
  clearTimeout(late);
}
