import assert from 'node:assert/strict';
import { TestStack, type Ran } from '../provider/stack.js';
import { XenLab, whyNoXen } from '../support/xen-lab.js';
import { SUBNET, bootOf, startHost } from './host.js';

const RUN_MS = 60 * 60_000;
const DOMAIN = 'shop-blue-data-1';
const MEMORY_MIB = 640;

const seconds = (sinceMs: number): string => `${String(Math.round((Date.now() - sinceMs) / 1000))} s`;

/** A fleet of one machine; `up` ends when its agent is enrolled and answers. */
const program = (lab: XenLab) => `
const { Fleet } = require('@nxnw/components/fleet');
const size = { vcpus: 1, memoryMiB: ${String(MEMORY_MIB)} };
const access = { operators: [], ssh: [], clients: [], peers: [] };
const fleet = new Fleet('shop', {
  platformId: 'shop-blue', protect: false, release: undefined, after: [], flows: [],
  machines: [{ name: 'data-1', group: 'data', index: 0, host: '192.168.172.8', site: 0 }],
  cloud: { kind: 'xen', xen: {
    hosts: [${JSON.stringify(lab.uri)}], image: ${JSON.stringify(lab.image)}, boot: ${JSON.stringify(bootOf(lab))}, pool: 'fleet', sshKey: '', diskGiB: 2, forward: 'route',
    sizes: { data: size, app: size, edge: size }, subnets: [{ cidr: '${SUBNET}', zone: '' }], access, replace: {},
  } },
});
exports.agent = fleet.members.get('data-1').agent;
`;

/**
 * A machine of the image as a domain of a real Xen, by the real engine over ssh: QEMU emulates the host, and Xen runs
 * the machine beside its control domain (PV). Needs root, 3 GB of memory, 25 GB of disk and a mirror of Debian.
 */
describe('a machine on Xen', function () {
  this.timeout(RUN_MS);
  let lab: XenLab | undefined;
  let stack: TestStack | undefined;
  const parts = () => {
    assert.ok(lab !== undefined && stack !== undefined, 'the lab stands');
    return { lab, stack };
  };
  const good = ({ code, text }: Ran) => assert.equal(code, 0, text);

  before(async function () {
    console.log('      needs root, 3 GB of memory, 25 GB of disk and a mirror of Debian; takes half an hour');
    const why = whyNoXen();
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    lab = await startHost(MEMORY_MIB);
    stack = new TestStack(program(lab), RUN_MS);
    await stack.init();
  });

  afterEach(async function () {
    if (this.currentTest?.isFailed() === true && lab !== undefined) console.log(await lab.console(DOMAIN));
  });

  after(async () => {
    stack?.remove();
    await lab?.destroy();
  });

  it('starts from the image, and its agent is enrolled', async () => {
    const began = Date.now();
    const { lab: xen, stack: s } = parts();
    good(await s.up());
    console.log(`      up after ${seconds(began)}`);
    assert.match(await xen.virsh('list', '--name'), new RegExp(DOMAIN));
  });

  it('is quiet while nothing changes', async () => {
    good(await parts().stack.quiet());
    good(await parts().stack.quietRefresh());
  });

  it('goes, and leaves nothing', async () => {
    const { lab: xen, stack: s } = parts();
    good(await s.destroy());
    assert.doesNotMatch(await xen.virsh('list', '--all', '--name'), /shop/);
    assert.equal((await xen.virsh('vol-list', 'fleet')).trim(), '');
    assert.doesNotMatch(await xen.virsh('net-list', '--all', '--name'), /shop/);
  });
});
