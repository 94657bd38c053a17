/**
 * A platform's machines by the real Pulumi on a private libvirtd (see libvirt.test.ts for the packages). They need not
 * boot, so a data machine that goes is waited for a minute. Takes about four minutes.
 */
import assert from 'node:assert/strict';
import { ensureTools } from '@nxnw/tools';
import { TestStack } from '../provider/stack.js';
import { LibvirtLab, whyNoLab } from '../support/libvirt-lab.js';

const SLOW_MS = 300_000;

interface Wanted {
  readonly image: string;
  readonly userData: string;
  readonly memoryMiB: number;
  readonly replace?: Record<string, number>;
}

const program = (uri: string, w: Wanted) => `
const { LibvirtCloud } = require('@nxnw/components/clouds/libvirt');
const size = { vcpus: 1, memoryMiB: ${String(w.memoryMiB)} };
const cloud = new LibvirtCloud('shop', {
  kind: 'kvm', platformId: 'shop-blue', protect: false,
  settings: {
    hosts: [${JSON.stringify(uri)}], image: ${JSON.stringify(w.image)}, pool: 'fleet', sshKey: '', diskGiB: 1,
    sizes: { data: size, app: size, edge: size }, subnets: [{ cidr: '10.77.0.0/24', zone: '' }],
    access: { operators: ['10.77.0.1/32'], ssh: [], clients: ['0.0.0.0/0'], peers: [] },
    replace: ${JSON.stringify(w.replace ?? {})},
  },
  machines: [
    { name: 'data-1', group: 'data', index: 0, host: '10.77.0.16', site: 0 },
    { name: 'edge-1', group: 'edge', index: 0, host: '10.77.0.224', site: 0 },
  ],
  flows: [{ from: 'clients', to: 'edge', first: 8080, last: 8080, what: 'http' }],
  userData: (m) => pulumi.secret('#cloud-config ' + m.name + ' ${w.userData}'),
});
exports.data = cloud.servers.get('data-1').serverId;
exports.edge = cloud.servers.get('edge-1').serverId;
`;

describe('machines of libvirt by the real Pulumi', function () {
  this.timeout(SLOW_MS);
  let lab: LibvirtLab | undefined;
  let stack: TestStack | undefined;
  let wanted: Wanted;
  let newer: string;

  before(async function () {
    const why = whyNoLab();
    if (why !== null) {
      console.log(`        skipped: ${why}`);
      this.skip();
    }
    await ensureTools(['pulumi']);
    lab = await LibvirtLab.start();
    newer = await lab.image('newer.qcow2', 'qcow2', 64);
    wanted = { image: await lab.image('base.qcow2', 'qcow2', 64), userData: 'first', memoryMiB: 96 };
    stack = new TestStack(program(lab.uri, wanted));
    await stack.init();
  });

  after(async () => {
    stack?.remove();
    await lab?.destroy();
  });

  /** Runs Pulumi, with another program where `over` is given; fails with its output unless it ends well. */
  async function pulumi(args: readonly string[], over?: Partial<Wanted>): Promise<string> {
    assert.ok(stack !== undefined && lab !== undefined);
    if (over !== undefined) stack.program(program(lab.uri, { ...wanted, ...over }));
    const { code, text } = await stack.run(args);
    assert.equal(code, 0, text);
    return text;
  }
  const virsh = (...args: string[]) => (lab === undefined ? Promise.resolve('') : lab.virsh(...args));
  const uuid = async (m: string) => (await virsh('domuuid', `shop-blue-${m}`)).trim();

  it('come up, and nothing changes after that', async () => {
    await pulumi(['up', '--yes', '--skip-preview']);
    assert.equal((await virsh('domstate', 'shop-blue-data-1')).trim(), 'running');
    await pulumi(['preview', '--expect-no-changes']);
    await pulumi(['refresh', '--yes', '--expect-no-changes']);
  });

  it('leave data machines as they are when image and user data change, and replace the others', async () => {
    const text = await pulumi(['preview', '--diff'], { image: newer, userData: 'second' });
    assert.match(text, /1 to replace/);
    const before = { data: await uuid('data-1'), edge: await uuid('edge-1') };
    await pulumi(['up', '--yes', '--skip-preview']);
    assert.equal(await uuid('data-1'), before.data);
    assert.notEqual(await uuid('edge-1'), before.edge);
  });

  it('replace a data machine that is named, and its disk stays', async () => {
    const before = await uuid('data-1');
    const text = await pulumi(['up', '--yes', '--skip-preview'], { image: newer, userData: 'second', replace: { 'data-1': 1 } }); // prettier-ignore
    assert.match(text, /1 replaced/);
    assert.notEqual(await uuid('data-1'), before);
    assert.match(await virsh('domblklist', 'shop-blue-data-1'), /vdb\s+\S+\/shop-blue-data-1-data\.img/);
    const after = await pulumi(['preview', '--expect-no-changes'], { image: newer, userData: 'second' });
    assert.doesNotMatch(after, /replace/);
  });

  it('are started again, or made again, when somebody stopped or removed them', async () => {
    const data = await uuid('data-1');
    await virsh('destroy', 'shop-blue-data-1');
    await virsh('destroy', 'shop-blue-edge-1');
    await virsh('undefine', 'shop-blue-edge-1');
    assert.match(await pulumi(['refresh', '--yes']), /1 deleted|- 1/);
    await pulumi(['up', '--yes', '--skip-preview']);
    assert.equal(await uuid('data-1'), data);
    for (const m of ['data-1', 'edge-1']) assert.equal((await virsh('domstate', `shop-blue-${m}`)).trim(), 'running');
  });

  it('say with code, host and next step what a host has not enough of, and go on when it has', async () => {
    assert.ok(stack !== undefined && lab !== undefined);
    stack.program(program(lab.uri, { ...wanted, image: '/var/lib/libvirt/base/none.qcow2', userData: 'third' }));
    const { code, text } = await stack.run(['up', '--yes', '--skip-preview']);
    assert.notEqual(code, 0);
    assert.match(
      text,
      /\[nxnw:NO_IMAGE\] machine edge-1 of shop-blue: qemu:\/\/\/system\S* has no image \S*none\.qcow2/,
    );
    await pulumi(['up', '--yes', '--skip-preview'], { image: newer, userData: 'third' });
    assert.equal((await virsh('domstate', 'shop-blue-edge-1')).trim(), 'running');
  });

  it('go, and leave nothing', async () => {
    await pulumi(['destroy', '--yes', '--skip-preview']);
    assert.equal((await virsh('list', '--all', '--name')).trim(), '');
    assert.equal((await virsh('vol-list', 'fleet')).trim(), '');
    assert.equal((await virsh('net-list', '--all', '--name')).trim(), '');
    assert.equal((await virsh('nwfilter-list')).trim(), '');
  });
});
