import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import { Platform } from '@nxnw/components';
import { createAuthority } from '@nxnw/platform/wire/ca';
import { CLOUDS } from '@nxnw/stacks/config/clouds';
import { parseConfig } from '@nxnw/stacks/config/parse';
import { compileSettings } from '@nxnw/stacks/settings';
import { repoRoot } from '@nxnw/tools';

const SNAPSHOT = join(repoRoot, 'test', 'component', 'snapshots', 'one-stack-on-every-cloud.txt');
const NETWORK = ['203.0.113.0/24'];
const access = { operators: NETWORK };

/** One stack file: blocks for every cloud, and `kind` alone says which counts. */
const stackFile = (kind: string) => ({
  'nxnw:platform': { name: 'shop' },
  'nxnw:cloud': {
    kind,
    ec2: { access },
    eucalyptus: { access, image: 'emi-0123abcd', endpoints: { ec2: 'http://cloud.example:8773/services/compute' } },
    openstack: { access, externalNetwork: 'public' },
    kvm: { access },
    xen: { access },
    hosts: {
      privateKey: 'KEY',
      hosts: [
        { group: 'data', address: '192.0.2.1' },
        { group: 'app', address: '192.0.2.2' },
        { group: 'app', address: '192.0.2.3' },
        { group: 'edge', address: '192.0.2.4' },
      ],
    },
  },
  'nxnw:store': { kind: 'cassandra' },
  'nxnw:apps': [{ id: 'gazetteer', bundle: join(repoRoot, 'examples', 'gazetteer') }],
});

/** Waits for an output; one that fails does not settle, and Pulumi tells why as an unhandled rejection. */
function settled(output: pulumi.Output<unknown>): Promise<void> {
  return new Promise((ok) => output.apply(() => ok()));
}

/** Types of the resources of a platform, with how many there are of each. */
async function planOn(kind: string): Promise<Map<string, number>> {
  const config = parseConfig(
    Object.fromEntries(Object.entries(stackFile(kind)).map(([k, v]) => [k, JSON.stringify(v)])),
  );
  const made = new Map<string, number>();
  const ca = await createAuthority('shop-blue');
  await pulumi.runtime.setMocks({
    call: ({ inputs }) => ({ ...inputs, id: 'found' }),
    newResource: ({ type, name, inputs }) => {
      if (!type.startsWith('nxnw:')) made.set(type, (made.get(type) ?? 0) + 1);
      const tls = { ca: ca.cert, cert: ca.cert, key: 'KEY', expiresAtMs: 1 };
      return { id: `${name}-id`, state: { ...inputs, ...tls, token: 'T'.repeat(43), agent: '192.0.2.9:7400' } };
    },
  });
  const p = new Platform('shop', {
    ...compileSettings(config, 'blue', repoRoot, undefined),
    stack: 'blue',
    accessPath: '/none',
    protect: true,
    release: { path: join(repoRoot, 'package.json'), sha256: 'a'.repeat(64) },
  });
  await settled(p.join);
  await settled(p.coordinator);
  return made;
}

const short = (type: string): string => type.replace('pulumi-nodejs:dynamic/nxnw:', '').replace(/\/\w+:/, ':');

/** A line for each type of resource: how many of it each cloud has. */
function table(plans: ReadonlyMap<string, ReadonlyMap<string, number>>): string {
  const types = [...new Set([...plans.values()].flatMap((p) => [...p.keys()]))].sort((a, b) => (short(a) < short(b) ? -1 : 1)); // prettier-ignore
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  const count = (type: string) => CLOUDS.map((c) => String(plans.get(c)?.get(type) ?? ''));
  return (
    row(['resource', ...CLOUDS]) +
    row(['resource', ...CLOUDS].map(() => '---')) +
    types.map((t) => row([short(t), ...count(t)])).join('')
  );
}

describe('one stack file on every cloud', function () {
  this.timeout(120_000);

  it('plans the same platform on each, and differs only in how its machines come up', async () => {
    const plans = new Map<string, ReadonlyMap<string, number>>();
    for (const kind of CLOUDS) plans.set(kind, await planOn(kind));
    for (const [kind, plan] of plans) {
      const of = (name: string) => plan.get(`pulumi-nodejs:dynamic/nxnw:${name}`) ?? 0;
      assert.equal(of('RoleSet'), 4, kind);
      assert.equal(of('AppBundle'), 2, kind);
      assert.equal(of('Enrolment'), kind === 'local' ? 0 : 4, kind);
      assert.equal(of('EnrolmentToken'), kind === 'local' ? 0 : 4, kind);
    }
    const text = table(plans);
    if (process.env['NXNW_UPDATE_SNAPSHOTS'] === '1') writeFileSync(SNAPSHOT, text);
    assert.equal(readFileSync(SNAPSHOT, 'utf8'), text);
  });
});
