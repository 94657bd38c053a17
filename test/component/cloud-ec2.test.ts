import assert from 'node:assert/strict';
import type { Ec2Settings } from '@nxnw/components/clouds/settings';
import { ec2, eucalyptus, existing, planned, threeZones, type Ec2Plan } from './ec2-plans.js';
import { settings } from './fixtures.js';
import { kindOf, matchesSnapshot, valueOf } from './recorder.js';

/** The configurations of the table; each becomes a plan and a snapshot of it. */
const TABLE: readonly { name: string; kind: 'ec2' | 'eucalyptus'; block: Ec2Settings }[] = [
  { name: 'ec2-one-zone', kind: 'ec2', block: ec2({ image: '' }) },
  { name: 'ec2-three-zones', kind: 'ec2', block: threeZones() },
  { name: 'ec2-existing-network', kind: 'ec2', block: existing() },
  { name: 'ec2-balancer', kind: 'ec2', block: threeZones({ edgeAddress: 'balancer' }) },
  { name: 'ec2-replace', kind: 'ec2', block: threeZones({ replace: { 'data-2': 1, 'edge-1': 4 } }) },
  { name: 'eucalyptus', kind: 'eucalyptus', block: eucalyptus() },
];

const MACHINES = ['app-1', 'app-2', 'data-1', 'data-2', 'data-3', 'edge-1', 'edge-2'];

/** Types that the API gives no tags. */
const UNTAGGED = new Set([
  'aws',
  'RouteTableAssociation',
  'VolumeAttachment',
  'EipAssociation',
  'TargetGroupAttachment',
]);

const text = (v: unknown): string => (typeof v === 'string' ? v : JSON.stringify(v));
const group = (id: unknown) => text(id).replace(/^cloud-(.*)-id$/, '$1');

/** What is open, in one form for both kinds of rules: `edge 80-80 from 0.0.0.0/0 (http)`. */
function openings(plan: Ec2Plan): string[] {
  const groupAt = new Map(plan.ofType('Instance').map((m) => [`${text(m.inputs['privateIp'])}/32`, m.name.split('-')[1]])); // prettier-ignore
  const whole = plan
    .ofType('SecurityGroup')
    .flatMap((g) =>
      ((g.inputs['ingress'] ?? []) as (Record<string, unknown> & { cidrBlocks: string[] })[]).flatMap((i) =>
        i.cidrBlocks.map((from) => ({ ...i, securityGroupId: `${g.name}-id`, cidrIpv4: groupAt.get(from) ?? from })),
      ),
    );
  const single = plan.ofType('SecurityGroupIngressRule').map((r) => r.inputs);
  const shown = [...whole, ...single].map((i: Record<string, unknown>) => {
    assert.equal(i['ipProtocol'] ?? i['protocol'], 'tcp');
    const source = text(i['cidrIpv4'] ?? group(i['referencedSecurityGroupId']));
    return `${group(i['securityGroupId'])} ${text(i['fromPort'])}-${text(i['toPort'])} from ${source} (${text(i['description'])})`;
  });
  return [...new Set(shown)];
}

const OPERATORS = '198.51.100.0/24';
const PEERS = '203.0.113.0/28';
const BETWEEN_MACHINES_AND_OPERATORS = [
  ...['data', 'app', 'edge'].flatMap((g) => [
    `${g} 7400-7400 from ${OPERATORS} (agent)`,
    `${g} 22-22 from 198.51.100.7/32 (ssh)`,
    `${g} 7400-7400 from data (agent)`,
  ]),
  'data 7410-7410 from data (datastore)',
  'data 2181-2181 from data (zookeeper)',
  'data 2181-2181 from app (zookeeper)',
  'data 2888-2888 from data (zookeeper quorum)',
  'data 3888-3888 from data (zookeeper election)',
  'data 9042-9042 from data (cql)',
  'data 7000-7000 from data (cassandra)',
  'data 20000-20063 from app (datastore doors)',
  'app 11211-11211 from app (memcached)',
  'app 11211-11211 from data (memcached)',
  'app 9100-9119 from edge (applications)',
  `data 7460-7460 from ${PEERS} (join)`,
  'data 7472-7475 from edge (join doors)',
  'edge 80-80 from data (http)',
];
const TO_EDGES = ['edge 80-80 from 0.0.0.0/0 (http)', 'edge 443-443 from 0.0.0.0/0 (https)'];
const TO_BALANCER = [
  'balancer 80-80 from 0.0.0.0/0 (http)',
  'balancer 443-443 from 0.0.0.0/0 (https)',
  'edge 80-80 from balancer (http)',
  'edge 443-443 from balancer (https)',
];

