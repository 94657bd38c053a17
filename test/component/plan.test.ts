import assert from 'node:assert/strict';
import { machineSpecSchema } from '@nxnw/platform/agent/spec';
import { coordinatorSettingsSchema } from '@nxnw/migration/coordinator/config';
import { endpointsOf, parseJoin } from '@nxnw/migration/coordinator/join';
import { hasCode } from '@nxnw/platform/errors';
import { planJoin } from '@nxnw/components/plan/join';
import { planPlatform } from '@nxnw/components/plan/roles';
import { beforeOf, defaultNetwork } from '@nxnw/components/plan/machines';
import { green, joinBundle, settings } from './fixtures.js';

type Plan = ReturnType<typeof planPlatform>;
type Role = Plan[number]['roles'][number];

function rolesOf<K extends Role['kind']>(plan: Plan, kind: K): Extract<Role, { kind: K }>[] {
  return plan.flatMap((m) => m.roles).filter((r): r is Extract<Role, { kind: K }> => r.kind === kind);
}

describe('the plan of a platform', () => {
  for (const [what, s] of [
    ['the embedded store', settings()],
    [
      'three Cassandra nodes',
      settings({ store: { kind: 'cassandra', nodes: 3, replication: 3 }, locks: { nodes: 3 } }),
    ],
    ['a platform that takes over', green()],
    ['no application', settings({ apps: [] })],
  ] as const)
    it(`gives every machine a valid specification (${what})`, () => {
      for (const m of planPlatform(s)) {
        const parsed = machineSpecSchema.safeParse({ roles: m.roles });
        assert.ok(parsed.success, `${m.name}: ${JSON.stringify(parsed.error?.issues)}`);
      }
    });

  it('lets no two processes listen at the same place', () => {
    const s = settings();
    const two = settings({
      apps: [...s.apps, ...s.apps.map((a) => ({ ...a, id: 'second', domains: ['second.test'] }))],
    });
    const plan = planPlatform(two);
    const places = [
      ...rolesOf(plan, 'datastore').flatMap((d) => [d.peer, ...d.apps.flatMap((a) => a.doors)]),
      ...rolesOf(plan, 'app').flatMap((a) => a.instances),
      ...rolesOf(plan, 'cache').map((c) => ({ host: c.host, port: c.port ?? 0 })),
      ...rolesOf(plan, 'edge').map((e) => e.http),
    ].map((e) => `${e.host}:${String(e.port)}`);
    assert.equal(new Set(places).size, places.length);
  });

  it('spreads instances over the app machines, and the edge knows each', () => {
    const plan = planPlatform(settings());
    assert.deepEqual(
      rolesOf(plan, 'app').map((a) => a.instances.length),
      [2, 1],
    );
    assert.equal(rolesOf(plan, 'edge')[0]?.apps?.[0]?.servers.length, 3);
  });

  it('gives each app machine a door of its own, which leads to every datastore process', () => {
    const plan = planPlatform(settings());
    const doors = rolesOf(plan, 'datastore').flatMap((d) => d.apps.flatMap((a) => a.doors));
    for (const machine of plan.filter((m) => m.group === 'app')) {
      const [relay] = rolesOf([machine], 'relay');
      const [app] = rolesOf([machine], 'app');
      assert.deepEqual(app?.datastore, relay?.listen);
      assert.equal(relay?.listen.host, machine.host);
      assert.deepEqual(new Set(relay?.targets), new Set(doors));
    }
  });

  it('tells only the join port of a data machine of the app machines: their number changes nothing else there', () => {
    const data = (appMachines: number) =>
      planPlatform(settings({ appMachines }))
        .filter((m) => m.group === 'data')
        .map((m) => ({ ...m, roles: m.roles.filter((r) => r.kind !== 'join') }));
    assert.deepEqual(data(2), data(5));
  });

  it('changes the machines of a group one after another, and a quarter of many at a time', () => {
    const waits = (appMachines: number) => {
      const machines = planPlatform(settings({ appMachines }));
      return machines.filter((m) => m.group === 'app').map((m) => beforeOf(machines, m)?.name);
    };
    assert.deepEqual(waits(3), [undefined, 'app-1', 'app-2']);
    assert.deepEqual(waits(8).slice(0, 4), [undefined, undefined, 'app-1', 'app-2']);
  });

  it('keeps the addresses of machines when the platform grows', () => {
    const before = planPlatform(settings()).map((m) => `${m.name} ${m.host}`);
    const grown = planPlatform(settings({ appMachines: 5, edge: { nodes: 2, httpPort: 8080, httpsPort: 8443 } }));
    const after = new Set(grown.map((m) => `${m.name} ${m.host}`));
    assert.ok(before.every((m) => after.has(m)));
  });

  it('starts inherited applications in standby, with their data at the peer and a coordinator', () => {
    const plan = planPlatform(green());
    assert.deepEqual([...new Set(rolesOf(plan, 'app').map((a) => a.serving))], [false]);
    const stores = rolesOf(plan, 'datastore');
    assert.ok(stores.every((d) => d.join?.platformId === 'shop-blue' && d.apps.every((a) => a.origin === 'peer')));
    const config = rolesOf(plan, 'coordinator')[0]?.config;
    const parsed = coordinatorSettingsSchema.safeParse(config);
    assert.ok(parsed.success, JSON.stringify(parsed.error?.issues));
    assert.equal(rolesOf(planPlatform(settings()), 'coordinator').length, 0);
  });

  it('reaches the platform that it takes over from by doors of its own machines, through the join ports alone', () => {
    const source = joinBundle();
    const plan = planPlatform(green({ datastore: { processes: 3 }, store: { kind: 'cassandra', nodes: 3, replication: 1 } })); // prettier-ignore
    const n1 = new Set(endpointsOf(source));
    for (const m of plan) {
      const client = m.roles.find((r) => r.kind === 'join-client');
      assert.equal(client !== undefined, m.group !== 'app', m.name);
      for (const f of client?.forwards ?? []) {
        assert.ok(n1.has(f.to), f.to);
        assert.equal(f.listen.host, m.host);
      }
    }
    const doorsOf = (machine: string) =>
      new Map(
        plan
          .find((m) => m.name === machine)
          ?.roles.flatMap((r) => (r.kind === 'join-client' ? r.forwards.map((f) => [f.to, f.listen] as const) : [])),
      );
    assert.deepEqual(new Set(doorsOf('data-1').keys()), new Set([...n1].filter((e) => !e.endsWith(':8080'))));
    assert.deepEqual([...doorsOf('data-2').keys()], source.datastore.map((d) => d.endpoint)); // prettier-ignore
    const edge = rolesOf(plan, 'edge')[0];
    assert.deepEqual(edge?.peer, [...doorsOf('edge-1').values()]);
    const client = plan.find((m) => m.name === 'edge-1')?.roles.find((r) => r.kind === 'join-client');
    assert.deepEqual(client?.reverse, { target: 'edge-1', to: edge?.http });
    assert.deepEqual(client?.gateways, [{ machine: 'data-1', endpoint: { host: '127.30.9.11', port: 7460 } }]);
    const [store] = rolesOf(plan, 'datastore');
    assert.deepEqual(Object.keys(store?.join?.via ?? {}), source.datastore.map((d) => d.endpoint)); // prettier-ignore
  });

  it('lets another platform in at a configured address, where its machines have none that it reaches', () => {
    const two = { store: { kind: 'cassandra' as const, nodes: 2, replication: 1 } };
    const local = planJoin(settings({ ...two, join: { listen: '192.168.122.1' } }));
    assert.deepEqual(local.gateways.map((g) => [g.machine, g.endpoint]), [['data-1', '192.168.122.1:7460'], ['data-2', '192.168.122.1:7461']]); // prettier-ignore
    const named = planJoin(settings({ ...two, join: { listen: '0.0.0.0', address: 'join.shop.test' } }));
    assert.deepEqual(named.gateways.map((g) => g.endpoint), ['join.shop.test:7460', 'join.shop.test:7461']); // prettier-ignore
    const gateways = planPlatform(settings({ join: { listen: '0.0.0.0' } })).flatMap((m) => m.roles.filter((r) => r.kind === 'join')); // prettier-ignore
    assert.deepEqual(gateways[0]?.listen, { host: '0.0.0.0', port: 7460 });
    assert.equal(planJoin(settings({ join: { listen: '0.0.0.0' } })).gateways[0]?.endpoint, '127.30.9.11:7460');
  });

  it('refuses a join bundle of a release that had no join port', () => {
    const { gateways: _, ...old } = joinBundle();
    assert.throws(
      () => parseJoin(JSON.stringify({ ...old, format: 1 }), Date.now()),
      (e: Error) => hasCode(e, 'BAD_JOIN') && /format.*gateways.*nxnw join/s.test(e.message),
    );
  });

  it('hands out a join bundle that the other side can read', () => {
    const join = parseJoin(JSON.stringify(joinBundle()), Date.now());
    assert.equal(join.apps[0]?.shards, 8);
    assert.deepEqual(join.apps[0]?.roles, [
      { machine: 'app-1', role: 'app-gazetteer' },
      { machine: 'app-2', role: 'app-gazetteer' },
    ]);
    assert.doesNotMatch(JSON.stringify(join), /hunter2/);
  });

  it('spreads platforms without a configured network over 127.64 to 127.223', () => {
    const networks = new Set(Array.from({ length: 200 }, (_, i) => defaultNetwork(`shop-${String(i)}`)));
    assert.ok(networks.size > 190);
    for (const n of networks) {
      const [a, b, c] = n.split('.').map(Number);
      assert.ok(a === 127 && (b ?? 0) >= 64 && (b ?? 999) <= 223 && (c ?? 999) <= 255, n);
    }
  });
});
