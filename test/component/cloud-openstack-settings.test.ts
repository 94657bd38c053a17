import assert from 'node:assert/strict';
import * as pulumi from '@pulumi/pulumi';
import { hasCode } from '@nxnw/platform/errors';
import { mockOpenstack, openstack, plan, type Wanted } from './recorder-openstack.js';

const NETWORK_ID = '6f1c2f0e-6f57-4f0b-9d57-3d1a1a0f5a01';

describe('wrong settings of the cloud openstack', () => {
  before(mockOpenstack);
  const subnets = openstack().subnets;
  const access = openstack().access;
  const faults: readonly (readonly [Wanted['cloud'] & object, RegExp])[] = [
    [{ image: '' }, /cloud\.openstack\.image: must be the name or the id/],
    [{ flavors: { data: '', app: 'a', edge: 'e' } }, /openstack\.flavors\.data: .*"openstack flavor list"/],
    [{ diskGiB: 0.5 }, /openstack\.diskGiB: must be a whole number of GiB, at least 1 \(given: 0\.5\)/],
    [{ networkId: NETWORK_ID }, /subnets\[0\]\.id: is missing, and networkId names an existing network/],
    [{ subnets: [{ cidr: '10.40.0.0/24', zone: '', id: 's' }] }, /subnets\[0\]\.id: names an existing subnet/],
    [{ subnets: [{ cidr: '10.40.0.0/27', zone: '' }] }, /subnets\[0\]\.cidr: .* \/26 or larger \(given: "10\.40\.0\.0\/27"\)/],
    [{ subnets: [...subnets, { cidr: '10.40.0.128/25', zone: '' }] }, /subnets\[1\]\.cidr: overlaps/],
    [{ access: { ...access, peers: ['10.0.0.1/8'] } }, /access\.peers\[0\]: must be an IPv4 network/],
    [{ access: { ...access, ssh: ['::/0'] } }, /access\.ssh\[0\]: must be an IPv4 network/],
    [{ access: { ...access, operators: ['0.0.0.0/0'] } }, /access\.operators\[0\]: must not be the whole internet/],
    [{ replace: { 'data-9': 1 } }, /replace\.data-9: the platform has no machine of this name; it has data-1, app-1, app-2, edge-1/],
    [{ replace: { 'data-1': 0 } }, /replace\.data-1: must be a whole number, at least 1 \(given: 0\)/],
  ]; // prettier-ignore

  for (const [cloud, what] of faults)
    it(`are refused: ${JSON.stringify(cloud)}`, async () => {
      await assert.rejects(plan({ cloud }), (e) => hasCode(e, 'BAD_CONFIG') && what.test(e.message));
    });

  it('are named all at once, before anything is made', async () => {
    let made = 0;
    await pulumi.runtime.setMocks({
      call: () => ({}),
      newResource: (a) => {
        made++;
        return { id: a.name, state: a.inputs };
      },
    });
    const wrong = plan({ cloud: { image: '', diskGiB: 0, replace: { nobody: 1 } } });
    await assert.rejects(wrong, (e) => hasCode(e, 'BAD_CONFIG') && /has 3 faults:\n.*\n.*\n.*$/.test(e.message));
    assert.equal(made, 0);
  });
});
