import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { selfSigned } from '@nxnw/platform/wire/ca';
import { z } from 'zod';
import { until } from '../support/agents.js';
import { Ec2Lab } from '../support/ec2-lab.js';
import { ask, Clients, place } from './clients.js';
import { addressesOf, everything, rolesOf, rulesOf, volumesOf } from './made.js';
import { AGENT_PORT, amazon, BASE, bringTools, CloudStack, HTTP_PORT, HTTPS_PORT, labMissing, SUBNETS } from './platform.js'; // prettier-ignore

const MACHINES = ['app-1', 'app-2', 'data-1', 'edge-1'];
const PLACE = 4711;
const anything = z.unknown();

/**
 * A whole platform on EC2: the real engine and provider, moto for the API, and a machine for each instance. What was
 * made is checked by the AWS SDK.
 */
describe('a platform on EC2', function () {
  this.timeout(20 * 60_000);
  let lab: Ec2Lab;
  let stack: CloudStack;
  let certificate = '';
  let edge = '';
  /** What every account has: a VPC with its subnets. */
  let atFirst: readonly string[] = [];

  before(async function () {
    const missing = labMissing();
    if (missing !== null) {
      console.log(`      skipped: ${missing}`);
      this.skip();
    }
    await bringTools();
    lab = await Ec2Lab.start({
      base: BASE,
      api: 250,
      publics: 200,
      subnets: SUBNETS,
      ports: [AGENT_PORT, HTTP_PORT, HTTPS_PORT],
    });
    atFirst = await everything(lab.sdk);
    const own = await selfSigned('shop.test', 30);
    certificate = own.cert + own.key;
    stack = new CloudStack('shop');
    await stack.init();
  });

  after(async () => {
    await lab?.stop();
    stack?.remove();
  });

  const configure = (over: Record<string, unknown> = {}): void =>
    stack.configure({
      cloud: { kind: 'ec2', appMachines: 2, ec2: amazon(lab.endpoint, over) },
      edge: { httpPort: HTTP_PORT, httpsPort: HTTPS_PORT, certificate: { secret: certificate } },
      // on app-1: memcached has no second copy, and this application answers no write that it cannot invalidate there
      cache: { nodes: 1 },
      store: { diskGiB: 30 },
    });

  const idOf = async (machine: string): Promise<string> => {
    const made = (await lab.instances()).get(machine);
    assert.ok(made, `there is an instance for ${machine}`);
    return made.InstanceId;
  };

  it('comes up: each instance enrols by its user data, and the application serves at the elastic address', async () => {
    configure();
    const up = await stack.up();
    assert.equal(up.code, 0, up.text);
    [edge = ''] = await addressesOf(lab.sdk);
    const made = await ask(edge, 'PUT', `/places/${String(PLACE)}`, { nonce: 'first', ...place('Erster') });
    assert.equal(made.status, 200, made.body);
    const seen = new Set<string>();
    await until('both app machines', 60_000, async () => {
      const got = await ask(edge, 'GET', `/places/${String(PLACE)}?fresh=1`);
      assert.equal(got.status, 200, got.body);
      seen.add(got.instance.split(':')[0] ?? '');
      return seen.size === 2;
    });
    for (const name of MACHINES) assert.ok(!existsSync(join(lab.folder(await idOf(name)), 'enrol.json')), `${name} keeps no token`); // prettier-ignore
  });

  it('opens to everybody only the ports of the edge, and to others only named ones', async () => {
    const rules = await rulesOf(lab.sdk);
    const open = rules.filter((r) => r.from === '0.0.0.0/0');
    assert.deepEqual(open.map((r) => `${r.group} ${String(r.first)}-${String(r.last)}`).sort(), [
      `edge ${String(HTTPS_PORT)}-${String(HTTPS_PORT)}`,
      `edge ${String(HTTP_PORT)}-${String(HTTP_PORT)}`,
    ]);
    for (const r of rules) {
      assert.equal(r.protocol, 'tcp', r.what);
      assert.notEqual(r.what, '', 'each rule says what it is for');
      assert.ok(r.last - r.first < 128, `${r.what} is ${String(r.first)} to ${String(r.last)}`);
    }
    assert.deepEqual(
      rules.filter((r) => r.from.startsWith(BASE)).map((r) => `${r.group} ${String(r.first)}`).sort(),
      ['app 7400', 'data 7400', 'edge 7400'],
      'operators reach the agents',
    ); // prettier-ignore
  });

  it('starts instances that ask for session tokens, with tags, and with a role that may do nothing', async () => {
    const made = await lab.instances();
    assert.deepEqual([...made.keys()].sort(), MACHINES);
    for (const [name, i] of made) {
      const facts = await rolesOf(lab.sdk, i.InstanceId);
      assert.deepEqual(facts.metadata, { HttpTokens: 'required', HttpEndpoint: 'enabled', HttpPutResponseHopLimit: 1 });
      assert.equal(facts.policies, 0, `${name} may do nothing at AWS`);
      const tags = Object.fromEntries(i.Tags.map((t) => [t.Key, t.Value]));
      assert.deepEqual(tags, {
        Name: `shop-dev-${name}`,
        'nxnw:platform': 'shop-dev',
        'nxnw:machine': name,
        'nxnw:group': name.split('-')[0],
      });
    }
  });

  it('gives machines encrypted gp3 disks, and the store one of its own', async () => {
    const volumes = await volumesOf(lab.sdk);
    assert.deepEqual(volumes.map((v) => `${v.machine} ${v.device} ${String(v.size)}`).sort(), [
      'app-1 root 20',
      'app-2 root 20',
      'data-1 /dev/sdf 30',
      'data-1 root 20',
      'edge-1 root 20',
    ]);
    for (const v of volumes) assert.deepEqual([v.type, v.encrypted], ['gp3', true], `${v.machine} ${v.device}`);
  });

  it('is quiet while nothing changes', async () => {
    // what came to the instances after they were made: the store's disk, the elastic address
    const settled = await stack.refresh();
    assert.equal(settled.code, 0, settled.text);
    const refresh = await stack.quietRefresh();
    assert.equal(refresh.code, 0, refresh.text);
    const preview = await stack.preview();
    assert.equal(preview.code, 0, preview.text);
  });

  it('plans no other store machine for another image, and others for the rest', async () => {
    configure({ image: 'ami-00000002' });
    const steps = await stack.planned();
    const replaced = steps.filter((s) => s.type === 'aws:ec2/instance:Instance' && s.op === 'replace');
    assert.deepEqual(
      replaced.map((s) => s.name).sort(),
      ['app-1', 'app-2', 'edge-1'].map((m) => `platform-fleet-${m}`),
    );
    configure();
  });

  it('makes an app machine anew that was lost, and clients of the edge see no error', async () => {
    const lost = await idOf('app-2');
    const clients = new Clients(edge, PLACE);
    let cutMs = 0;
    try {
      await until('clients at both machines', 60_000, () => Promise.resolve(clients.served.size === 2));
      cutMs = Date.now();
      await lab.powerCut(lost);
      await lab.sdk.call(anything, 'ec2', 'terminate_instances', { InstanceIds: [lost] });
      const refresh = await stack.refresh();
      assert.equal(refresh.code, 0, refresh.text);
      assert.match(refresh.text, /platform-fleet-app-2.*deleted/);
      // its address is the cloud's choice, so that only its operator can tell that its token is used up
      configure({ replace: { 'app-2': 1 } });
      const up = await stack.up();
      assert.equal(up.code, 0, up.text);
      clients.served.clear();
      const anew = `${BASE}.2.96`;
      await until('the new machine serves', 120_000, () => Promise.resolve((clients.served.get(anew) ?? 0) > 5));
    } finally {
      await clients.stop();
    }
    // whether a write that was under way in the machine has happened, only its client can find out
    const cut = clients.faults.filter((f) => f.method === 'POST' && f.fromMs <= cutMs + 200 && f.toMs >= cutMs);
    assert.ok(cut.length <= 1, JSON.stringify(cut));
    assert.deepEqual(
      clients.faults.filter((f) => !cut.includes(f)),
      [],
    );
    assert.notEqual(await idOf('app-2'), lost);
    const preview = await stack.preview();
    assert.equal(preview.code, 0, preview.text);
  });

  it('makes a store machine anew when it is asked to, and the data is still there', async () => {
    const before = await idOf('data-1');
    configure({ replace: { 'app-2': 1, 'data-1': 1 } });
    const up = await stack.up();
    assert.equal(up.code, 0, up.text);
    assert.notEqual(await idOf('data-1'), before);
    const got = await until('the application with its data', 120_000, async () => {
      const seen = await ask(edge, 'GET', `/places/${String(PLACE)}?fresh=1`);
      return seen.status === 200 && seen;
    });
    assert.match(got.body, /Erster/);
  });

  it('leaves nothing in the cloud when it goes', async () => {
    const gone = await stack.destroy();
    assert.equal(gone.code, 0, gone.text);
    assert.deepEqual(await everything(lab.sdk), atFirst);
  });
});
