import { closeSync, openSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError } from '../errors.js';
import { signal } from '../agent/procfs.js';
import type { EdgeAppCounters, EdgeCounters, RouteTarget } from '../agent/api.js';
import type { EdgeSpec } from '../agent/spec.js';
import {
  PEER_SLOTS,
  ROUTES_MAP,
  STATS_SOCKET,
  holdRoute,
  localBackend,
  peerBackend,
  routeOf,
  slotsOf,
} from './config.js';
import type { Slot } from './config.js';

const COMMAND_MS = 3000;
const RELOAD_MS = 10_000;
/** Longest wait for servers that came to be up, and for those that leave to finish. */
const PLACED_MS = 5000;
const POLL_MS = 25;

/** The runtime interface of the HAProxy that runs in `dir`: its stats socket, level admin. */
export class EdgeRuntime {
  constructor(private readonly dir: string) {}

  /** Runs one command; the answer without its trailing line ends. Throws EDGE_DOWN if HAProxy does not answer. */
  async command(text: string): Promise<string> {
    // The path through /proc is short however long the directory's is.
    const fd = openSync(this.dir, 'r');
    try {
      return await new Promise<string>((ok, fail) => {
        const socket = connect({ path: `/proc/self/fd/${fd}/${STATS_SOCKET}` });
        let answer = '';
        const down = (why: string): void => {
          socket.destroy();
          fail(new NxnwError('EDGE_DOWN', `HAProxy in ${this.dir} does not answer "${text}": ${why}`));
        };
        socket.setTimeout(COMMAND_MS, () => down(`nothing for ${COMMAND_MS} ms`));
        socket.on('connect', () => socket.write(text + '\n'));
        socket.on('data', (d) => (answer += d.toString('utf8')));
        socket.on('error', (e) => down(e.message));
        socket.on('end', () => ok(answer.trimEnd()));
      });
    } finally {
      closeSync(fd);
    }
  }

  /** As `command`, for commands that answer nothing when they succeed. */
  private async change(text: string): Promise<void> {
    const answer = await this.command(text);
    if (answer !== '' && !/^(no need to change|IP changed|port changed)/.test(answer))
      throw new NxnwError('EDGE_REFUSED', `HAProxy refuses "${text}": ${answer}`, { command: text });
  }

  /** Sends an application's requests elsewhere, from the next request on. */
  async setRoute(app: string, to: RouteTarget): Promise<void> {
    await this.change(`set map ${ROUTES_MAP} ${app} ${to}`);
  }

  /** Holds an application's requests, at most so long; then they go where they went before. */
  async hold(app: string, ms: number): Promise<void> {
    const after = routeOf((await this.routes()).get(app));
    await this.change(`set map ${ROUTES_MAP} ${app} ${holdRoute(Date.now() + ms, after)}`);
  }

  /** The routes in force, holds too. */
  async routes(): Promise<Map<string, string>> {
    const lines = (await this.command(`show map ${ROUTES_MAP}`)).split('\n').filter((l) => l.startsWith('0x'));
    return new Map(lines.map((l): [string, string] => [l.split(' ')[1] ?? '', l.split(' ')[2] ?? '']));
  }

