import assert from 'node:assert/strict';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { ensureImage, imageDir } from '@nxnw/tools/image/build';
import { DomainPlatformTests, MACHINES, addDomainPlatformTests, domainOf } from '../support/domain-platform.js';
import { LibvirtLab, installLab } from '../support/libvirt-lab.js';
import { PlatformStack } from '../support/platform-stack.js';
import { APP, CABLE, DATA, EDGE, SUBNET, kvm } from './domains.js';

const RUN_MS = 25 * 60_000;
const LATE_MS = 60_000;

/**
 * A platform of real domains, by the real engine and a private libvirtd; QEMU emulates where there is no KVM. Needs root, 3
 * GB of memory, libvirt and QEMU of Debian, and takes about 15 minutes by emulation, and three more where the image is not built.
 */
describe('a platform on KVM', function () {
  this.timeout(RUN_MS);
  let lab: LibvirtLab | undefined;
  let stack: PlatformStack | undefined;
  let tests: DomainPlatformTests | undefined;
  const parts = () => {
    assert.ok(lab && tests, 'the lab stands');
    return { lab, tests };
  };

  before(async function () {
    console.log('      needs root, 3 GB of memory, libvirt, QEMU and mmdebstrap of Debian; takes 15 to 30 minutes');
    const why = await installLab();
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    await ensureTools(['pulumi', 'zookeeper', 'cassandra']);
    const file = join(imageDir(), (await ensureImage()).raw);
    const host = await LibvirtLab.start();
    lab = host;
    await host.join({ ...CABLE, behind: SUBNET });
    stack = await PlatformStack.create(RUN_MS);
    tests = new DomainPlatformTests({
      ...{ stack, edge: EDGE, image: host.provide(file, 'nxnw-1.raw'), newer: host.provide(file, 'nxnw-2.raw') },
      lateMs: LATE_MS,
      cloud: (image) => kvm(host, image, 2),
      virsh: (...args) => host.virsh(...args),
    });
  });

  afterEach(function () {
    if (this.currentTest?.isFailed() !== true || lab === undefined) return;
    for (const m of MACHINES) console.log(`---- ${m}\n${lab.console(domainOf(m)).slice(-3000)}`);
  });

  after(async () => {
    stack?.remove();
    await lab?.destroy();
  });

  addDomainPlatformTests(() => parts().tests);

  it('lets nobody to ports that are for its own machines', async () => {
    const refused = (host: string, port: number) => parts().lab.opens(host, port).then((is) => !is); // prettier-ignore
    assert.ok(await refused(DATA, 2181), 'ZooKeeper');
    assert.ok(await refused(APP, 11211), 'memcached');
    assert.ok(await refused(DATA, 22), 'ssh');
    assert.ok(!(await refused(DATA, 7400)), "the operator's way to the agent");
  });

  it('goes, and leaves nothing', async () => {
    await parts().tests.goes([]);
    assert.equal((await parts().lab.virsh('nwfilter-list')).trim(), '');
  });
});