describe('the clouds ec2 and eucalyptus', () => {
  const plans = new Map<string, Ec2Plan>();
  const planOf = (name: string): Ec2Plan => {
    const plan = plans.get(name);
    assert.ok(plan !== undefined);
    return plan;
  };

  before(async () => {
    for (const { name, kind, block } of TABLE) plans.set(name, await planned(kind, block));
  });

  for (const { name, kind, block } of TABLE)
    describe(name, () => {
      it('plans what its snapshot shows', () => matchesSnapshot(name, planOf(name).made));

      it('opens exactly the ports of the flows, and to everybody only those of the clients', () => {
        const clients = block.edgeAddress === 'balancer' ? TO_BALANCER : TO_EDGES;
        assert.deepEqual(openings(planOf(name)).sort(), [...BETWEEN_MACHINES_AND_OPERATORS, ...clients].sort());
        // rules stand alone, or all of them inside: one inside a group would open more, or undo the others
        const inside = kind === 'eucalyptus';
        for (const g of planOf(name).ofType('SecurityGroup'))
          for (const side of ['ingress', 'egress']) assert.equal(g.inputs[side] !== undefined, inside, g.name);
        assert.equal(planOf(name).made.some((r) => /Rule$/.test(kindOf(r))), !inside); // prettier-ignore
      });

      it('makes each machine at its address, in its subnet, behind the group that it belongs to', () => {
        const plan = planOf(name);
        const machines = plan.ofType('Instance');
        assert.deepEqual(
          machines.map((m) => m.name.replace('cloud-', '')),
          MACHINES,
        );
        assert.equal(new Set(machines.map((m) => m.inputs['privateIp'])).size, MACHINES.length);
        for (const m of machines) {
          const [g = '', number = ''] = m.name.replace('cloud-', '').split('-');
          const site = (Number(number) - 1) % block.subnets.length;
          const subnet = block.subnets[site]?.id ?? `cloud-subnet-${String(site + 1)}-id`;
          assert.equal(m.inputs['subnetId'], subnet);
          assert.deepEqual(m.inputs['vpcSecurityGroupIds'], [`cloud-${g}-id`]);
          assert.equal(m.inputs['instanceType'], block.instanceTypes[g === 'data' || g === 'app' ? g : 'edge']);
          assert.equal(m.inputs['disableApiStop'], undefined);
          const out = kind === 'eucalyptus' ? `cloud-${g}` : `cloud-${g}-out`;
          assert.ok(m.dependencies.includes(out), 'reaches out when it starts');
          assert.equal(m.dependencies.includes(`cloud-subnet-${String(site + 1)}-routes`), block.vpcId === undefined);
          assert.ok(m.deleteBeforeReplace, 'gives its address free first');
        }
      });

      it('starts machines with their own user data, as a secret', () => {
        for (const m of planOf(name).ofType('Instance')) {
          assert.ok(m.secrets.includes('userDataBase64'));
          const own = m.name.replace('cloud-', '');
          assert.equal(Buffer.from(text(m.inputs['userDataBase64']), 'base64').toString(), `#cloud-config of ${own}\n`);
          assert.equal(m.inputs['userDataReplaceOnChange'], !own.startsWith('data'));
        }
      });

      it('keeps data machines as they are, and protected, unless they are named to be replaced', () => {
        for (const m of planOf(name).ofType('Instance')) {
          const own = m.name.replace('cloud-', '');
          const named = own in block.replace;
          const kept = own.startsWith('data') && !named;
          assert.equal(m.protect, kept, own);
          assert.equal(m.inputs['disableApiTermination'], kept, own);
          if (kept) assert.deepEqual(m.ignoreChanges, ['ami', 'userData', 'userDataBase64']);
          else assert.deepEqual(m.ignoreChanges, block.image === '' && !named ? ['ami'] : [], own);
          assert.deepEqual(m.replaceOnChanges, named ? ['tags'] : []);
        }
      });

      it('gives each data machine a protected disk in its zone that does not hang on the machine', () => {
        const plan = planOf(name);
        const disks = plan.ofType('Volume');
        assert.deepEqual(
          disks.map((d) => d.name),
          ['cloud-data-1-disk', 'cloud-data-2-disk', 'cloud-data-3-disk'],
        );
        for (const [i, disk] of disks.entries()) {
          assert.equal(disk.protect, true);
          assert.equal(disk.retainOnDelete, false);
          assert.equal(disk.inputs['size'], 100);
          const zone = block.subnets[i % block.subnets.length]?.zone;
          assert.equal(disk.inputs['availabilityZone'], zone === '' ? 'eu-central-1x' : zone);
          assert.ok(disk.dependencies.every((d) => !d.startsWith('cloud-data')));
          const attachment = plan.named(`${disk.name}-attachment`).inputs;
          assert.equal(attachment['instanceId'], `cloud-data-${String(i + 1)}-id`);
          assert.equal(attachment['volumeId'], `${disk.name}-id`);
          assert.equal(attachment['deviceName'], '/dev/sdf');
        }
      });

      it('protects what holds data and nothing else', () => {
        const held = planOf(name).made.filter((r) => r.protect);
        assert.ok(
          held.every((r) => (kindOf(r) === 'Instance' && r.name.startsWith('cloud-data')) || kindOf(r) === 'Volume'),
        );
      });

      it('tags everything that can have tags in the same way', () => {
        for (const r of planOf(name).made.filter((m) => m.custom && !UNTAGGED.has(kindOf(m)))) {
          const tags = r.inputs['tags'] as Record<string, string> | undefined;
          assert.equal(tags?.['nxnw:platform'], 'shop-blue', r.name);
          assert.match(tags['Name'] ?? '', /^shop-blue-/);
        }
        for (const own of MACHINES) {
          const wanted = { Name: `shop-blue-${own}`, 'nxnw:platform': 'shop-blue', 'nxnw:machine': own, 'nxnw:group': own.split('-')[0] }; // prettier-ignore
          const belongs = planOf(name).made.filter((r) =>
            [`cloud-${own}`, `cloud-${own}-disk`, `cloud-${own}-address`].includes(r.name),
          );
          for (const r of belongs) {
            const { 'nxnw:replacement': replacement, ...tags } = r.inputs['tags'] as Record<string, string>;
            assert.deepEqual(tags, wanted);
            const number = kindOf(r) === 'Instance' ? block.replace[own] : undefined;
            assert.equal(replacement, number === undefined ? undefined : String(number));
          }
        }
      });

      it('makes everything below the component, with the provider of its settings', () => {
        const plan = planOf(name);
        const component = plan.named('cloud');
        assert.equal(component.type, kind === 'ec2' ? 'nxnw:index:Ec2Cloud' : 'nxnw:index:EucalyptusCloud');
        for (const r of plan.made.filter((x) => x !== component)) {
          assert.equal(r.parent, 'cloud', r.name);
          assert.equal(r.provider, kindOf(r) === 'aws' ? '' : 'cloud-provider', r.name);
        }
        assert.equal(plan.named('cloud-provider').inputs['region'], block.region);
      });

      it('offers a server for each machine that is ready with its disk and its rules', async () => {
        const plan = planOf(name);
        assert.deepEqual([...plan.result.servers.keys()].sort(), MACHINES);
        for (const [own, server] of plan.result.servers) {
          assert.equal(await valueOf(server.serverId), `cloud-${own}-id`);
          const waits = await Promise.all(server.ready.map((r) => valueOf(r.urn)));
          const names = waits.map((urn) => urn.split('::').at(-1) ?? '');
          assert.equal(names.includes(`cloud-${own}-disk-attachment`), own.startsWith('data'));
          const rules = plan.made.filter((r) => /Rule$/.test(kindOf(r)) && r.inputs['securityGroupId'] === `cloud-${own.split('-')[0] ?? ''}-id`); // prettier-ignore
          assert.ok(kind === 'eucalyptus' ? names.includes(`cloud-${own.split('-')[0] ?? ''}`) : rules.length > 3);
          for (const r of rules) assert.ok(names.includes(r.name), `${own} waits for ${r.name}`);
        }
      });
    });

  it('makes nothing of a network that is there', () => {
    const plan = planOf('ec2-existing-network');
    for (const type of ['Vpc', 'Subnet', 'InternetGateway', 'RouteTable', 'RouteTableAssociation'])
      assert.deepEqual(plan.ofType(type), []);
    assert.ok(plan.ofType('SecurityGroup').every((g) => g.inputs['vpcId'] === 'vpc-0abc'));
    assert.ok(plan.ofType('Instance').every((m) => m.inputs['keyName'] === 'operators'));
  });

  it('makes subnets in a VPC that is there, and leaves its routes and addresses to its owner', async () => {
    const plan = await planned('ec2', existing({ subnets: [{ cidr: '172.31.0.0/20', zone: '' }] }));
    const [subnet] = plan.ofType('Subnet');
    assert.equal(subnet?.inputs['vpcId'], 'vpc-0abc');
    assert.equal(subnet.inputs['mapPublicIpOnLaunch'], undefined);
    assert.deepEqual([...plan.ofType('Vpc'), ...plan.ofType('RouteTable')], []);
    assert.equal(plan.named('cloud-data-1-disk').inputs['availabilityZone'], 'zone of cloud-subnet-1');
  });

  it('reaches machines at public addresses in a network of its own, else at private ones', async () => {
    const reach = async (plan: string, machine: string) => {
      const server = planOf(plan).result.servers.get(machine);
      assert.ok(server !== undefined);
      return valueOf(server.reach);
    };
    assert.equal(await reach('ec2-three-zones', 'data-1'), 'public of cloud-data-1');
    assert.equal(await reach('ec2-three-zones', 'edge-1'), 'address of cloud-edge-1-address');
    assert.equal(await reach('ec2-balancer', 'edge-1'), 'public of cloud-edge-1');
    assert.equal(await reach('ec2-existing-network', 'data-1'), '172.31.1.0');
    assert.equal(await reach('ec2-existing-network', 'edge-1'), '172.31.14.0');
    assert.equal(await reach('eucalyptus', 'edge-2'), 'public of cloud-edge-2');
  });

  it('gives clients the addresses of the edges, or of the balancer in each zone', async () => {
    const addresses = (plan: string) => valueOf(planOf(plan).result.edgeAddresses);
    assert.deepEqual(await addresses('ec2-one-zone'), [
      'address of cloud-edge-1-address',
      'address of cloud-edge-2-address',
    ]);
    assert.deepEqual(
      await addresses('ec2-balancer'),
      [1, 2, 3].map((n) => `address of cloud-balancer-address-${String(n)}`),
    );
    assert.deepEqual(await addresses('eucalyptus'), ['public of cloud-edge-1', 'public of cloud-edge-2']);
  });

  it('balances each port of the clients over all edges', () => {
    const plan = planOf('ec2-balancer');
    const [balancer] = plan.ofType('LoadBalancer');
    assert.equal(balancer?.inputs['loadBalancerType'], 'network');
    assert.deepEqual(balancer.inputs['securityGroups'], ['cloud-balancer-id']);
    assert.deepEqual(plan.ofType('Listener').map((l) => [l.inputs['port'], l.inputs['protocol']]), [[80, 'TCP'], [443, 'TCP']]); // prettier-ignore
    const targets = plan.ofType('TargetGroupAttachment').map((a) => `${text(a.inputs['targetId'])}:${text(a.inputs['port'])}`); // prettier-ignore
    assert.deepEqual(targets, [
      'cloud-edge-1-id:80',
      'cloud-edge-2-id:80',
      'cloud-edge-1-id:443',
      'cloud-edge-2-id:443',
    ]);
    assert.deepEqual(plan.ofType('EipAssociation'), []);
  });

  it('asks for the newest Debian 12 only where no image is named', () => {
    const [call] = planOf('ec2-one-zone').calls;
    assert.equal(call?.token, 'aws:ec2/getAmi:getAmi');
    assert.deepEqual(call.inputs['owners'], ['136693071363']);
    assert.ok(
      planOf('ec2-one-zone')
        .ofType('Instance')
        .every((m) => m.inputs['ami'] === 'ami-0debian12'),
    );
    assert.deepEqual(planOf('ec2-three-zones').calls, []);
  });

  it('asks EC2 for session tokens, one hop, encrypted gp3 disks, and a role that may do nothing', () => {
    const plan = planOf('ec2-three-zones');
    for (const m of plan.ofType('Instance')) {
      assert.deepEqual(m.inputs['metadataOptions'], { httpEndpoint: 'enabled', httpTokens: 'required', httpPutResponseHopLimit: 1 }); // prettier-ignore
      const root = m.inputs['rootBlockDevice'] as Record<string, unknown>;
      assert.deepEqual([root['volumeType'], root['encrypted']], ['gp3', true]);
      assert.equal(m.inputs['iamInstanceProfile'], 'cloud-profile');
    }
    assert.ok(plan.ofType('Volume').every((v) => v.inputs['type'] === 'gp3' && v.inputs['encrypted'] === true));
    assert.deepEqual(
      plan.made.filter((r) => /Polic/.test(kindOf(r))),
      [],
    );
    assert.deepEqual(
      Object.keys(plan.named('cloud-role').inputs).filter((k) => /olic/.test(k)),
      ['assumeRolePolicy'],
    );
  });

  it('asks Eucalyptus for nothing that it does not have', () => {
    const plan = planOf('eucalyptus');
    const types = new Set(plan.made.filter((r) => r.custom).map(kindOf));
    const absent = /Rule$|^(Eip|EipAssociation|Role|InstanceProfile|LoadBalancer)$/;
    assert.deepEqual([...types].filter((t) => absent.test(t)), []); // prettier-ignore
    for (const m of plan.ofType('Instance'))
      for (const input of ['metadataOptions', 'rootBlockDevice', 'iamInstanceProfile', 'disableApiStop'])
        assert.equal(m.inputs[input], undefined, input);
    for (const v of plan.ofType('Volume')) assert.deepEqual([v.inputs['type'], v.inputs['encrypted']], [undefined, undefined]); // prettier-ignore
    for (const a of plan.ofType('VolumeAttachment')) assert.equal(a.inputs['stopInstanceBeforeDetaching'], undefined);
    assert.deepEqual(plan.calls, []);
    const provider = plan.named('cloud-provider').inputs;
    for (const flag of [
      'skipCredentialsValidation',
      'skipMetadataApiCheck',
      'skipRequestingAccountId',
      'skipRegionValidation',
    ])
      // prettier-ignore
      assert.equal(provider[flag], 'true', flag);
    assert.deepEqual(JSON.parse(text(provider['endpoints'])), [{ ec2: 'https://ec2.cloud.example.com:8773/' }]);
  });

  it('changes one rule of each kind when an application is added, and replaces none', async () => {
    const [app] = settings().apps;
    assert.ok(app !== undefined);
    const two = await planned('ec2', threeZones(), { over: { apps: [app, { ...app, id: 'notes' }] } });
    const one = planOf('ec2-three-zones');
    assert.deepEqual(
      two.made.map((r) => r.name),
      one.made.map((r) => r.name),
    );
    const changed = two.made.filter((r, i) => JSON.stringify(r.inputs) !== JSON.stringify(one.made[i]?.inputs));
    assert.deepEqual(changed.map((r) => r.name).sort(), [
      'cloud-app-applications-from-edge',
      'cloud-app-memcached-from-app',
      'cloud-app-memcached-from-data',
    ]);
  });

  it('asks for one rule where two speakers come from the same addresses', async () => {
    const access = { ...ec2().access, peers: ec2().access.operators };
    const plan = await planned('ec2', ec2({ access }));
    const agents = openings(plan).filter((o) => o === `data 7400-7400 from ${OPERATORS} (agent)`);
    assert.equal(agents.length, 1);
    assert.equal(new Set(plan.made.map((r) => r.name)).size, plan.made.length);
  });

  it('opens nothing for speakers without an address', async () => {
    const plan = await planned('ec2', ec2({ access: { operators: [], ssh: [], clients: [], peers: [] } }));
    assert.deepEqual(
      openings(plan).filter((o) => o.includes('/')),
      [],
    );
  });

  it('protects nothing where the platform is not protected', async () => {
    const plan = await planned('ec2', ec2(), { protect: false });
    assert.deepEqual(
      plan.made.filter((r) => r.protect || r.inputs['disableApiTermination'] === true),
      [],
    );
    assert.ok(plan.named('cloud-data-1').ignoreChanges.includes('ami'), 'and yet replaces no store for an image');
  });

  it('plans 500 machines', async () => {
    // Pulumi takes a stack trace for each promise, and mapping them to sources takes longer than all the rest
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    const plan = await planned('ec2', threeZones(), { over: { appMachines: 495 } }).finally(() => {
      Error.stackTraceLimit = stackTraceLimit;
    });
    assert.equal(plan.ofType('Instance').length, 500);
    assert.equal(plan.ofType('SecurityGroupIngressRule').length, planOf('ec2-three-zones').ofType('SecurityGroupIngressRule').length); // prettier-ignore
  });
});
