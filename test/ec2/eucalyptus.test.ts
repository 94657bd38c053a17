import assert from 'node:assert/strict';
import { readAccess } from '@nxnw/migration/resources/engines/access';
import { z } from 'zod';
import { Ec2Lab } from '../support/ec2-lab.js';
import { ask, place } from './clients.js';
import { addressesOf, everything, rulesOf, volumesOf } from './made.js';
import { AGENT_PORT, amazon, BASE, bringTools, CloudStack, HTTP_PORT, labMissing } from './platform.js';

const REGION = 'eucalyptus';
const PLACE = 12;
const SUBNET = 3;

/** The same on a cloud that refuses what Eucalyptus does not have: what is otherwise, each thing a test. */
describe('a platform on Eucalyptus', function () {
  this.timeout(20 * 60_000);
  let lab: Ec2Lab;
  let stack: CloudStack;
  let atFirst: readonly string[] = [];

  before(async function () {
    const missing = labMissing();
    if (missing !== null) {
      console.log(`      skipped: ${missing}`);
      this.skip();
    }
    await bringTools();
    const ports = [AGENT_PORT, HTTP_PORT];
    const at = { base: BASE, api: 251, publics: 201, subnets: [SUBNET], ports };
    lab = await Ec2Lab.start({ ...at, kind: 'eucalyptus', region: REGION });
    atFirst = await everything(lab.sdk);
    stack = new CloudStack('shop');
    await stack.init();
  });

  after(async () => {
    await lab?.stop();
    stack?.remove();
  });

  function configure(over: Record<string, unknown> = {}): void {
    const subnets = [{ cidr: `${BASE}.${String(SUBNET)}.0/24`, zone: 'one' }];
    const eucalyptus = amazon(lab.endpoint, { region: REGION, subnets, endpoints: { ec2: lab.endpoint }, ...over });
    stack.configure({ cloud: { kind: 'eucalyptus', appMachines: 1, eucalyptus }, edge: { httpPort: HTTP_PORT } });
  }

  const refused = async (): Promise<string[]> =>
    z.array(z.string()).parse(await (await fetch(`${lab.endpoint}/refused`)).json());

  it('names what it needs to be told, before anything is made: its service, and an image', async () => {
    configure({ endpoints: {}, image: '' });
    const up = await stack.up();
    assert.notEqual(up.code, 0);
    assert.match(up.text, /eucalyptus\.endpoints\.ec2: is missing/);
    assert.match(up.text, /eucalyptus\.image: is missing/);
    assert.deepEqual(await everything(lab.sdk), atFirst);
  });

  it('comes up by the compute service alone, and serves', async () => {
    configure();
    const up = await stack.up();
    assert.equal(up.code, 0, up.text);
    const edge = (await lab.instances()).get('edge-1')?.PublicIpAddress ?? '';
    const made = await ask(edge, 'PUT', `/places/${String(PLACE)}`, { nonce: 'first', ...place('Erster') });
    assert.equal(made.status, 200, made.body);
  });

  it('is asked for nothing that it does not have but disableApiStop, which the provider reads by itself', async () => {
    assert.deepEqual([...new Set(await refused())], ['DescribeInstanceAttribute disableApiStop']);
  });

  it('has no elastic addresses: the edge has the public one that its subnet gives it', async () => {
    assert.deepEqual(await addressesOf(lab.sdk), []);
    const edge = (await lab.instances()).get('edge-1')?.PublicIpAddress ?? '';
    assert.match(edge, new RegExp(`^${BASE}\\.201\\.`));
    const join = z.object({ edges: z.array(z.object({ address: z.string() })) });
    const out = await stack.run('stack', 'output', 'join', '--show-secrets');
    const bundle = join.parse(JSON.parse(out.text));
    assert.deepEqual(bundle.edges.map((e) => e.address), [edge]); // prettier-ignore
  });

  it('has its rules in the security groups themselves, from the addresses of the machines', async () => {
    const rules = await rulesOf(lab.sdk);
    const open = rules.filter((r) => r.from === '0.0.0.0/0');
    assert.deepEqual(open.map((r) => `${r.group} ${String(r.first)}`), [`edge ${String(HTTP_PORT)}`]); // prettier-ignore
    assert.doesNotMatch(stack.stack.state(), /aws:vpc\/securityGroup|aws:ec2\/securityGroupRule/);
    const data = rules.filter((r) => r.group === 'data' && r.first === 2181);
    assert.deepEqual(data.map((r) => r.from).sort(), [`${BASE}.3.16/32`, `${BASE}.3.96/32`]);
  });

  it('has disks without a type and encryption of their own, and instances without metadata options and roles', async () => {
    const volumes = await volumesOf(lab.sdk);
    assert.ok(volumes.length > 0 && volumes.every((v) => !v.encrypted && v.type !== 'gp3'), JSON.stringify(volumes));
    const options = z.object({
      Reservations: z.array(
        z.object({
          Instances: z.array(
            z.object({
              MetadataOptions: z.object({ HttpTokens: z.string() }),
              IamInstanceProfile: z.unknown().optional(),
            }),
          ),
        }),
      ),
    });
    const { Reservations } = await lab.sdk.call(options, 'ec2', 'describe_instances');
    for (const i of Reservations.flatMap((r) => r.Instances)) {
      assert.equal(i.MetadataOptions.HttpTokens, 'optional');
      assert.equal(i.IamInstanceProfile, undefined);
    }
  });

  it('tells `nxnw` the public addresses of the agents, at which an operator reaches them', async () => {
    const made = await lab.instances();
    for (const { machine, endpoint } of readAccess(stack.stack.dir, 'dev').agents)
      assert.equal(endpoint, `${made.get(machine)?.PublicIpAddress ?? ''}:${String(AGENT_PORT)}`);
  });

  it('is quiet while nothing changes', async () => {
    // what came to the instances after they were made: the disk
    const settled = await stack.refresh();
    assert.equal(settled.code, 0, settled.text);
    // a second refresh names groups whose rules come back in another order; nothing is planned for it
    const preview = await stack.preview();
    assert.equal(preview.code, 0, preview.text);
  });

  it('leaves nothing in the cloud when it goes', async () => {
    const gone = await stack.destroy();
    assert.equal(gone.code, 0, gone.text);
    assert.deepEqual(await everything(lab.sdk), atFirst);
  });
});
