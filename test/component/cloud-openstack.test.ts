import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isSecret, mockOpenstack, of, one, opened, openstack, plan, promiseOf, textOf, type Plan, type Wanted } from './recorder-openstack.js'; // prettier-ignore

const SNAPSHOTS = join(__dirname, '..', '..', 'component', 'snapshots');
const NETWORK_ID = '6f1c2f0e-6f57-4f0b-9d57-3d1a1a0f5a01';
const IMAGE_ID = '0a1b2c3d-0000-4000-8000-00000000abcd';
const certificate = { certPem: 'CERT', keyPem: 'KEY' };
const cassandra = { kind: 'cassandra', nodes: 3, replication: 3 } as const;

const TABLE: Readonly<Record<string, Wanted>> = {
  'made-network': {},
  'existing-network': {
    cloud: {
      networkId: NETWORK_ID,
      image: IMAGE_ID,
      keyPair: '',
      cloud: 'mycloud',
      subnets: [{ cidr: '10.41.0.0/25', zone: '', id: 'subnet-of-others' }],
    },
  },
  'three-zones': {
    cloud: {
      subnets: ['a', 'b', 'c'].map((zone, i) => ({ cidr: `10.42.${String(i)}.0/24`, zone })),
      access: { operators: ['192.0.2.0/24', '198.51.100.7/32'], ssh: ['192.0.2.0/24'], clients: ['0.0.0.0/0'], peers: ['203.0.113.0/24'] }, // prettier-ignore
    },
    platform: {
      store: cassandra,
      locks: { nodes: 3 },
      appMachines: 4,
      edge: { nodes: 3, httpPort: 80, httpsPort: 443, certificate },
    },
  },
  'no-external-network': {
    cloud: { externalNetwork: '', access: { operators: ['10.0.0.0/8'], ssh: [], clients: ['10.0.0.0/8'], peers: [] } },
    protect: false,
  },
  replace: { cloud: { replace: { 'data-2': 1, 'app-1': 3 } }, platform: { store: cassandra, locks: { nodes: 3 } } },
};

function wantedOpenings(p: Plan, access: Readonly<Record<string, readonly string[]>>): string[] {
  const all = p.flows.flatMap(({ from, to, first, last }) =>
    (access[from] ?? [`cloud-group-${from}-id`]).map(
      (remote) => `cloud-group-${to}-id tcp ${String(first)}-${String(last)} from ${remote}`,
    ),
  );
  return [...new Set(all)].sort();
}

function compare(name: string, text: string): void {
  const file = join(SNAPSHOTS, `openstack-${name}.txt`);
  if (process.env['NXNW_UPDATE_SNAPSHOTS'] === '1') writeFileSync(file, text);
  assert.ok(existsSync(file), `${file} is missing; write it with NXNW_UPDATE_SNAPSHOTS=1`);
  assert.equal(text, readFileSync(file, 'utf8'));
}

