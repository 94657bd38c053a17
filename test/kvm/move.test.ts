import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { ensureImage, imageDir } from '@nxnw/tools/image/build';
import { LibvirtLab, installLab } from '../support/libvirt-lab.js';
import { liveMove } from '../support/live-move.js';
import { endLocalMachines } from '../support/local-machines.js';
import { Project } from '../support/project.js';
import { startZone } from '../support/zone.js';
import { CABLE, SUBNET, kvm } from './domains.js';

const APP = 'gazetteer';
const ZONE = 'nxnw.example';
const NAME = `${APP}.${ZONE}`;
const EDGE_PORT = 8080;
const TTL_S = 2;
const N1_NETWORK = '127.66.1';
/** An emulated domain takes seconds for what takes milliseconds otherwise, until V8 has compiled it. */
const LIGHT = { places: 1000, ratePerS: 0.5, deadlineMs: 30_000 } as const;
const DATASTORE_TIMEOUT_MS = '20000';
const STALL_BUDGET_MS = 10_000;
const RUN_MS = 30 * 60_000;
const LOGS_MS = 60_000;
const MACHINES = ['data-1', 'app-1', 'edge-1'];

/**
 * A running application moves from this machine to domains under load, through one port of one address (decision 027); the
 * oracle judges. Needs root, 3 GB of memory, libvirt and QEMU of Debian.
 */
describe('a live move from local machines with lmdb to KVM domains with lmdb', function () {
  this.timeout(90 * 60_000);
  let lab: LibvirtLab | undefined;
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-kvm-move-'));
  const project = new Project(join(dir, 'home'));
  const ends: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
  let image = '';
  let zone: Awaited<ReturnType<typeof startZone>>;

  before(async function () {
    console.log('      needs root, 3 GB of memory, libvirt, QEMU and mmdebstrap of Debian; takes 15 to 30 minutes');
    const why = await installLab();
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    await ensureTools(['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot']);
    const built = await ensureImage();
    const made = await LibvirtLab.start();
    ends.push(() => made.destroy());
    lab = made;
    await made.join({ ...CABLE, behind: SUBNET });
    image = made.provide(join(imageDir(), built.raw), 'nxnw-1.raw');
    zone = await startZone({
      ...{ dir: join(dir, 'zone'), host: CABLE.here, port: 5353, zone: ZONE, ttlS: TTL_S },
      records: { [APP]: [`${N1_NETWORK}.201`] },
      allow: ['127.0.0.0/8', SUBNET, `${CABLE.here}/32`],
    });
    ends.push(() => process.kill(zone.pid, 'SIGTERM'));
    project.make();
    ends.push(() => endLocalMachines(join(dir, 'blue')));
  });

  afterEach(async function () {
    if (this.currentTest?.isFailed() !== true || lab === undefined) return;
    console.log(this.currentTest.err?.message);
    const ask = { timeoutMs: LOGS_MS, priority: 'normal', signal: new AbortController().signal } as const;
    const logs = (role: string) =>
      project.nxnw(['logs', '--stack', 'green', '--machine', 'data-1', '--role', role], ask).then(
        (ran) => ran.stdout.slice(-4000),
        (e: unknown) => String(e),
      );
    for (const role of ['coordinator', 'datastore-1', 'join-client'])
      console.log(`---- ${role} of N2\n${await logs(role)}`);
    for (const m of MACHINES) console.log(`---- ${m}\n${lab.console(`shop-green-${m}`).slice(-3000)}`);
  });

  after(async () => {
    for (const end of ends.reverse()) await end();
  });

  const side = (stack: string, network: string, config: (stage: string) => Record<string, unknown>) => ({
    up: async (stage: string) => {
      const { keyName, keySecret } = zone;
      project.write(stack, {
        platform: { name: 'shop', protect: false },
        edge: { httpPort: EDGE_PORT },
        dns: {
          ...{ driver: 'rfc2136', zone: ZONE, name: NAME, ttlSeconds: TTL_S },
          rfc2136: { server: `${zone.host}:${String(zone.port)}`, keyName, keySecret },
        },
        ...config(stage),
      });
      const signal = new AbortController().signal;
      await project.nxnw(['up', '--yes', '--stack', stack], { timeoutMs: RUN_MS, priority: 'normal', signal });
    },
    has: (instance: string) => instance.startsWith(network),
  });

  it('loses nothing, tears nothing, fails no request', async () => {
    const moved = await liveMove({
      ...LIGHT,
      dir: join(dir, 'move'),
      app: APP,
      n1: side('blue', `${N1_NETWORK}.`, () => ({
        cloud: {
          kind: 'local',
          appMachines: 1,
          local: { network: `${N1_NETWORK}.0/24`, directory: join(dir, 'blue') },
        },
        join: { listen: CABLE.here },
        datastore: { processes: 1, shards: 2 },
        apps: [{ id: APP, bundle: './examples/gazetteer', instances: 1, env: { DATASTORE_TIMEOUT_MS } }],
      })),
      n2: side('green', '192.168.171.', (stage) => {
        assert.ok(lab);
        return {
          cloud: kvm(lab, image, 1),
          store: { diskGiB: 2 },
          datastore: { processes: 1 },
          migration: { switch: { stallBudgetMs: STALL_BUDGET_MS } },
          migrateFrom: 'blue',
          stage,
        };
      }),
      clients: { host: NAME, port: EDGE_PORT, dns: { host: zone.host, port: zone.port } },
      access: () => project.access('green'),
      // N1 sends on what N2 holds; N2's own doors are for its app machines
      door: () => Promise.resolve({ endpoint: `${N1_NETWORK}.101:8500`, close: () => undefined }),
      say: (line) => console.log(`      ${line}`),
    });
    assert.deepEqual(moved.faults, []);
  });
});
