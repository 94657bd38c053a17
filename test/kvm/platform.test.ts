import assert from 'node:assert/strict';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { ensureImage, imageDir, type Image } from '@nxnw/tools/image/build';
import { through, tinyApp, until } from '../support/agents.js';
import { LibvirtLab, installLab } from '../support/libvirt-lab.js';
import { PlatformStack } from '../support/platform-stack.js';
import { SteadyClients } from '../support/steady-clients.js';
import { APP, CABLE, DATA, EDGE, SUBNET, kvm } from './domains.js';

const RUN_MS = 25 * 60_000;
const LATE_MS = 60_000;
const PORT = 8080;
const HOST = 'shop.test';
const MACHINES = ['data-1', 'app-1', 'app-2', 'edge-1'];

const seconds = (sinceMs: number): string => `${String(Math.round((Date.now() - sinceMs) / 1000))} s`;

/**
 * A platform of real domains, by the real engine and a private libvirtd; QEMU emulates where there is no KVM. Needs root, 3
 * GB of memory, libvirt and QEMU of Debian, and takes about 15 minutes by emulation, and three more where the image is not built.
 */
describe('a platform on KVM', function () {
  this.timeout(RUN_MS);
  let lab: LibvirtLab | undefined;
  let stack: PlatformStack | undefined;
  let image: Image;
  const bundle = tinyApp();
  const parts = () => {
    assert.ok(lab !== undefined && stack !== undefined, 'the lab stands');
    return { lab, stack };
  };
  const virsh = async (...args: string[]) => (await parts().lab.virsh(...args)).trim();
  const uuid = (machine: string) => virsh('domuuid', `shop-dev-${machine}`);
  const status = async () => (await through(EDGE, PORT, HOST)).status;

  /** The same stack with another base image. */
  function configure(file: string): void {
    parts().stack.configure({
      'nxnw:platform': { name: 'shop', protect: false },
      'nxnw:cloud': kvm(parts().lab, file, 2),
      'nxnw:store': { diskGiB: 2 },
      'nxnw:apps': [{ id: 'shop', bundle, instances: 2, domains: [HOST] }],
    });
  }

  before(async function () {
    console.log('      needs root, 3 GB of memory, libvirt, QEMU and mmdebstrap of Debian; takes 15 to 30 minutes');
    const why = await installLab();
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    await ensureTools(['pulumi', 'zookeeper', 'cassandra']);
    image = await ensureImage();
    lab = await LibvirtLab.start();
    await lab.join({ ...CABLE, behind: SUBNET });
    stack = await PlatformStack.create(RUN_MS);
    configure(lab.provide(join(imageDir(), image.raw), 'nxnw-1.raw'));
  });

  afterEach(function () {
    if (this.currentTest?.isFailed() !== true || lab === undefined) return;
    for (const m of MACHINES) console.log(`---- ${m}\n${lab.console(`shop-dev-${m}`).slice(-3000)}`);
  });

  after(async () => {
    stack?.remove();
    await lab?.destroy();
  });

  it('starts its machines from the image, enrols them, and serves an application', async () => {
    const began = Date.now();
    const text = await parts().stack.up();
    console.log(`      up after ${seconds(began)}: ${/\d+ created/.exec(text)?.[0] ?? ''}`);
    const seen = await through(EDGE, PORT, HOST);
    assert.equal(seen.status, 200);
    assert.equal(seen.env['MEMCACHE_SERVERS']?.split(',').length, 2);
  });

  it('is quiet while nothing changes', async () => {
    await parts().stack.quiet();
  });

  it('lets nobody to ports that are for its own machines', async () => {
    const refused = (host: string, port: number) => parts().lab.opens(host, port).then((is) => !is); // prettier-ignore
    assert.ok(await refused(DATA, 2181), 'ZooKeeper');
    assert.ok(await refused(APP, 11211), 'memcached');
    assert.ok(await refused(DATA, 22), 'ssh');
    assert.ok(!(await refused(DATA, 7400)), "the operator's way to the agent");
  });

  it('keeps its data machines when the image is a newer one', async () => {
    configure(parts().lab.provide(join(imageDir(), image.raw), 'nxnw-2.raw'));
    const steps = (await parts().stack.planned()).filter((s) => s.op !== 'create');
    const replaced = steps.filter((s) => s.type.endsWith('LibvirtDomain') && s.op === 'replace').map((s) => s.name);
    assert.equal(replaced.length, 3, replaced.join());
    assert.deepEqual(
      steps.filter((s) => /data-1/.test(s.name)),
      [],
    );
    configure('/var/lib/libvirt/base/nxnw-1.raw');
  });

  it('makes a machine anew that was destroyed by force, and its clients see no error', async () => {
    const { stack: s } = parts();
    const before = await uuid('app-2');
    const clients = new SteadyClients(EDGE, PORT, HOST);
    const began = Date.now();
    try {
      await until('clients are served', LATE_MS, () => Promise.resolve(clients.answered > 20));
      await clients.between(async () => {
        await virsh('destroy', 'shop-dev-app-2');
        await virsh('undefine', 'shop-dev-app-2');
      });
      await s.refresh();
      const lost = await s.planned();
      assert.ok(lost.some((p) => p.op === 'create' && p.name.endsWith('app-2')), JSON.stringify(lost)); // prettier-ignore
      await s.up();
      console.log(`      destroyed, refreshed and up again after ${seconds(began)}`);
      assert.notEqual(await uuid('app-2'), before);
      const [{ pid }] = [await through(EDGE, PORT, HOST)];
      await until('both machines serve', LATE_MS, async () => (await through(EDGE, PORT, HOST)).pid !== pid);
    } finally {
      await clients.end();
    }
    console.log(
      `      ${String(clients.answered)} requests answered, the longest after ${String(clients.longestMs)} ms`,
    );
    assert.deepEqual(clients.failures, []);
    await s.quiet();
  });

  it('goes, and leaves nothing', async () => {
    const { stack: s } = parts();
    assert.equal(await status(), 200);
    await s.destroy();
    assert.equal(await virsh('list', '--all', '--name'), '');
    assert.equal(await virsh('vol-list', 'nxnw'), '');
    assert.equal(await virsh('net-list', '--all', '--name'), '');
    assert.equal(await virsh('nwfilter-list'), '');
  });
});
