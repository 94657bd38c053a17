import { execFileSync } from 'node:child_process';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { NxnwError, asError, hasCode } from '../errors.js';
import type { DrainAnswer, EdgeCounters, RouteTarget } from '../agent/api.js';
import { isIdle } from '../agent/api.js';
import { canonicalJson, readIfThere, writeAtomic } from '../agent/files.js';
import { findProgram } from '../agent/home.js';
import type { MachineContext, RolePlan } from '../agent/plan.js';
import { endpointSchema } from '../agent/spec.js';
import type { EdgeSpec, Endpoint } from '../agent/spec.js';
import {
  CERTIFICATE,
  HOLD_LUA,
  HOLD_SCRIPT,
  HOSTS_MAP,
  PEER_CA,
  PEER_SLOTS,
  ROUTES_MAP,
  haproxyConfig,
  hostsMap,
  routeOf,
} from './config.js';
import { EdgeRuntime } from './runtime.js';

const CONFIG = 'haproxy.cfg';
/** Longer than a machine takes to have its roles changed. */
const DRAIN_LEASE_MS = 5 * 60_000;
const IDLE_POLL_MS = 5;

const directory = (machineDir: string, role: string): string => join(machineDir, 'roles', role);

/** One thing at a time per edge: a route set while a reload is under way would reach the old worker only. */
const turns = new Map<string, Promise<unknown>>();

function inTurn<T>(dir: string, act: () => Promise<T>): Promise<T> {
  const before = turns.get(dir) ?? Promise.resolve();
  const mine = before.then(act, act);
  turns.set(
    dir,
    mine.catch(() => undefined),
  );
  return mine;
}

/** HAProxy with a master process. Instances and routes change at run time, all else by a reload; nothing restarts it. */
export function planEdge(specification: EdgeSpec, machine: MachineContext): RolePlan {
  const spec = withPeer(machine.dir, specification);
  const named = [...spec.apps.flatMap((a) => a.servers), ...spec.peer].find((e) => isIP(e.host) === 0);
  if (named)
    throw new NxnwError('INVALID_SPEC', `role ${spec.id}: server "${named.host}" must be an IP address`, { ...named });
  const dir = directory(machine.dir, spec.id);
  const program = findProgram('haproxy');
  const runtime = new EdgeRuntime(dir);
  const pem = (name: string, content: string) => ({ path: join(dir, name), content, onChange: 'reload' as const });
  const probe = spec.https ? [spec.http, spec.https] : [spec.http];
  return {
    dirs: [dir],
    files: [
      { path: join(dir, CONFIG), content: haproxyConfig(spec, { withServers: true }), onChange: 'nothing' },
      { path: join(dir, HOLD_LUA), content: HOLD_SCRIPT, onChange: 'reload' },
      { path: join(dir, HOSTS_MAP), content: hostsMap(spec), onChange: 'reload' },
      {
        path: join(dir, ROUTES_MAP),
        content: routesFile(spec, new Map()),
        onChange: 'nothing',
        merge: (existing) => routesFile(spec, parseRoutes(existing)),
      },
      ...(spec.https ? [pem(CERTIFICATE, `${spec.https.certPem.trim()}\n${spec.https.keyPem.trim()}\n`)] : []),
      ...(spec.peerCaPem === undefined ? [] : [pem(PEER_CA, spec.peerCaPem)]),
    ],
    version: /version (\S+?)-/.exec(execFileSync(program, ['-v'], { encoding: 'utf8', timeout: 5000 }))?.[1] ?? '',
    reloadKey: haproxyConfig(spec, { withServers: false }),
    reload: (pid) =>
      inTurn(dir, async () => {
        check(program, dir);
        await runtime.reload(pid);
      }),
    sync: () => inTurn(dir, async () => [...(await runtime.placeServers(spec)), ...(await syncRoutes(runtime, dir))]),
    processes: [
      {
        name: spec.id,
        command: program,
        args: ['-W', '-f', CONFIG],
        env: {},
        cwd: dir,
        listens: probe.map((l) => ({ host: l.host, port: l.port, protocol: 'tcp' })),
        probe: async () => {
          const info = await runtime.info();
          return { ok: info.has('Uptime_sec'), detail: `the stats socket answers, up ${info.get('Uptime')}` };
        },
        // Soft stop: what is under way is finished.
        stopSignal: 'SIGUSR1',
        stopGraceMs: 5000,
      },
    ],
  };
}

