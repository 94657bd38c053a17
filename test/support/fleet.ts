import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { RemoteShardControl } from '@nxnw/platform/shards/control-client';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';
import type { Authority } from '@nxnw/platform/wire/ca';
import { askHealth } from '@nxnw/platform/wire/health';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
import type { TestServer } from './servers.js';
import { startZooKeeper } from './servers.js';
import { within } from './wan-lab.js';

const MAIN = resolve(__dirname, '../../../platform/dist/datastore/main.js');
const running = new Set<ChildProcess>();
process.on('exit', () => running.forEach((c) => c.kill('SIGKILL')));

export interface FleetOptions {
  readonly id: string;
  readonly ip: string;
  readonly app: string;
  readonly shards: number;
  readonly processes: number;
  /** NXNW_FAULT of each process's first start; a restarted one has none. */
  readonly faults?: readonly (string | undefined)[];
  /** Store configuration. @default LMDB in a directory of its own */
  readonly store?: object;
  readonly join?: Fleet;
  /** Network namespace that its processes run in. @default this one */
  readonly inside?: string;
}

/** Parts the faults of a process from those of its successor. */
export const THEN = ' then ';

/** A platform's datastore processes as processes of the operating system, started again when they die. */
export class Fleet {
  readonly deaths: string[] = [];
  private readonly children = new Map<string, ChildProcess>();
  private stopping = false;

  private constructor(
    private readonly o: FleetOptions,
    readonly dir: string,
    readonly zookeeper: TestServer,
    readonly authority: Authority,
    readonly tls: TlsMaterial,
    readonly control: RemoteShardControl,
  ) {}

  static async start(o: FleetOptions): Promise<Fleet> {
    const dir = mkdtempSync(join(tmpdir(), `nxnw-${o.id}-`));
    const zookeeper = await startZooKeeper({ ip: o.ip, ...(o.inside === undefined ? {} : { inside: o.inside }) });
    const authority = await createAuthority(o.id);
    const tls = await issueCertificate(authority, { name: 'test', hosts: [] });
    const control = new RemoteShardControl(endpointsOf(o), tls);
    const fleet = new Fleet(o, dir, zookeeper, authority, tls, control);
    for (let i = 0; i < o.processes; i++) {
      await fleet.configure(i);
      fleet.spawn(i, o.faults?.[i]?.split(THEN) ?? []);
    }
    for (const e of fleet.endpoints) await fleet.ready(e);
    return fleet;
  }

  get endpoints(): string[] {
    return endpointsOf(this.o);
  }

  doors(): string[] {
    return Array.from({ length: this.o.processes }, (_, i) => `${this.o.ip}:${8100 + i}`);
  }

  private async configure(i: number): Promise<void> {
    const { o } = this;
    const dir = join(this.dir, `p${i}`);
    mkdirSync(dir, { recursive: true });
    const place = (name: string, tls: TlsMaterial) => {
      const paths = { ca: join(dir, `${name}.ca`), cert: join(dir, `${name}.cert`), key: join(dir, `${name}.key`) };
      for (const k of ['ca', 'cert', 'key'] as const) writeFileSync(paths[k], tls[k], { mode: 0o600 });
      return paths;
    };
    const own = await issueCertificate(this.authority, { name: `${o.id}-ds-${i}`, hosts: [o.ip] });
    const config = {
      platformId: o.id,
      processId: `${o.id}-ds-${i}`,
      peer: { host: o.ip, port: 7100 + i },
      advertise: `${o.ip}:${7100 + i}`,
      tls: place('own', own),
      locks: { servers: [`${o.ip}:${this.zookeeper.port}`] },
      store: o.store ?? { kind: 'lmdb', dir: join(this.dir, 'lmdb') },
      apps: [
        { id: o.app, shards: o.shards, origin: o.join ? 'peer' : 'self', doors: [{ host: o.ip, port: 8100 + i }] },
      ],
      healthFile: join(dir, 'health'),
      // short, so that the log is truncated while a test runs
      historyMs: 2000,
      ...(o.join
        ? {
            join: {
              platformId: o.join.o.id,
              endpoints: o.join.endpoints.map((e) => ({ host: e.split(':')[0], port: Number(e.split(':')[1]) })),
              tls: place('join', await issueCertificate(o.join.authority, { name: `peer:${o.id}`, hosts: [] })),
            },
          }
        : {}),
    };
    writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
  }

  /** @param lives faults of the process, and of those that are started in its place when it has died */
  private spawn(i: number, [fault, ...lives]: readonly string[]): void {
    const name = `${this.o.id}-ds-${i}`;
    const dir = join(this.dir, `p${i}`);
    const out = openSync(join(dir, 'log'), 'a');
    const env = { ...process.env, ...(fault === undefined ? {} : { NXNW_FAULT: fault }) };
    const [command, args] = within(this.o.inside, process.execPath, [MAIN, '--config', join(dir, 'config.json')]);
    const child = spawn(command, args, {
      stdio: ['ignore', out, out],
      env,
    });
    running.add(child);
    this.children.set(name, child);
    child.on('exit', (code, signal) => {
      running.delete(child);
      if (this.stopping) return;
      this.deaths.push(`${name} ${signal ?? `exit ${code}`}`);
      this.spawn(i, lives);
    });
  }

  private async ready(endpoint: string): Promise<void> {
    const end = Date.now() + 60_000;
    while (!(await askHealth(endpoint, this.tls, Date.now() + 2000)).ready) {
      if (Date.now() > end) throw new Error(`${endpoint} was not ready in time; logs in ${this.dir}`);
      await new Promise((ok) => setTimeout(ok, 100));
    }
  }

  kill(i: number, signal: NodeJS.Signals): void {
    this.children.get(`${this.o.id}-ds-${i}`)?.kill(signal);
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.control.close();
    for (const c of this.children.values()) {
      const gone = new Promise((ok) => c.once('exit', ok));
      c.kill('SIGKILL');
      if (c.exitCode === null && c.signalCode === null) await gone;
    }
    await this.zookeeper.stop();
    if (process.env['NXNW_KEEP_LOGS']) console.log(`logs of ${this.o.id} kept in ${this.dir}`);
    else rmSync(this.dir, { recursive: true, force: true });
  }
}

function endpointsOf(o: FleetOptions): string[] {
  return Array.from({ length: o.processes }, (_, i) => `${o.ip}:${7100 + i}`);
}
