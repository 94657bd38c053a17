import assert from 'node:assert/strict';
import { EmulatedMove } from '../support/emulated-move.js';
import { XenLab, whyNoXen } from '../support/xen-lab.js';
import { LINK, MACHINES_MIB, SUBNET, startHost, xen } from './host.js';

const MACHINES = ['data-1', 'app-1', 'edge-1'];

/** Needs root, 5 GB of memory, 25 GB of disk and a mirror of Debian. */
describe('a live move from local machines with lmdb to Xen domains with lmdb', function () {
  this.timeout(120 * 60_000);
  let lab: XenLab | undefined;
  let move: EmulatedMove | undefined;

  before(async function () {
    console.log('      needs root, 5 GB of memory, 25 GB of disk and a mirror of Debian; takes up to an hour');
    const why = whyNoXen();
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    lab = await startHost(MACHINES_MIB);
    move = await EmulatedMove.prepare({ network: '127.66.2', outside: LINK.here, clients: [SUBNET] });
  });

  afterEach(async function () {
    if (this.currentTest?.isFailed() !== true || lab === undefined) return;
    console.log(this.currentTest.err?.message);
    await move?.showLogs();
    for (const m of MACHINES) console.log(`---- ${m}\n${await lab.console(`shop-green-${m}`)}`);
  });

  after(async () => {
    await move?.end();
    await lab?.destroy();
  });

  it('loses nothing, tears nothing, fails no request', async () => {
    assert.ok(lab && move);
    assert.deepEqual(await move.run('192.168.172.', { cloud: xen(lab, lab.image, 1), store: { diskGiB: 2 } }), []);
  });
});
