import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { hasCode } from '@nxnw/platform/errors';
import { parseConfig } from '@nxnw/stacks/config/parse';
import { configSchema } from '@nxnw/stacks/config/schema';
import { jsonSchema } from '@nxnw/stacks/config/json-schema';
import { nearest } from '@nxnw/stacks/config/nearest';
import { repoRoot } from '@nxnw/tools';

/** Configuration as Pulumi gives it: full keys, JSON texts. */
function given(values: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).map(([k, v]) => [`nxnw:${k}`, typeof v === 'string' ? v : JSON.stringify(v)]),
  );
}

/** The faults that parsing reports. */
function faultsOf(values: Record<string, unknown>): string[] {
  try {
    parseConfig(given(values));
    return [];
  } catch (e) {
    assert.ok(hasCode(e, 'BAD_CONFIG'), String(e));
    return e.fields['faults'] as string[];
  }
}

describe('the configuration', () => {
  it('is complete without a single key', () => {
    const c = parseConfig({});
    assert.equal(c.cloud.kind, 'local');
    assert.equal(c.store.kind, 'lmdb');
    assert.equal(c.stage, 'synced');
    assert.equal(c.migration.attempt, 1);
    assert.equal(c.migration.switch.stallBudgetMs, 1000);
    assert.deepEqual(c.migration.apps, ['all']);
  });

  it('leaves other namespaces alone', () => {
    assert.equal(parseConfig({ 'aws:region': 'eu-central-1' }).stage, 'synced');
  });

  it('names an unknown key with its path and the key that was probably meant', () => {
    assert.deepEqual(faultsOf({ stroe: { kind: 'lmdb' } }), ['nxnw:stroe: unknown key; did you mean "store"?']);
    assert.deepEqual(faultsOf({ apps: [{ id: 'a', bundle: '.', instance: 2 }] }), [
      'nxnw:apps[0].instance: unknown key; did you mean "instances"?',
    ]);
    assert.deepEqual(faultsOf({ migration: { switch: { stallBudget: 5 } } }), [
      'nxnw:migration.switch.stallBudget: unknown key; did you mean "stallBudgetMs"?',
    ]);
  });

  it('reports every fault, not the first', () => {
    const faults = faultsOf({ store: { kind: 'cassandar', nodes: 0 }, stage: 'switchd', edge: { nodes: 'two' } });
    assert.equal(faults.length, 4);
    assert.match(
      faults.join('\n'),
      /nxnw:store\.kind: must be one of lmdb, .* \(given: "cassandar"\); did you mean "cassandra"\?/,
    );
    assert.match(faults.join('\n'), /nxnw:stage: .*did you mean "switched"\?/);
  });

  it('shows no secret in a fault', () => {
    const text = faultsOf({
      dns: {
        driver: 'rfc2136',
        zone: 'a.test',
        name: 'b.test',
        rfc2136: { server: 'x', keyName: 'k', keySecret: 'hunter2' },
      },
    }).join('\n');
    assert.match(text, /nxnw:dns\.rfc2136\.server/);
    assert.doesNotMatch(text, /hunter2/);
  });

  it('refuses what does not fit together', () => {
    const cases: [Record<string, unknown>, RegExp][] = [
      [{ store: { kind: 'lmdb', nodes: 3 } }, /lmdb lies on one machine/],
      [
        { store: { kind: 'cassandra', nodes: 1, replication: 3 } },
        /replication: must be at most store\.nodes, 1 \(given: 3\)/,
      ],
      [{ store: { kind: 'hypertable' } }, /has the stores lmdb and cassandra/],
      [{ cloud: { kind: 'openstack' } }, /openstack\.access\.operators: name the networks/],
      [{ cloud: { kind: 'hosts' } }, /hosts\.hosts: list the machines/],
      [{ cloud: { kind: 'ec2', ec2: { vpcId: 'vpc-1' } } }, /subnets\[0\]\.id: with an existing VPC/],
      [{ cloud: { kind: 'kvm', kvm: { hosts: ['xen:///'] } } }, /must be a libvirt URI such as qemu/],
      [
        { cloud: { kind: 'xen', xen: { subnets: [{ cidr: '10.0.0.1/24' }] } } },
        /nxnw:cloud\.xen\.subnets\[0\]\.cidr: must be the address of an IPv4 network/,
      ],
      [{ locks: { nodes: 2 } }, /must be odd/],
      [{ datastore: { shards: 6 } }, /power of two/],
      [{ dns: { driver: 'route53', zone: 'a.test', name: 'x.a.test' } }, /needs this block/],
      [{ stage: 'moved' }, /nxnw:migrateFrom is empty/],
      [
        {
          apps: [
            { id: 'a', bundle: '.' },
            { id: 'a', bundle: '.' },
          ],
        },
        /"a" is used twice/,
      ],
    ];
    for (const [values, message] of cases) assert.match(faultsOf(values).join('\n'), message);
  });

  it('takes an empty object for no DNS, as Pulumi.yaml declares it', () => {
    assert.equal(parseConfig(given({ dns: {} })).dns, undefined);
  });

  it('suggests nothing where nothing is near', () => {
    assert.equal(nearest('zzzzzz', ['platform', 'cloud']), undefined);
    assert.equal(nearest('memory', ['memoryMiB', 'nodes']), 'memoryMiB');
  });

  it('has its JSON Schema published as it is (npm run schema writes it)', () => {
    assert.equal(readFileSync(join(repoRoot, 'docs', 'config.schema.json'), 'utf8'), jsonSchema());
  });

  it('declares the same keys in Pulumi.yaml as in the schema', () => {
    const project = parse(readFileSync(join(repoRoot, 'Pulumi.yaml'), 'utf8')) as {
      config: Record<string, { description?: string; default?: unknown }>;
    };
    assert.deepEqual(Object.keys(project.config).sort(), Object.keys(configSchema.shape).sort());
    for (const [key, c] of Object.entries(project.config)) {
      assert.notEqual(c.description ?? '', '', key);
      assert.notEqual(c.default, undefined, `${key} would be mandatory without a default`);
    }
  });
});
