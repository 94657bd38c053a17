import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ensureProviders, PROVIDER_VERSIONS, pulumiEnv, resolvePulumi, terraformAws } from '@nxnw/tools';
import { TestStack } from '../provider/stack.js';
import { misfits, schemaOf, type Schema } from './npm-names.js';

const run = promisify(execFile);
const terraform = terraformAws();
const home = mkdtempSync(join(tmpdir(), 'nxnw-plugins-'));
const pluginFile = (name: 'aws' | 'openstack') =>
  join(home, 'plugins', `resource-${name}-v${PROVIDER_VERSIONS[name]}`, `pulumi-resource-${name}`);

async function schema(name: 'aws' | 'openstack'): Promise<Schema> {
  const { stdout } = await run(resolvePulumi(), ['package', 'get-schema', pluginFile(name)], {
    env: { ...process.env, ...pulumiEnv({ stateDir: join(home, 'state') }), PULUMI_HOME: home },
    maxBuffer: 1 << 26,
    timeout: 60_000,
  });
  return schemaOf(stdout);
}

/** Previews a program that reaches no cloud; answers the output. */
async function preview(name: 'aws' | 'openstack', program: string): Promise<string> {
  const stack = new TestStack(`const cloud = require('@pulumi/${name}');\n${program}`);
  try {
    await ensureProviders([name], join(stack.dir, 'home'));
    await stack.init();
    const ran = await stack.run(['preview', '--stack', 'dev']);
    assert.equal(ran.code, 0, ran.text);
    return ran.text;
  } finally {
    stack.remove();
  }
}

describe('plugins of Pulumi made from Terraform providers', () => {
  before(() => ensureProviders(['openstack', 'aws'], home));
  after(() => rmSync(home, { recursive: true, force: true }));

  it('have the versions of the npm packages that programs use', () => {
    for (const [name, version] of Object.entries(PROVIDER_VERSIONS)) {
      const file = require.resolve(`@pulumi/${name}/package.json`);
      assert.match(readFileSync(file, 'utf8'), new RegExp(`"version": "v?${version.replaceAll('.', '\\.')}"`));
    }
  });

  describe('openstack', () => {
    let served: Schema;
    before(async () => {
      served = await schema('openstack');
    });

    it('serves each resource and function under the names and shapes of the npm package', () => {
      assert.equal(Object.keys(served.resources).length, 23);
      assert.deepEqual(misfits(served, '@pulumi/openstack'), []);
    });

    it('the comparison notices a missing input, a missing class and a list that is none', () => {
      const broken = structuredClone(served);
      const port = broken.resources['openstack:networking/port:Port'];
      assert.ok(port);
      delete port.inputProperties['macAddress'];
      port.inputProperties['fixedIps'] = { type: 'object' };
      broken.functions['openstack:images/getImage:getOther'] = {};
      assert.deepEqual(misfits(broken, '@pulumi/openstack'), [
        'openstack:networking/port:Port: no input macAddress',
        'openstack:networking/port:Port.fixedIps: a list on one side',
        'openstack:images/getImage:getOther: no call of that token in images/getImage.js',
      ]);
    });

    it('plans resources without reaching the cloud', async () => {
      const text = await preview(
        'openstack',
        `const provider = new cloud.Provider('cloud', {
           authUrl: 'http://127.0.0.1:1/v3', userName: 'u', password: 'p', tenantName: 't', region: 'R1' });
         const net = new cloud.networking.Network('net', { adminStateUp: true }, { provider });
         new cloud.networking.Subnet('subnet', { networkId: net.id, cidr: '10.8.0.0/24', ipVersion: 4,
           allocationPools: [{ start: '10.8.0.10', end: '10.8.0.99' }] }, { provider });`,
      );
      assert.match(text, /4 to create/);
    });
  });

  describe('aws', () => {
    it('says what is missing where TF_PROVIDER_AWS names nothing', async () => {
      const env = { ...process.env, TF_PROVIDER_AWS: join(home, 'none') };
      await assert.rejects(run(pluginFile('aws'), [], { env, timeout: 20_000 }), /TF_PROVIDER_AWS does not name the/);
    });

    describe('over the Terraform provider', () => {
      before(function () {
        if (terraform !== undefined) return;
        console.log('      skipped: TF_PROVIDER_AWS names no executable of terraform-provider-aws v5.100.0');
        this.skip();
      });

      it('serves each resource and function under the names and shapes of the npm package', async () => {
        const served = await schema('aws');
        assert.equal(Object.keys(served.resources).length, 25);
        assert.deepEqual(misfits(served, '@pulumi/aws'), []);
      });

      it('plans resources without reaching the cloud', async () => {
        const text = await preview(
          'aws',
          `const provider = new cloud.Provider('cloud', { region: 'us-east-1', accessKey: 'a', secretKey: 's',
             skipCredentialsValidation: true, skipMetadataApiCheck: true, skipRequestingAccountId: true });
           const vpc = new cloud.ec2.Vpc('vpc', { cidrBlock: '10.9.0.0/16' }, { provider });
           new cloud.ec2.SecurityGroup('web', { vpcId: vpc.id, ingress: [
             { protocol: 'tcp', fromPort: 22, toPort: 22, cidrBlocks: ['0.0.0.0/0'] }] }, { provider });`,
        );
        assert.match(text, /4 to create/);
      });
    });
  });
});
