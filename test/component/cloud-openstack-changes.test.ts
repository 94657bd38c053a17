import assert from 'node:assert/strict';
import { poolOf } from '@nxnw/components/clouds/openstack-network';
import { placeOf } from '@nxnw/components/plan/addresses';
import { settings } from './fixtures.js';
import { mockOpenstack, of, one, opened, openstack, plan, textOf } from './recorder-openstack.js';

const cassandra = { kind: 'cassandra', nodes: 3, replication: 3 } as const;

/** Lines of the first that the second has not. */
function without(a: string, b: string): string[] {
  const known = new Set(b.split('\n'));
  return a.split('\n').filter((line) => !known.has(line));
}

describe('a platform in openstack that changes', () => {
  before(mockOpenstack);

  it('changes nothing but the ranges of ports when an application is added', async () => {
    const [app] = settings().apps;
    assert.ok(app !== undefined);
    const few = await plan({});
    const more = await plan({ platform: { apps: [app, { ...app, id: 'orders', domains: ['orders.test'] }] } });
    assert.deepEqual(
      more.resources.map((r) => r.name),
      few.resources.map((r) => r.name),
    );
    const changed = without(textOf(more), textOf(few)).map((line) => line.split(' ')[1]);
    assert.deepEqual(changed, [
      'cloud-allow-app-9100-from-edge',
      'cloud-allow-app-11211-from-app',
      'cloud-allow-app-11211-from-data',
    ]);
  });

  it('only adds when a platform grows', async () => {
    // as many datastore processes on each machine as before
    const three = { store: cassandra, locks: { nodes: 3 }, datastore: { processes: 6 } };
    const few = textOf(await plan({ platform: { store: { kind: 'cassandra', nodes: 1, replication: 1 } } }));
    const more = textOf(await plan({ platform: { ...three, appMachines: 12, edge: { nodes: 2, httpPort: 8080, httpsPort: 8443 } } })); // prettier-ignore
    assert.deepEqual(without(few, more), []);
    const added = without(more, few).map((line) => line.split(' ')[1]);
    assert.ok(added.includes('cloud-data-3') && added.includes('cloud-app-12') && added.includes('cloud-apart-app-2'));
  });

  it('changes nothing but the images of machines when the image changes', async () => {
    const was = await plan({ platform: { store: cassandra, locks: { nodes: 3 } } });
    const is = await plan({ platform: { store: cassandra, locks: { nodes: 3 } }, cloud: { image: 'nxnw-0.2.0' } });
    const changed = without(textOf(is), textOf(was)).map((line) => line.split(' ')[1] ?? '');
    assert.deepEqual(changed, was.machines.map((m) => `cloud-${m.name}`).sort());
    const kept = changed.filter((name) => one(is, name).ignoreChanges.includes('imageId'));
    assert.deepEqual(kept, ['cloud-data-1', 'cloud-data-2', 'cloud-data-3']);
  });

  it('makes one rule where two speakers share a network, since Neutron refuses a second', async () => {
    const p = await plan({ cloud: { access: { operators: ['10.0.0.0/8'], ssh: [], clients: ['10.0.0.0/8'], peers: ['10.0.0.0/8'] } } }); // prettier-ignore
    const rules = opened(p);
    assert.deepEqual(rules, [...new Set(rules)]);
    assert.ok(rules.includes('cloud-group-edge-id tcp 7400-7400 from 10.0.0.0/8'));
    assert.ok(rules.includes('cloud-group-edge-id tcp 8080-8080 from 10.0.0.0/8'));
  });

  it("keeps Neutron's own addresses of a subnet apart from every machine's", () => {
    for (const bits of [16, 20, 24, 26]) {
      const cidr = `10.48.0.0/${String(bits)}`;
      const block = openstack({ subnets: [{ cidr, zone: '' }] });
      const number = (host: string) => host.split('.').reduce((n, part) => n * 256 + Number(part), 0);
      const pool = poolOf(cidr);
      const { host } = placeOf({ kind: 'openstack', openstack: block }, 'data', 0);
      assert.equal(number(pool.last) + 1, number(host), cidr);
      assert.ok(number(pool.gateway) < number(pool.first) && number(pool.first) < number(pool.last), cidr);
    }
  });

  it('plans 500 machines, with the app and edge groups within the quota of a server group', async function () {
    this.timeout(120_000);
    const p = await plan({
      cloud: { subnets: [{ cidr: '10.64.0.0/20', zone: 'a' }, { cidr: '10.64.16.0/20', zone: 'b' }] },
      platform: { store: { ...cassandra, nodes: 60 }, appMachines: 420, edge: { nodes: 20, httpPort: 80, httpsPort: 443 } },
    }); // prettier-ignore
    assert.equal(p.machines.length, 500);
    assert.equal(of(p, 'Instance').length, 500);
    assert.equal(of(p, 'Volume').length, 60);
    assert.equal(of(p, 'FloatingIp').length, 20);
    assert.equal(new Set(of(p, 'Port').map((r) => JSON.stringify(r.inputs['fixedIps']))).size, 500);
    const members = new Map<string, number>();
    for (const r of of(p, 'Instance')) {
      const group = JSON.stringify(r.inputs['schedulerHints']);
      members.set(group, (members.get(group) ?? 0) + 1);
    }
    const sizes = [...members].filter(([group]) => !group.includes('data')).map(([, n]) => n);
    assert.equal(sizes.length, 44);
    assert.ok(Math.max(...sizes) <= 10);
    assert.equal(p.calls.length, 2, 'a look-up is made once, not for each machine');
  });
});
