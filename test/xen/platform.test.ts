import assert from 'node:assert/strict';
import { DomainPlatformTests, MACHINES, addDomainPlatformTests, domainOf } from '../support/domain-platform.js';
import { PlatformStack } from '../support/platform-stack.js';
import { XenLab, whyNoXen } from '../support/xen-lab.js';
import { EDGE, MACHINES_MIB, startHost, xen } from './host.js';

const RUN_MS = 60 * 60_000;
/** A domain of an emulated Xen answers more slowly than one of QEMU's own. */
const LATE_MS = 3 * 60_000;

/**
 * A platform of domains of a real Xen, by the real engine over ssh: QEMU emulates the host, and Xen runs the machines
 * beside its control domain (PV). Needs root, 5 GB of memory, 25 GB of disk and a mirror of Debian.
 */
describe('a platform on Xen', function () {
  this.timeout(RUN_MS);
  let lab: XenLab | undefined;
  let stack: PlatformStack | undefined;
  let tests: DomainPlatformTests | undefined;
  const parts = () => {
    assert.ok(tests, 'the lab stands');
    return { tests };
  };

  before(async function () {
    console.log('      needs root, 5 GB of memory, 25 GB of disk and a mirror of Debian; takes up to an hour');
    const why = whyNoXen();
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    const host = await startHost(MACHINES_MIB);
    lab = host;
    stack = await PlatformStack.create(RUN_MS);
    tests = new DomainPlatformTests({
      ...{ stack, edge: EDGE, image: host.image, newer: await host.newerImage() },
      lateMs: LATE_MS,
      cloud: (image) => xen(host, image, 2),
      virsh: (...args) => host.virsh(...args),
    });
  });

  afterEach(async function () {
    if (this.currentTest?.isFailed() !== true || lab === undefined) return;
    // now, and not only at the end of a suite that takes an hour
    console.log(this.currentTest.err?.message);
    for (const m of MACHINES) console.log(`---- ${m}\n${await lab.console(domainOf(m))}`);
  });

  after(async () => {
    stack?.remove();
    await lab?.destroy();
  });

  addDomainPlatformTests(() => parts().tests);

  it('goes, and leaves nothing', async () => {
    await parts().tests.goes(['Domain-0', 'default']);
  });
});