const peerSchema = z.object({ servers: z.array(endpointSchema).max(PEER_SLOTS), caPem: z.string().optional() });

/** The other platform's edges as told at run time. */
export type EdgePeer = z.output<typeof peerSchema>;

const peerFile = (machineDir: string, role: string): string => join(directory(machineDir, role), 'peer.json');

/** The specification with the peer that was told at run time, unless it names one itself. */
function withPeer(machineDir: string, spec: EdgeSpec): EdgeSpec {
  const told = readIfThere(peerFile(machineDir, spec.id));
  if (spec.peer.length > 0 || told === null) return spec;
  const { servers, caPem } = peerSchema.parse(JSON.parse(told));
  return { ...spec, peer: servers, ...(caPem === undefined ? {} : { peerCaPem: caPem }) };
}

/** Remembers the peer; in force after the role's next `apply`. */
export function rememberPeer(machineDir: string, role: string, peer: unknown): void {
  const parsed = peerSchema.safeParse(peer);
  if (!parsed.success)
    throw new NxnwError(
      'INVALID_ARGUMENT',
      `edge ${role}: ${parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; ')}`,
      { role },
    );
  writeAtomic(peerFile(machineDir, role), canonicalJson(parsed.data));
}

/** HAProxy's own check of its configuration, before a reload. */
function check(program: string, dir: string): void {
  try {
    execFileSync(program, ['-c', '-q', '-f', CONFIG], { cwd: dir, timeout: 10_000, stdio: 'pipe' });
  } catch (e) {
    throw new NxnwError('EDGE_REFUSED', `HAProxy refuses ${join(dir, CONFIG)}: ${asError(e).message}`, { dir }, e);
  }
}

function parseRoutes(text: string): Map<string, RouteTarget> {
  const lines = text.split('\n').filter((l) => l !== '');
  return new Map(lines.map((l) => [l.split(' ')[0] ?? '', l.split(' ')[1] === 'peer' ? 'peer' : 'local']));
}

function routesFile(spec: EdgeSpec, routes: ReadonlyMap<string, RouteTarget>): string {
  return spec.apps.map((a) => `${a.app} ${routes.get(a.app) ?? 'local'}\n`).join('');
}

/** The file decides: after a start from an older state the running process is told. */
async function syncRoutes(runtime: EdgeRuntime, dir: string): Promise<string[]> {
  const inForce = await runtime.routes();
  const changed: string[] = [];
  for (const [app, to] of parseRoutes(readIfThere(join(dir, ROUTES_MAP)) ?? ''))
    if (inForce.has(app) && routeOf(inForce.get(app)) !== to) {
      await runtime.setRoute(app, to);
      changed.push(`route of ${app} ${to}`);
    }
  return changed;
}

/**
 * Sends an application's requests to the local instances or to the peer's edge: first in the file (a restart finds it
 * there), then in the running process. Refused with NO_SERVER_UP when nothing would answer there; EDGE_DOWN when
 * HAProxy does not answer (then the file says the new route already, and it holds from its next start).
 */