describe('the cloud openstack', () => {
  before(mockOpenstack);

  for (const [name, wanted] of Object.entries(TABLE))
    describe(name, () => {
      const block = openstack(wanted.cloud);
      const { replace, externalNetwork } = block;
      let p: Plan;
      before(async () => {
        p = await plan(wanted);
      });
      const isKept = (machine: string) => machine.startsWith('data-') && !(machine in replace);

      it('plans what its snapshot shows', () => {
        compare(name, textOf(p));
      });

      it('opens what the flows ask for, and nothing else', () => {
        assert.deepEqual(opened(p), wantedOpenings(p, { ...block.access }));
        for (const rule of of(p, 'SecGroupRule')) assert.equal(rule.inputs['ethertype'], 'IPv4');
      });

      it('opens nothing to the internet but the edges to their clients', () => {
        const open = of(p, 'SecGroupRule').filter(
          (r) => r.inputs['direction'] === 'ingress' && r.inputs['remoteGroupId'] === undefined && String(r.inputs['remoteIpPrefix'] ?? '/0').endsWith('/0'), // prettier-ignore
        );
        const ports = p.flows.filter((f) => f.from === 'clients').map((f) => f.first);
        assert.deepEqual(
          open.map((r) => [r.inputs['securityGroupId'], r.inputs['portRangeMin']]).sort(),
          block.access.clients.includes('0.0.0.0/0') ? ports.map((port) => ['cloud-group-edge-id', port]).sort() : [],
        );
      });

      it('takes the rules of new groups away and lets machines out by its own', () => {
        const out = of(p, 'SecGroupRule').filter((r) => r.inputs['direction'] === 'egress');
        assert.equal(of(p, 'SecGroup').length, 3);
        for (const group of of(p, 'SecGroup')) {
          assert.equal(group.inputs['deleteDefaultRules'], true);
          const [rule, ...more] = out.filter((r) => r.inputs['securityGroupId'] === `${group.name}-id`);
          assert.ok(rule !== undefined && more.length === 0);
          for (const limit of ['protocol', 'portRangeMin', 'portRangeMax', 'remoteIpPrefix', 'remoteGroupId'])
            assert.equal(rule.inputs[limit], undefined, limit);
        }
      });

      it('gives each machine a port with its address and the group of its kind alone', () => {
        assert.equal(of(p, 'Port').length, p.machines.length);
        for (const m of p.machines) {
          const { inputs } = one(p, `cloud-port-${m.name}`);
          const subnet = block.subnets[m.site];
          const subnetId = subnet?.id ?? `cloud-subnet-${subnet?.cidr ?? ''}-id`;
          assert.deepEqual(inputs['fixedIps'], [{ ipAddress: m.host, subnetId }]);
          assert.deepEqual(inputs['securityGroupIds'], [`cloud-group-${m.group}-id`]);
          assert.equal(inputs['networkId'], block.networkId ?? 'cloud-network-id');
          assert.notEqual(inputs['noSecurityGroups'], true);
          assert.notEqual(inputs['portSecurityEnabled'], false);
        }
      });

      it('starts each machine on its port, with its marks, its zone and user data that stays secret', () => {
        assert.equal(of(p, 'Instance').length, p.machines.length);
        for (const m of p.machines) {
          const { inputs, secretOutputs } = one(p, `cloud-${m.name}`);
          const marks = { nxnw_platform: 'shop-blue', nxnw_machine: m.name, nxnw_group: m.group };
          const times = replace[m.name];
          const replaced = times === undefined ? {} : { nxnw_replacement: String(times) };
          assert.equal(inputs['name'], `shop-blue-${m.name}`);
          assert.deepEqual(inputs['networks'], [{ port: `cloud-port-${m.name}-id` }]);
          assert.deepEqual(inputs['metadata'], { ...marks, ...replaced });
          assert.deepEqual(inputs['tags'], Object.entries(marks).map(([k, v]) => `${k}=${v}`)); // prettier-ignore
          assert.equal(inputs['configDrive'], true);
          assert.equal(inputs['flavorName'], block.flavors[m.group]);
          assert.equal(inputs['imageId'], block.image === IMAGE_ID ? IMAGE_ID : 'id-of-nxnw-0.1.0');
          assert.equal(inputs['keyPair'], block.keyPair === '' ? undefined : block.keyPair);
          assert.equal(inputs['availabilityZone'] ?? '', block.subnets[m.site]?.zone);
          assert.ok(isSecret(inputs['userData']));
          assert.ok(secretOutputs.includes('userData'));
        }
      });

      it('keeps data machines and disks as they are, but for the machines to be replaced', () => {
        const held = p.resources.filter((r) => r.protect).map((r) => r.name);
        const data = p.machines.filter((m) => m.group === 'data').map((m) => m.name);
        const disks = data.map((m) => `cloud-disk-${m}`);
        const machines = data.filter(isKept).map((m) => `cloud-${m}`);
        assert.deepEqual(held.sort(), wanted.protect === false ? [] : [...disks, ...machines].sort());
        for (const { name: machine } of p.machines) {
          const { ignoreChanges, replaceOnChanges, deleteBeforeReplace } = one(p, `cloud-${machine}`);
          const onChange = ['imageId', 'imageName', ...(machine in replace ? ['metadata.nxnw_replacement'] : [])];
          assert.deepEqual(ignoreChanges, isKept(machine) ? ['imageId', 'imageName', 'userData'] : []);
          assert.deepEqual(replaceOnChanges, isKept(machine) ? [] : onChange);
          assert.equal(deleteBeforeReplace, true, 'two machines cannot have one port');
        }
      });

      it('gives each data machine a disk that does not know which machine has it', () => {
        const data = p.machines.filter((m) => m.group === 'data');
        assert.equal(of(p, 'Volume').length, data.length);
        assert.equal(of(p, 'VolumeAttach').length, data.length);
        for (const m of data) {
          const disk = one(p, `cloud-disk-${m.name}`);
          assert.equal(disk.inputs['size'], 20);
          assert.equal(disk.inputs['enableOnlineResize'], true);
          assert.doesNotMatch(JSON.stringify(disk.inputs), /-id"/);
          assert.deepEqual(disk.dependsOn, []);
          assert.equal(disk.inputs['availabilityZone'] ?? '', block.subnets[m.site]?.zone);
          const { inputs, deletedWith, deleteBeforeReplace, protect } = one(p, `cloud-attach-${m.name}`);
          assert.deepEqual(inputs, { instanceId: `cloud-${m.name}-id`, volumeId: `cloud-disk-${m.name}-id` });
          assert.equal(deletedWith, `cloud-${m.name}`);
          assert.ok(deleteBeforeReplace && !protect);
        }
      });

      it('makes a network only where none is given', () => {
        const made = ['Network', 'Subnet', 'Router', 'RouterInterface'].map((kind) => of(p, kind).length);
        const n = block.subnets.length;
        assert.deepEqual(made, block.networkId === undefined ? [1, n, 1, n] : [0, 0, 0, 0]);
        for (const router of of(p, 'Router'))
          assert.equal(router.inputs['externalNetworkId'], externalNetwork === '' ? undefined : 'id-of-public');
        assert.deepEqual(
          of(p, 'RouterInterface').map((r) => r.inputs['subnetId']),
          of(p, 'Subnet').map((r) => `${r.name}-id`),
        );
      });

      it('asks the cloud only for ids of names', () => {
        const image = block.image === IMAGE_ID ? [] : ['images/getImage {"name":"nxnw-0.1.0","mostRecent":true}'];
        const outer = block.networkId !== undefined || externalNetwork === '' ? [] : ['networking/getNetwork {"name":"public","external":true}']; // prettier-ignore
        const keys = (call: string) => call.split(/[{,}]/).sort().join();
        assert.deepEqual(p.calls.map(keys).sort(), [...image, ...outer].map(keys).sort());
      });

      it('gives floating addresses to the edges alone, and those that there are as outputs', async () => {
        const edges = p.machines.filter((m) => m.group === 'edge');
        const floating = externalNetwork !== '';
        assert.deepEqual(
          of(p, 'FloatingIp').map((r) => [r.inputs['portId'], r.inputs['pool']]),
          floating ? edges.map((m) => [`cloud-port-${m.name}-id`, 'public']) : [],
        );
        const addresses = edges.map((m) => (floating ? `198.51.100.${String(m.index + 1)}` : m.host));
        assert.deepEqual(await promiseOf(p.cloud.edgeAddresses), addresses);
        for (const m of p.machines) {
          const server = p.cloud.servers.get(m.name);
          assert.ok(server !== undefined);
          assert.equal(await promiseOf(server.serverId), `cloud-${m.name}-id`);
          assert.equal(await promiseOf(server.reach), m.group === 'edge' ? addresses[m.index] : m.host);
        }
        assert.equal(p.cloud.servers.size, p.machines.length);
      });

      it('orders what depends on each other', () => {
        for (const m of p.machines) {
          const routed = block.networkId === undefined ? [`cloud-route-${block.subnets[m.site]?.cidr ?? ''}`] : [];
          const disk = m.group === 'data' ? [`cloud-disk-${m.name}`] : [];
          assert.deepEqual(one(p, `cloud-${m.name}`).dependsOn, [`cloud-out-${m.group}`, ...routed, ...disk]);
          if (m.group === 'edge' && externalNetwork !== '')
            assert.deepEqual(one(p, `cloud-address-${m.name}`).dependsOn, routed);
          const rules = of(p, 'SecGroupRule').filter(
            (r) => r.inputs['securityGroupId'] === `cloud-group-${m.group}-id`,
          );
          const attached = m.group === 'data' ? [`cloud-attach-${m.name}`] : [];
          assert.deepEqual(
            p.cloud.servers.get(m.name)?.ready.map((r) => p.nameOf(r)).sort(),
            [...attached, ...rules.map((r) => r.name), ...routed].sort(),
          ); // prettier-ignore
        }
      });

      it('keeps the machines of a group apart, by a policy that no growth changes', () => {
        const groups = of(p, 'ServerGroup').map((r) => [r.name, r.inputs['policies']]);
        assert.deepEqual(groups, [
          ['cloud-apart-app-1', ['soft-anti-affinity']],
          ['cloud-apart-data', ['anti-affinity']],
          ['cloud-apart-edge-1', ['soft-anti-affinity']],
        ]);
        for (const m of p.machines) {
          const group = m.group === 'data' ? 'data' : `${m.group}-1`;
          assert.deepEqual(one(p, `cloud-${m.name}`).inputs['schedulerHints'], [{ group: `cloud-apart-${group}-id` }]);
        }
      });

      it('marks the parts of the network, and asks one provider for everything', () => {
        for (const kind of ['Network', 'Subnet', 'Router', 'SecGroup', 'Port', 'FloatingIp'])
          for (const r of of(p, kind)) assert.deepEqual(r.inputs['tags'], ['nxnw_platform=shop-blue'], r.name);
        const providers = p.resources.filter((r) => r.type.startsWith('pulumi:providers'));
        assert.deepEqual(
          providers.map((r) => r.inputs['cloud']),
          block.cloud === '' ? [] : [block.cloud],
        );
        for (const r of p.resources)
          if (!providers.includes(r)) assert.equal(r.provider, block.cloud === '' ? '' : 'cloud-provider', r.name);
      });
    });
});
