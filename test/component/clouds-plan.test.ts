import assert from 'node:assert/strict';
import type { CloudSettings, PlatformSettings, VirtualSettings } from '@nxnw/components';
import { placeOf } from '@nxnw/components/plan/addresses';
import { ipv4, parseCidr } from '@nxnw/components/plan/ranges';
import { planPlatform } from '@nxnw/components/plan/roles';
import { flowsOf } from '@nxnw/components/plan/traffic';
import { NxnwError } from '@nxnw/platform/errors';
import { green, settings } from './fixtures.js';

const virtual = (...cidrs: string[]): VirtualSettings => ({
  subnets: cidrs.map((cidr, i) => ({ cidr, zone: `zone-${i}` })),
  access: { operators: ['203.0.113.0/24'], ssh: [], clients: ['0.0.0.0/0'], peers: [] },
  replace: {},
  diskGiB: 50,
});

const openstack = (...cidrs: string[]): CloudSettings => ({
  kind: 'openstack',
  openstack: {
    ...virtual(...cidrs),
    flavors: { data: 'l', app: 'm', edge: 's' },
    image: 'nxnw',
    keyPair: '',
    externalNetwork: '',
    cloud: '',
  },
});

const NO_NEEDS = { memoryMiB: 0, diskMiB: 0 };
const hosts = (...list: ['data' | 'app' | 'edge', string][]): CloudSettings => ({
  kind: 'hosts',
  hosts: {
    hosts: list.map(([group, address]) => ({ group, address })),
    user: 'root',
    port: 22,
    privateKey: 'KEY',
    directory: '/srv/nxnw',
    needs: { data: NO_NEEDS, app: NO_NEEDS, edge: NO_NEEDS },
  },
});

const place = (cloud: CloudSettings, group: 'data' | 'app' | 'edge', index: number): string => {
  const { host, site } = placeOf(cloud, group, index);
  return `${host} at ${site}`;
};

describe('the places of machines', () => {
  it('follow from group and number alone, and take the subnets in turn', () => {
    const cloud = openstack('10.1.0.0/24', '10.1.1.0/24', '10.1.2.0/24');
    assert.equal(place(cloud, 'data', 0), '10.1.0.16 at 0');
    assert.equal(place(cloud, 'data', 1), '10.1.1.16 at 1');
    assert.equal(place(cloud, 'data', 3), '10.1.0.17 at 0');
    assert.equal(place(cloud, 'app', 2), '10.1.2.96 at 2');
    assert.equal(place(cloud, 'edge', 0), '10.1.0.224 at 0');
  });

  it('never meet, and lie inside their subnet, clear of its first four addresses and its last one', () => {
    for (const bits of [16, 20, 24, 27]) {
      const cloud = openstack(`10.32.0.0/${bits}`);
      const seen = new Set<string>();
      for (const group of ['data', 'app', 'edge'] as const)
        for (let i = 0; ; i++) {
          let host: string;
          try {
            ({ host } = placeOf(cloud, group, i));
          } catch (e) {
            assert.match(String(e), /has no address left/);
            break;
          }
          assert.ok(!seen.has(host), host);
          seen.add(host);
        }
      const { base, size } = parseCidr(`10.32.0.0/${bits}`);
      for (const reserved of [0, 1, 2, 3, size - 1])
        assert.ok(!seen.has(ipv4(base + reserved)), `${reserved} of /${bits}`);
      assert.ok(seen.size >= size * 0.8, `${seen.size} of /${bits}`);
    }
  });

  it('refuse what is no network, and one that is too large or too small', () => {
    for (const bad of ['10.0.0.1/24', '10.0.0.0/8', '10.0.0.0/28', '300.0.0.0/24', 'x', '10.0.0.0'])
      assert.throws(() => parseCidr(bad), /is not the address of an IPv4 network/, bad);
  });

  it('are those of the list where the machines are there already', () => {
    const cloud = hosts(['data', '192.0.2.5'], ['app', '192.0.2.9'], ['data', '192.0.2.7']);
    assert.equal(place(cloud, 'data', 1), '192.0.2.7 at 2');
    assert.equal(place(cloud, 'app', 0), '192.0.2.9 at 1');
    assert.throws(
      () => placeOf(cloud, 'app', 1),
      (e) => e instanceof NxnwError && e.code === 'BAD_CONFIG' && /lists 1 machines of group app/.test(e.message),
    );
  });
});