export function setRoute(machineDir: string, spec: EdgeSpec, app: string, to: RouteTarget): Promise<EdgeCounters> {
  const dir = directory(machineDir, spec.id);
  const runtime = new EdgeRuntime(dir);
  return inTurn(dir, async () => {
    refuseUnknown(spec, app);
    const now = await runtime.counters(spec).catch((e: unknown) => {
      if (hasCode(e, 'EDGE_DOWN')) return null;
      throw e;
    });
    const counters = now?.apps.find((a) => a.app === app);
    if (counters && (to === 'peer' ? counters.peersUp : counters.serversUp) === 0)
      throw new NxnwError(
        'NO_SERVER_UP',
        `edge ${spec.id}: ${to === 'peer' ? 'no edge of the peer' : 'no local instance'} answers for "${app}", so its route stays ${counters.route}`,
        { app, to },
      );
    const routes = parseRoutes(readIfThere(join(dir, ROUTES_MAP)) ?? '').set(app, to);
    writeAtomic(join(dir, ROUTES_MAP), routesFile(spec, routes));
    await runtime.setRoute(app, to);
    return runtime.counters(spec);
  });
}

/**
 * Holds an application's requests that come from now on, those passed on by the other edge excepted, until `setRoute`,
 * or for `holdMs`: then they go where they went before. Answers once no request of the application is under way here or
 * to the peer, or when the hold is over. Not kept over a reload or restart. EDGE_DOWN.
 */
export async function holdRequests(
  machineDir: string,
  spec: EdgeSpec,
  app: string,
  holdMs: number,
): Promise<EdgeCounters> {
  const dir = directory(machineDir, spec.id);
  const runtime = new EdgeRuntime(dir);
  refuseUnknown(spec, app);
  const endMs = performance.now() + holdMs;
  await inTurn(dir, () => runtime.hold(app, holdMs));
  for (;;) {
    const counters = await runtime.counters(spec);
    const underWay = counters.apps.find((a) => a.app === app);
    if (underWay === undefined || isIdle(underWay) || performance.now() >= endMs) return counters;
    await delay(IDLE_POLL_MS);
  }
}

function refuseUnknown(spec: EdgeSpec, app: string): void {
  if (spec.apps.some((a) => a.app === app)) return;
  throw new NxnwError(
    'NOT_FOUND',
    `edge ${spec.id} has no application "${app}"; it has ${spec.apps.map((a) => a.app).join(', ') || 'none'}`,
    { app },
  );
}

const addressOf = (e: Endpoint): string => `${e.host}:${e.port}`;

/** Drains that end by themselves, by directory and address: who asked for them may be gone. */
const leases = new Map<string, NodeJS.Timeout>();

function endLease(dir: string, address: string): void {
  clearTimeout(leases.get(`${dir} ${address}`));
  leases.delete(`${dir} ${address}`);
}

/**
 * Takes servers out of the edge's turn until `undrainServers`, DRAIN_LEASE_MS, or a reload of HAProxy. See
 * AgentClient.drain.
 */
export function drainServers(
  machineDir: string,
  spec: EdgeSpec,
  servers: readonly Endpoint[],
  waitMs: number,
): Promise<DrainAnswer> {
  const dir = directory(machineDir, spec.id);
  const addresses = servers.map(addressOf);
  return inTurn(dir, async () => {
    const left = await new EdgeRuntime(dir).drain(spec, addresses, waitMs);
    if (left === null) return { drained: false, sessions: 0 };
    for (const server of servers) {
      endLease(dir, addressOf(server));
      const over = setTimeout(() => {
        // an edge that does not answer any more has no drain either
        undrainServers(machineDir, spec, [server], 0).catch(() => undefined);
      }, DRAIN_LEASE_MS);
      leases.set(`${dir} ${addressOf(server)}`, over.unref());
    }
    return { drained: true, sessions: left };
  });
}

/** Gives servers their turns again. Answers the addresses of those that are not up after `waitMs`. */
export function undrainServers(
  machineDir: string,
  spec: EdgeSpec,
  servers: readonly Endpoint[],
  waitMs: number,
): Promise<string[]> {
  const dir = directory(machineDir, spec.id);
  const addresses = servers.map(addressOf);
  for (const a of addresses) endLease(dir, a);
  return inTurn(dir, () => new EdgeRuntime(dir).undrain(spec, addresses, waitMs));
}

export function edgeCounters(machineDir: string, spec: EdgeSpec): Promise<EdgeCounters> {
  return new EdgeRuntime(directory(machineDir, spec.id)).counters(spec);
}
