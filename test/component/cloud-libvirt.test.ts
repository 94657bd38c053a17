import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import { LibvirtCloud, type LibvirtCloudArgs } from '@nxnw/components/clouds/libvirt';
import { ranges } from '@nxnw/components/clouds/libvirt-plan';
import type { LibvirtSettings } from '@nxnw/components/clouds/settings';
import { machinesOf } from '@nxnw/components/plan/machines';
import { flowsOf } from '@nxnw/components/plan/traffic';
import { filterXml, type FilterRule } from '@nxnw/migration/resources/engines/libvirt/filter-xml';
import { hasCode } from '@nxnw/platform/errors';
import { repoRoot } from '@nxnw/tools';
import { settings } from './fixtures.js';

const SNAPSHOTS = join(repoRoot, 'test', 'component', 'snapshots');
/** The mark of a secret in inputs as the engine receives them. */
const SECRET = '4dabf18193072939515e22adb298388d';
const DYNAMIC = 'pulumi-nodejs:dynamic/nxnw:';

interface Made {
  readonly kind: string;
  readonly name: string;
  readonly inputs: Record<string, unknown>;
}
interface Options {
  readonly protect: boolean;
  readonly keeps: readonly string[];
  readonly after: readonly string[];
}

let made: Made[] = [];
let options = new Map<string, Options>();
let names = new Map<pulumi.Resource, string>();

const record: pulumi.ResourceTransformation = (a) => {
  names.set(a.resource, a.name);
  const { protect, dependsOn, ignoreChanges } = a.opts as pulumi.CustomResourceOptions;
  const after = Array.isArray(dependsOn) ? dependsOn.map((d) => names.get(d as pulumi.Resource) ?? '?') : [];
  options.set(a.name, { protect: protect === true, keeps: ignoreChanges ?? [], after });
  return undefined;
};

const LIBVIRT: LibvirtSettings = {
  hosts: ['qemu:///system'],
  image: '/var/lib/libvirt/images/nxnw.qcow2',
  sizes: {
    data: { vcpus: 4, memoryMiB: 4096 },
    app: { vcpus: 2, memoryMiB: 2048 },
    edge: { vcpus: 1, memoryMiB: 512 },
  },
  pool: 'default',
  sshKey: '',
  subnets: [{ cidr: '10.77.0.0/24', zone: '' }],
  access: { operators: ['10.0.0.0/24'], ssh: [], clients: ['0.0.0.0/0'], peers: ['10.78.0.0/24'] },
  replace: {},
  diskGiB: 20,
};

/** A platform of `data` data machines on these hosts, with what the mocks saw of it. */
async function cloud(kind: 'kvm' | 'xen', over: Partial<LibvirtSettings> = {}, data = 1, protect = true) {
  const block = { ...LIBVIRT, ...over };
  const s = settings({
    cloud: { kind, [kind]: block },
    store: { kind: data === 1 ? 'lmdb' : 'cassandra', nodes: data, replication: 1 },
  });
  const args: LibvirtCloudArgs = {
    kind,
    platformId: s.platformId,
    settings: block,
    machines: machinesOf(s),
    flows: flowsOf(s),
    protect,
    userData: (m) => pulumi.secret(`#cloud-config for ${m.name}`),
    enrolment: (m) => pulumi.secret(`enrolment of ${m.name}`),
  };
  const made = new LibvirtCloud('shop', args, { transformations: [record] });
  for (const server of made.servers.values()) await new Promise((ok) => server.serverId.apply(ok));
  return made;
}

const ofKind = (kind: string) => made.filter((m) => m.kind === kind).sort((a, b) => (a.name < b.name ? -1 : 1));
const inputsOf = (name: string) => made.find((m) => m.name === name)?.inputs ?? {};
const isSecret = (v: unknown) => typeof v === 'object' && v !== null && SECRET in v;

