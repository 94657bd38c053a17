import assert from 'node:assert/strict';
import { machineSpecSchema } from '@nxnw/platform/agent/spec';
import { coordinatorSettingsSchema } from '@nxnw/migration/coordinator/config';
import { parseJoin } from '@nxnw/migration/coordinator/join';
import { planPlatform } from '@nxnw/components/plan/roles';
import { defaultNetwork } from '@nxnw/components/plan/machines';
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

  it('gives each app machine a door of its own on its own address', () => {
    const plan = planPlatform(settings());
    for (const app of rolesOf(plan, 'app')) {
      const door = app.datastore;
      assert.ok(door !== undefined);
      const openedBy = rolesOf(plan, 'datastore').filter((d) =>
        d.apps.some((a) => a.doors.some((o) => o.host === door.host && o.port === door.port)),
      );
      assert.equal(openedBy.length, 1);
      assert.equal(door.host, app.instances[0]?.host);
    }
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