/** Every place `host:port` that a specification names. */
function* endpoints(value: unknown): Generator<{ host: string; port: number }> {
  if (typeof value === 'string') {
    const [, host, port] = /^(\d+\.\d+\.\d+\.\d+):(\d+)$/.exec(value) ?? [];
    if (host !== undefined && port !== undefined) yield { host, port: Number(port) };
  } else if (Array.isArray(value)) for (const v of value) yield* endpoints(v);
  else if (typeof value === 'object' && value !== null) {
    if ('host' in value && 'port' in value) yield { host: String(value.host), port: Number(value.port) };
    for (const v of Object.values(value)) yield* endpoints(v);
  }
}

describe('the flows between machines', () => {
  const large: Partial<PlatformSettings> = {
    cloud: openstack('10.1.0.0/24', '10.1.1.0/24'),
    store: { kind: 'cassandra', nodes: 3, replication: 3 },
    datastore: { processes: 5 },
    locks: { nodes: 3 },
    appMachines: 4,
    edge: { nodes: 2, httpPort: 80, httpsPort: 443, certificate: { certPem: 'C', keyPem: 'K' } },
  };
  const cases: [string, PlatformSettings][] = [
    ['a platform on lmdb', settings({ cloud: openstack('10.1.0.0/24') })],
    ['a large platform', settings(large)],
    ['a large platform that takes over', green(large)],
  ];
  for (const [name, s] of cases)
    it(`allow everything that the roles of ${name} are told to speak to`, () => {
      const plan = planPlatform(s);
      const flows = flowsOf(s);
      let checked = 0;
      for (const m of plan)
        for (const { host, port } of endpoints(m.roles)) {
          const to = plan.find((o) => o.host === host);
          if (to === undefined || to.name === m.name) continue;
          checked++;
          assert.ok(
            flows.some((f) => f.from === m.group && f.to === to.group && f.first <= port && port <= f.last),
            `${m.name} speaks to ${to.name} at ${port}, which nothing allows`,
          );
        }
      assert.ok(checked > 5, String(checked));
    });

  it('let another platform speak to the join ports only, and these to everything that they let it through to', () => {
    for (const s of [settings(large), settings({ cloud: openstack('10.1.0.0/24') })]) {
      const plan = planPlatform(s);
      const flows = flowsOf(s);
      assert.deepEqual(flows.filter((f) => f.from === 'peers').map((f) => [f.to, f.first, f.last]), [['data', 7460, 7460]]); // prettier-ignore
      const gateways = plan.flatMap((m) => m.roles.flatMap((r) => (r.kind === 'join' ? [{ m, r }] : [])));
      assert.equal(gateways.length, plan.filter((m) => m.group === 'data').length);
      for (const { m, r } of gateways) {
        assert.deepEqual(r.listen, { host: m.host, port: 7460 });
        for (const to of r.allow) {
          const [host, port] = to.split(':');
          const there = plan.find((o) => o.host === host);
          assert.ok(there !== undefined, to);
          const open = flows.some((f) => f.from === 'data' && f.to === there.group && f.first <= Number(port) && Number(port) <= f.last); // prettier-ignore
          assert.ok(open || there.name === m.name, `${m.name} cannot go on to ${to}`);
        }
      }
    }
  });

  it('give clients the edges only, and only the ports that these listen on', () => {
    const open = flowsOf(settings(large)).filter((f) => f.from === 'clients');
    assert.deepEqual(
      open.map((f) => [f.to, f.first, f.last]),
      [
        ['edge', 80, 80],
        ['edge', 443, 443],
      ],
    );
  });

  it('let applications of machines without a common loopback reach the datastore by relays', () => {
    const plan = planPlatform(settings(large));
    const app = plan.find((m) => m.name === 'app-2');
    const relay = app?.roles.find((r) => r.kind === 'relay');
    assert.ok(relay?.kind === 'relay');
    assert.equal(relay.tlsSide, 'targets');
    assert.deepEqual(relay.listen, { host: '127.0.0.1', port: 8500 });
    assert.equal(relay.targets.length, 5);
    for (const t of relay.targets) {
      const inward = plan
        .flatMap((m) => m.roles)
        .find((r) => r.kind === 'relay' && r.listen.host === t.host && r.listen.port === t.port);
      assert.ok(inward?.kind === 'relay' && inward.tlsSide === 'listen', `${t.host}:${t.port}`);
      const doors = plan
        .find((m) => m.host === t.host)
        ?.roles.flatMap((r) => (r.kind === 'datastore' ? r.apps.flatMap((a) => a.doors) : []));
      assert.ok(doors?.some((d) => d.port === inward.targets[0]?.port));
    }
  });
});
