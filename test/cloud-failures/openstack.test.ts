/**
 * What `nxnw up` says when OpenStack refuses, by the real engine and the plugin of decision 026. The APIs are a double's,
 * with the services' own words. Takes about 3 minutes.
 */
import assert from 'node:assert/strict';
import { ensureTools } from '@nxnw/tools';
import { explanations, NxnwProject } from '../support/nxnw-project.js';
import { OpenstackDouble } from '../support/openstack-double.js';

const HOST = '127.66.1.12';

describe('failures of OpenStack', function () {
  this.timeout(900_000);
  let project: NxnwProject;
  let double: OpenstackDouble;

  before(async () => {
    await ensureTools(['pulumi']);
    double = await OpenstackDouble.start(HOST);
    project = await NxnwProject.create(['openstack']);
  });

  after(async () => {
    project.remove();
    await double.stop();
  });

  const configure = (image = 'nxnw'): void =>
    project.configure({ kind: 'openstack', openstack: { image, access: { operators: ['203.0.113.0/24'] } } });

  it('wrong credentials, none, an unreachable endpoint and a missing image are each a line of their own', async () => {
    configure();
    const cases: [string, Record<string, string>, RegExp][] = [
      [
        'wrong',
        { ...double.env, OS_PASSWORD: 'wrong' },
        /^nxnw: CLOUD_DENIED: cloud openstack, .*Next: check the user/,
      ],
      ['none', {}, /^nxnw: CLOUD_NOT_CONFIGURED: cloud openstack, .*OS_\* variables/],
      ['closed', { ...double.env, OS_AUTH_URL: `http://${HOST}:1/v3` }, /^nxnw: CLOUD_UNREACHABLE: cloud openstack, .*127\.66\.1\.12:1.*OS_AUTH_URL/], // prettier-ignore
    ];
    for (const [name, env, wanted] of cases) {
      const ran = await project.up(env);
      assert.equal(ran.code, 1, `${name}: ${ran.text}`);
      assert.match(explanations(ran)[0] ?? '', wanted, `${name}: ${ran.text}`);
    }
    configure('no-such-image');
    const ran = await project.up(double.env);
    assert.equal(ran.code, 1, ran.text);
    assert.match(explanations(ran)[0] ?? '', /^nxnw: CLOUD_NO_IMAGE: cloud openstack, .*`image`/, ran.text);
  });

  it('a quota that is reached: the machine is named, and a second up goes on from there', async () => {
    configure();
    double.refusals.set('servers', {
      status: 403,
      body: {
        forbidden: { code: 403, message: 'Quota exceeded for cores: Requested 4, but already used 8 of 10 cores' },
      },
    });
    const refused = await project.up(double.env);
    assert.equal(refused.code, 1, refused.text);
    assert.ok(
      explanations(refused).some((l) => /^nxnw: CLOUD_QUOTA: cloud openstack, .*openstack:compute:Instance platform-fleet-data-1 \(machine data-1\).*: .*Quota exceeded for cores/.test(l)), // prettier-ignore
      refused.text,
    );
    double.refusals.clear();
    const again = await project.up(double.env);
    assert.equal(again.code, 0, again.text);
    assert.match(again.text, /\d+ unchanged/);
  });
});
