/**
 * What an `up` says of a machine that does not boot: by the real Pulumi on a private libvirtd (see libvirt.test.ts for the
 * packages). Takes about a minute.
 */
import assert from 'node:assert/strict';
import { ensureTools } from '@nxnw/tools';
import { TestStack } from '../provider/stack.js';
import { LibvirtLab, whyNoLab } from '../support/libvirt-lab.js';

const SLOW_MS = 600_000;

interface Wanted {
  readonly uri: string;
  readonly image: string;
  /** Whether its agent is waited for. */
  readonly enrols: boolean;
}

const program = (w: Wanted) => `
const { LibvirtCloud } = require('@nxnw/components/clouds/libvirt');
const { Authority } = require('@nxnw/migration/resources/authority');
const { Certificate } = require('@nxnw/migration/resources/certificate');
const { Enrolment, EnrolmentToken } = require('@nxnw/migration/resources/enrolment');
const size = { vcpus: 1, memoryMiB: 96 };
const cloud = new LibvirtCloud('shop', {
  kind: 'kvm', platformId: 'shop-blue', protect: false,
  settings: {
    hosts: [${JSON.stringify(w.uri)}], image: ${JSON.stringify(w.image)}, pool: 'fleet', sshKey: '', diskGiB: 1,
    sizes: { data: size, app: size, edge: size }, subnets: [{ cidr: '10.166.0.0/24', zone: '' }],
    access: { operators: ['10.166.0.1/32'], ssh: [], clients: ['0.0.0.0/0'], peers: [] }, replace: {},
  },
  machines: [{ name: 'edge-1', group: 'edge', index: 0, host: '10.166.0.224', site: 0 }],
  flows: [],
  userData: () => pulumi.secret('#cloud-config'),
});
const server = cloud.servers.get('edge-1');
const authority = new Authority('authority', { platformId: 'shop-blue' });
const ca = { authorityCert: authority.cert, authorityKey: authority.key };
const operator = new Certificate('operator', { ...ca, name: 'operator', hosts: [], days: 730 });
const at = { platformId: 'shop-blue', machine: 'edge-1', agent: '10.166.0.224:7400' };
const { token } = new EnrolmentToken('token', { ...at, generation: 0, authorityCert: authority.cert });
if (${String(w.enrols)})
  new Enrolment('enrolment', {
    ...at, ...ca, hosts: ['10.166.0.224'], serverId: server.serverId, token, operator: operator.tls, days: 730,
    waitMinutes: 0.05, cloud: 'kvm', console: server.console,
  }, { dependsOn: server.ready });
exports.edge = server.serverId;
`;

describe('a machine of libvirt that does not boot, by the real Pulumi', function () {
  this.timeout(SLOW_MS);
  let lab: LibvirtLab | undefined;
  let stack: TestStack | undefined;
  let wanted: Wanted;

  before(async function () {
    const why = whyNoLab();
    if (why !== null) {
      console.log(`        skipped: ${why}`);
      this.skip();
    }
    await ensureTools(['pulumi']);
    lab = await LibvirtLab.start();
    wanted = { uri: lab.uri, image: await lab.image('blank.qcow2', 'qcow2', 64), enrols: false };
    stack = new TestStack(program(wanted));
    await stack.init();
  });

  after(async () => {
    stack?.remove();
    await lab?.destroy();
  });

  async function up(over: Partial<Wanted> = {}): Promise<{ code: number; text: string }> {
    assert.ok(stack !== undefined);
    stack.program(program({ ...wanted, ...over }));
    return stack.up();
  }

  it('is named with its cloud and how to see its console, and a second up goes on', async () => {
    assert.ok(lab !== undefined);
    const { code, text } = await up({ enrols: true });
    assert.notEqual(code, 0);
    assert.match(
      text,
      /\[nxnw:AGENT_UNREACHABLE\] cloud kvm, machine edge-1 of shop-blue: .*`virsh -c '\S+' console shop-blue-edge-1`.* image/,
    );
    const domain = (await lab.virsh('domuuid', 'shop-blue-edge-1')).trim();
    const again = await up();
    assert.equal(again.code, 0, again.text);
    assert.equal((await lab.virsh('domuuid', 'shop-blue-edge-1')).trim(), domain, 'what was made is kept');
  });
});