/** Everything that was planned, for a person to read. */
function planned(): string {
  const value = (v: unknown) => JSON.stringify(v, (_k, x: unknown) => (isSecret(x) ? '[secret]' : x));
  return [...made]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ kind, name, inputs }) => {
      const o = options.get(name);
      const inputLines = Object.entries(inputs)
        .filter(([k]) => k !== '__provider' && k !== 'logUrn')
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .flatMap(
          ([k, v]) =>
          k === 'rules' ? [`  ${k}:`, ...(v as FilterRule[]).map((r) => `    ${r.source} -> ${String(r.first)}-${String(r.last)} ${r.what}`)] : [`  ${k}: ${value(v)}`], // prettier-ignore
        );
      const head = `${kind} ${name}${o?.protect === true ? ' [protected]' : ''}`;
      const keeps = (o?.keeps.length ?? 0) === 0 ? [] : [`  [keeps ${o?.keeps.join(', ') ?? ''}]`];
      const after = (o?.after.length ?? 0) === 0 ? [] : [`  [after ${o?.after.join(', ') ?? ''}]`];
      return [head, ...keeps, ...after, ...inputLines].join('\n');
    })
    .join('\n\n')
    .concat('\n');
}

function sameAsSnapshot(name: string): void {
  const path = join(SNAPSHOTS, `${name}.txt`);
  if (process.env['NXNW_UPDATE_SNAPSHOTS'] === '1') {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, planned());
  }
  assert.equal(planned(), readFileSync(path, 'utf8'), `set NXNW_UPDATE_SNAPSHOTS=1 if ${name}.txt should change`);
}

