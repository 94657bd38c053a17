import assert from 'node:assert/strict';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { ensureImage, imageDir } from '@nxnw/tools/image/build';
import { EmulatedMove } from '../support/emulated-move.js';
import { LibvirtLab, installLab } from '../support/libvirt-lab.js';
import { CABLE, SUBNET, kvm } from './domains.js';

const MACHINES = ['data-1', 'app-1', 'edge-1'];

/** Needs root, 3 GB of memory, libvirt and QEMU of Debian. */
describe('a live move from local machines with lmdb to KVM domains with lmdb', function () {
  this.timeout(90 * 60_000);
  let lab: LibvirtLab | undefined;
  let move: EmulatedMove | undefined;
  let image = '';

  before(async function () {
    console.log('      needs root, 3 GB of memory, libvirt, QEMU and mmdebstrap of Debian; takes 15 to 30 minutes');
    const why = await installLab();
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    await ensureTools(['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot']);
    const built = await ensureImage();
    lab = await LibvirtLab.start();
    await lab.join({ ...CABLE, behind: SUBNET });
    image = lab.provide(join(imageDir(), built.raw), 'nxnw-1.raw');
    move = await EmulatedMove.prepare({ network: '127.66.1', outside: CABLE.here, clients: [SUBNET] });
  });

  afterEach(async function () {
    if (this.currentTest?.isFailed() !== true || lab === undefined) return;
    console.log(this.currentTest.err?.message);
    await move?.showLogs();
    for (const m of MACHINES) console.log(`---- ${m}\n${lab.console(`shop-green-${m}`).slice(-3000)}`);
  });

  after(async () => {
    await move?.end();
    await lab?.destroy();
  });

  it('loses nothing, tears nothing, fails no request', async () => {
    assert.ok(lab && move);
    assert.deepEqual(await move.run('192.168.171.', { cloud: kvm(lab, image, 1), store: { diskGiB: 2 } }), []);
  });
});