  /**
   * Puts servers in and out of places where they differ from `spec`; answers what was changed. A server that has a place
   * keeps it, and new ones serve before others go: those finish what they have.
   */
  async placeServers(spec: EdgeSpec): Promise<string[]> {
    const now = await this.servers();
    const changed: string[] = [];
    const gone: string[] = [];
    const fresh: string[] = [];
    const backends = new Map<string, Slot[]>();
    for (const s of slotsOf(spec)) backends.set(s.backend, [...(backends.get(s.backend) ?? []), s]);
    for (const places of backends.values()) {
      const missing = new Map(places.flatMap((p) => (p.at ? [[show(p), p.at] as const] : [])));
      const free: string[] = [];
      const leaving: string[] = [];
      for (const p of places) {
        const name = nameOf(p);
        const at = now.get(name) ?? '-';
        if (at === '-') free.push(name);
        else if (!missing.delete(at)) leaving.push(name);
      }
      for (const [at, { host, port }] of missing) {
        const name = free.shift() ?? leaving.shift();
        if (name === undefined) throw new NxnwError('EDGE_REFUSED', `no place is left for server ${at}`);
        await this.change(`set server ${name} state maint`);
        await this.change(`set server ${name} addr ${host} port ${port}`);
        await this.change(`set server ${name} state ready`);
        fresh.push(name);
        changed.push(`${name} ${at}`);
      }
      gone.push(...leaving);
    }
    if (gone.length === 0) return changed;
    await this.waitFor(PLACED_MS, (rows) => fresh.every((f) => rows.get(f)?.up === true));
    for (const name of gone) {
      await this.change(`set server ${name} state maint`);
      changed.push(`${name} -`);
    }
    await this.waitFor(PLACED_MS, (rows) => gone.every((g) => (rows.get(g)?.sessions ?? 0) === 0));
    return changed;
  }

  /**
   * Gives the servers at these addresses no new requests and waits until they have finished what they have, at most
   * `waitMs`. Nothing is done (answers null) where an application would have no other server that is up; else the
   * requests that they still had.
   */
  async drain(spec: EdgeSpec, addresses: readonly string[], waitMs: number): Promise<number | null> {
    const leaving = await this.at(spec, addresses);
    if (leaving.length === 0) return 0;
    const rows = await this.rows();
    const backends = new Set(leaving.map((n) => n.split('/')[0]));
    for (const b of backends)
      if (![...rows].some(([n, r]) => r.backend === b && r.up && !leaving.includes(n))) return null;
    for (const name of leaving) await this.change(`set server ${name} state drain`);
    const sessions = (now: ReadonlyMap<string, ServerRow>): number =>
      leaving.reduce((n, name) => n + (now.get(name)?.sessions ?? 0), 0);
    return sessions(await this.waitFor(waitMs, (now) => sessions(now) === 0));
  }

  /** Ends a drain, and waits until the servers are up, at most `waitMs`. Answers the addresses of those that are not. */
  async undrain(spec: EdgeSpec, addresses: readonly string[], waitMs: number): Promise<string[]> {
    const servers = await this.servers();
    const names = await this.at(spec, addresses);
    for (const name of names) await this.change(`set server ${name} state ready`);
    const rows = await this.waitFor(waitMs, (now) => names.every((n) => now.get(n)?.up === true));
    return names.filter((n) => rows.get(n)?.up !== true).map((n) => servers.get(n) ?? n);
  }

  /** Places of this platform's servers at these addresses. */
  private async at(spec: EdgeSpec, addresses: readonly string[]): Promise<string[]> {
    const own = new Set(spec.apps.map((a) => localBackend(a.app)));
    const servers = [...(await this.servers())];
    return servers.filter(([n, at]) => own.has(n.split('/')[0] ?? '') && addresses.includes(at)).map(([n]) => n);
  }

  private async rows(): Promise<Map<string, ServerRow>> {
    const stat = parseCsv(await this.command('show stat'));
    return new Map(
      stat.map((r): [string, ServerRow] => [
        `${r['pxname'] ?? ''}/${r['svname'] ?? ''}`,
        {
          backend: r['svname'] === 'BACKEND' ? '' : (r['pxname'] ?? ''),
          up: /^UP/.test(r['status'] ?? ''),
          sessions: Number(r['scur'] ?? 0) + Number(r['qcur'] ?? 0),
        },
      ]),
    );
  }

  /** The rows when `done` says so, or after `ms`. */
  private async waitFor(
    ms: number,
    done: (rows: ReadonlyMap<string, ServerRow>) => boolean,
  ): Promise<Map<string, ServerRow>> {
    const endMs = performance.now() + ms;
    for (;;) {
      const rows = await this.rows();
      if (done(rows) || performance.now() >= endMs) return rows;
      await delay(POLL_MS);
    }
  }