describe('a platform on hosts with libvirt', () => {
  // Here and not at the file's top: other files of this process have mocks of their own.
  before(async () => {
    await pulumi.runtime.setMocks({
      call: () => ({}),
      newResource: (a) => {
        if (a.type.startsWith(DYNAMIC)) made.push({ kind: a.type.slice(DYNAMIC.length), name: a.name, inputs: a.inputs as Record<string, unknown> }); // prettier-ignore
        return { id: `${a.name}-id`, state: { ...a.inputs, uuid: `uuid of ${a.name}` } };
      },
    });
  });

  beforeEach(() => {
    made = [];
    options = new Map();
    names = new Map();
  });

  it('is planned as its snapshot says: one host with KVM', async () => {
    await cloud('kvm');
    sameAsSnapshot('libvirt-kvm');
  });

  it('is planned as its snapshot says: two hosts with Xen, a kernel of theirs', async () => {
    const boot = { kernel: '/boot/vmlinuz', initrd: '/boot/initrd.img', cmdline: 'root=/dev/xvda ro' };
    const subnets = ['10.77.0.0/24', '10.77.1.0/24'].map((cidr) => ({ cidr, zone: '' }));
    await cloud('xen', { hosts: ['xen+ssh://root@x1/system', 'xen+ssh://root@x2/system'], subnets, boot }, 2);
    sameAsSnapshot('libvirt-xen-two-hosts');
  });

  it('has a domain for each machine, its servers, and the addresses of its edges', async () => {
    const c = await cloud('kvm');
    assert.deepEqual([...c.servers.keys()], ['data-1', 'app-1', 'app-2', 'edge-1']);
    assert.equal(ofKind('LibvirtDomain').length, 4);
    assert.deepEqual(await new Promise((ok) => c.edgeAddresses.apply(ok)), ['10.77.0.224']);
    const server = c.servers.get('data-1');
    assert.ok(server !== undefined);
    assert.equal(await new Promise((ok) => server.serverId.apply(ok)), 'uuid of shop-data-1');
    assert.equal(await new Promise((ok) => server.reach.apply(ok)), '10.77.0.16');
    assert.equal(server.ready.length, 1);
  });

  it('keeps user data secret', async () => {
    await cloud('kvm');
    for (const d of ofKind('LibvirtDomain')) assert.ok(isSecret(d.inputs['userData']), d.name);
  });

  it('places the machines of each group over the hosts in turn, each with a network and filters for whom it has', async () => {
    const hosts = ['qemu+ssh://h1/system', 'qemu+ssh://h2/system', 'qemu+ssh://h3/system'];
    const subnets = [1, 2, 3].map((n) => ({ cidr: `10.77.${String(n)}.0/24`, zone: '' }));
    await cloud('kvm', { hosts, subnets }, 4);
    const at = (m: string) => hosts.indexOf(String(inputsOf(`shop-${m}`)['uri']));
    assert.deepEqual(
      ['data-1', 'data-2', 'data-3', 'data-4', 'app-1', 'app-2', 'edge-1'].map(at),
      [0, 1, 2, 0, 0, 1, 0],
    );
    assert.equal(inputsOf('shop-data-2-disk')['uri'], hosts[1]);
    assert.deepEqual(ofKind('LibvirtNetwork').map((n) => [n.inputs['uri'], n.inputs['forward'], n.inputs['subnets']]), hosts.map((h, i) => [h, 'route', [{ gateway: `10.77.${String(i + 1)}.1`, prefix: 24 }]])); // prettier-ignore
    assert.deepEqual(
      ofKind('LibvirtFilter').map((f) => f.name),
      ['1-app', '1-data', '1-edge', '2-app', '2-data', '3-data'].map((f) => `shop-filter-${f}`),
    );
  });

  it('protects data machines and disks, and keeps what they were made with, unless they may be replaced', async () => {
    await cloud('kvm', { replace: { 'data-2': 3 } }, 2);
    assert.deepEqual(options.get('shop-data-1')?.keeps, ['image', 'boot', 'userData', 'sshKey']);
    assert.equal(options.get('shop-data-1')?.protect, true);
    assert.deepEqual([options.get('shop-data-2')?.keeps, options.get('shop-data-2')?.protect], [[], false]);
    assert.equal(inputsOf('shop-data-2')['generation'], 3);
    for (const disk of ['shop-data-1-disk', 'shop-data-2-disk']) assert.equal(options.get(disk)?.protect, true);
    assert.deepEqual([options.get('shop-app-1')?.keeps, options.get('shop-app-1')?.protect], [[], false]);
  });

  it('protects nothing where it was told so', async () => {
    await cloud('kvm', {}, 1, false);
    assert.ok([...options.values()].every((o) => !o.protect));
  });

  it('uses a network that is there, and makes none', async () => {
    await cloud('kvm', { network: 'br-fleet', hosts: ['qemu+ssh://h1/system', 'qemu+ssh://h2/system'] });
    assert.equal(ofKind('LibvirtNetwork').length, 0);
    assert.ok(ofKind('LibvirtDomain').every((d) => d.inputs['network'] === 'br-fleet'));
  });

  it('opens no port but those of the flows, and the edges alone to everybody', async () => {
    await cloud('kvm');
    const open = ofKind('LibvirtFilter').flatMap((f) => {
      const rules = f.inputs['rules'] as FilterRule[];
      assert.ok(filterXml(f.name, rules).children.length > rules.length);
      return rules.filter((r) => r.source === '0.0.0.0/0').map((r) => `${f.name} ${String(r.first)}-${String(r.last)}`);
    });
    assert.deepEqual(open, ['shop-filter-1-edge 8080-8080']);
    const ssh = ofKind('LibvirtFilter').flatMap((f) => (f.inputs['rules'] as FilterRule[]).filter((r) => r.first === 22)); // prettier-ignore
    assert.deepEqual(ssh, []);
  });

  it('refuses hosts that do not fit, with every fault', async () => {
    const subnets = LIBVIRT.subnets;
    await assert.rejects(cloud('xen', { hosts: ['qemu:///system', 'lxc:///', 'qemu:///system'], subnets }), (e) => {
      assert.ok(hasCode(e, 'BAD_CONFIG'), String(e));
      assert.match(e.message, /xen\.hosts\[0\]: .*begins with xen/);
      assert.match(e.message, /xen\.hosts\[1\]: .*allowed/);
      assert.match(e.message, /xen\.hosts\[2\]: .*twice/);
      assert.match(e.message, /one subnet for each host \(given: 1\)/);
      return true;
    });
    assert.equal(made.length, 0);
  });

  it('writes addresses that follow each other as one range', () => {
    assert.deepEqual(ranges(['10.0.0.18', '10.0.0.16', '10.0.0.17', '10.0.1.0', '10.0.0.255', '9.0.0.1', '9.0.0.1']), [
      '9.0.0.1',
      '10.0.0.16-10.0.0.18',
      '10.0.0.255-10.0.1.0',
    ]);
  });
});
