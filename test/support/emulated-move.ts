import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { liveMove } from './live-move.js';
import { endLocalMachines } from './local-machines.js';
import { Project } from './project.js';
import { startZone } from './zone.js';

const APP = 'gazetteer';
const ZONE = 'nxnw.example';
const NAME = `${APP}.${ZONE}`;
const EDGE_PORT = 8080;
const TTL_S = 2;
/** An emulated machine takes seconds for what takes milliseconds otherwise, until V8 has compiled it. */
const LIGHT = { places: 1000, ratePerS: 0.5, deadlineMs: 30_000 } as const;
const DATASTORE_TIMEOUT_MS = '20000';
const STALL_BUDGET_MS = 10_000;
const RUN_MS = 30 * 60_000;
const LOGS_MS = 60_000;

export interface EmulatedMoveOptions {
  /** First three bytes of N1's network. */
  readonly network: string;
  /** Address of this machine that N2's machines reach: of N1's join port and of the zone's server. */
  readonly outside: string;
  /** Networks that the zone's server answers. */
  readonly clients: readonly string[];
}

/**
 * A running application moves from this machine, with lmdb, to emulated machines of a cloud under a light load, through one
 * port of one address (decision 027); the oracle judges.
 */
export class EmulatedMove {
  private constructor(
    private readonly dir: string,
    private readonly project: Project,
    private readonly zone: Awaited<ReturnType<typeof startZone>>,
    private readonly o: EmulatedMoveOptions,
  ) {}

  static async prepare(o: EmulatedMoveOptions): Promise<EmulatedMove> {
    const dir = mkdtempSync(join(tmpdir(), 'nxnw-move-'));
    const project = new Project(join(dir, 'home'));
    project.make();
    const zone = await startZone({
      ...{ dir: join(dir, 'zone'), host: o.outside, port: 5353, zone: ZONE, ttlS: TTL_S },
      records: { [APP]: [`${o.network}.201`] },
      allow: ['127.0.0.0/8', `${o.outside}/32`, ...o.clients],
    });
    return new EmulatedMove(dir, project, zone, o);
  }

  private side(stack: string, prefix: string, config: (stage: string) => Record<string, unknown>) {
    const { host, port, keyName, keySecret } = this.zone;
    return {
      up: async (stage: string) => {
        this.project.write(stack, {
          platform: { name: 'shop', protect: false },
          edge: { httpPort: EDGE_PORT },
          dns: {
            ...{ driver: 'rfc2136', zone: ZONE, name: NAME, ttlSeconds: TTL_S },
            rfc2136: { server: `${host}:${String(port)}`, keyName, keySecret },
          },
          ...config(stage),
        });
        const signal = new AbortController().signal;
        await this.project.nxnw(['up', '--yes', '--stack', stack], { timeoutMs: RUN_MS, priority: 'normal', signal });
      },
      has: (instance: string) => instance.startsWith(prefix),
    };
  }

  /**
   * Moves it to a platform of this configuration whose instances have addresses that begin with `prefix`.
   * @returns what the oracle and the clients found wrong
   */
  async run(prefix: string, n2: Readonly<Record<string, unknown>>): Promise<readonly string[]> {
    const { dir, project, zone, o } = this;
    const moved = await liveMove({
      ...LIGHT,
      dir: join(dir, 'move'),
      app: APP,
      n1: this.side('blue', `${o.network}.`, () => ({
        cloud: { kind: 'local', appMachines: 1, local: { network: `${o.network}.0/24`, directory: join(dir, 'blue') } },
        join: { listen: o.outside },
        datastore: { processes: 1, shards: 2 },
        apps: [{ id: APP, bundle: './examples/gazetteer', instances: 1, env: { DATASTORE_TIMEOUT_MS } }],
      })),
      n2: this.side('green', prefix, (stage) => ({
        ...n2,
        datastore: { processes: 1 },
        migration: { switch: { stallBudgetMs: STALL_BUDGET_MS } },
        migrateFrom: 'blue',
        stage,
      })),
      clients: { host: NAME, port: EDGE_PORT, dns: { host: zone.host, port: zone.port } },
      access: () => project.access('green'),
      // N1 sends on what N2 holds; N2's own doors are for its app machines
      door: () => Promise.resolve({ endpoint: `${o.network}.101:8500`, close: () => undefined }),
      say: (line) => console.log(`      ${line}`),
    });
    return moved.faults;
  }

  /** The end of what N2's processes wrote, for a failure. */
  async showLogs(): Promise<void> {
    const ask = { timeoutMs: LOGS_MS, priority: 'normal', signal: new AbortController().signal } as const;
    for (const role of ['coordinator', 'datastore-1', 'join-client']) {
      const text = await this.project
        .nxnw(['logs', '--stack', 'green', '--machine', 'data-1', '--role', role], ask)
        .then((ran) => ran.stdout.slice(-4000), String);
      console.log(`---- ${role} of N2\n${text}`);
    }
  }

  async end(): Promise<void> {
    await endLocalMachines(join(this.dir, 'blue'));
    process.kill(this.zone.pid, 'SIGTERM');
    rmSync(this.dir, { recursive: true, force: true });
  }
}