  /** Address of each server place; `-` for one in maintenance. */
  private async servers(): Promise<Map<string, string>> {
    const [, header = '', ...rows] = (await this.command('show servers state')).split('\n');
    const columns = header.replace(/^# /, '').split(' ');
    const at = (name: string): number => columns.indexOf(name);
    const ADMIN_MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20;
    return new Map(
      rows
        .filter((r) => r !== '')
        .map((row): [string, string] => {
          const f = row.split(' ');
          const down = (Number(f[at('srv_admin_state')]) & ADMIN_MAINTENANCE) !== 0;
          const name = `${f[at('be_name')]}/${f[at('srv_name')]}`;
          return [name, down ? '-' : `${f[at('srv_addr')]}:${f[at('srv_port')]}`];
        }),
    );
  }

  async info(): Promise<Map<string, string>> {
    const lines = (await this.command('show info')).split('\n');
    return new Map(
      lines.map((l): [string, string] => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 1).trim()]),
    );
  }

  /** Makes the master read its configuration again; answers when the new worker does. No connection is dropped. */
  async reload(masterPid: number): Promise<void> {
    const before = (await this.info()).get('Pid');
    signal(masterPid, 'SIGUSR2');
    const deadline = Date.now() + RELOAD_MS;
    for (;;) {
      await delay(20);
      const now = await this.info().catch((e: unknown) => {
        if (Date.now() > deadline) throw e;
        return new Map<string, string>();
      });
      const pid = now.get('Pid');
      if (pid !== undefined && pid !== before) return;
      if (Date.now() > deadline)
        throw new NxnwError(
          'EDGE_REFUSED',
          `HAProxy did not take its new configuration in ${RELOAD_MS} ms; see its log`,
        );
    }
  }

  async counters(spec: EdgeSpec): Promise<EdgeCounters> {
    const [stat, routes] = [parseCsv(await this.command('show stat')), await this.routes()];
    const row = (proxy: string, server: string): Record<string, string> =>
      stat.find((r) => r['pxname'] === proxy && r['svname'] === server) ?? {};
    const number = (r: Record<string, string>, column: string): number => Number(r[column] ?? 0);
    const apps = spec.apps.map((a): EdgeAppCounters => {
      const [local, peer] = [row(localBackend(a.app), 'BACKEND'), row(peerBackend(a.app), 'BACKEND')];
      return {
        app: a.app,
        route: routeOf(routes.get(a.app)),
        localRequests: number(local, 'req_tot'),
        peerRequests: number(peer, 'req_tot'),
        localSessions: number(local, 'scur'),
        peerSessions: number(peer, 'scur'),
        responses5xx: number(local, 'hrsp_5xx') + number(peer, 'hrsp_5xx'),
        retries: number(local, 'wretr') + number(peer, 'wretr'),
        serversUp: number(local, 'act'),
        peersUp: Math.min(number(peer, 'act'), PEER_SLOTS),
      };
    });
    const web = row('web', 'FRONTEND');
    return { connections: number(web, 'scur'), requests: number(web, 'req_tot'), apps };
  }
}

/** A server's place as `show stat` has it. */
interface ServerRow {
  /** '' for a row that is no server. */
  readonly backend: string;
  /** Its checks pass and it is given requests. */
  readonly up: boolean;
  /** Requests that it has or that wait for it. */
  readonly sessions: number;
}

const nameOf = (s: Slot): string => `${s.backend}/${s.server}`;
const show = (s: Slot): string => (s.at ? `${s.at.host}:${s.at.port}` : '-');

/** Rows of `show stat` by column name. */
function parseCsv(text: string): Record<string, string>[] {
  const [header = '', ...rows] = text.split('\n');
  const columns = header.replace(/^# /, '').split(',');
  return rows
    .filter((r) => r !== '')
    .map((r) => Object.fromEntries(r.split(',').map((v, i): [string, string] => [columns[i] ?? '', v])));
}
