import assert from 'node:assert/strict';
import { cloudName, explained } from '@nxnw/components/clouds/openstack-lookup';

const IMAGE = { what: 'the image "nxnw"', key: 'nxnw:cloud.openstack.image', list: 'openstack image list' };
const CLOUD = cloudName({ cloud: '' }, 'http://cloud.test:5000/v3');

describe('a failed look-up in OpenStack', () => {
  const cases: readonly (readonly [said: string, code: string, next: RegExp])[] = [
    ['error creating OpenStack image client: Authentication failed', 'CLOUD_DENIED', /check OS_USERNAME/],
    [
      'Post "http://cloud.test:5000/v3/auth/tokens": dial tcp 192.0.2.1:5000: connect: connection refused',
      'CLOUD_UNREACHABLE',
      /check OS_AUTH_URL/,
    ],
    [
      'Your query returned no results. Please change your search criteria and try again',
      'NOT_IN_CLOUD',
      /`openstack image list` .* nxnw:cloud\.openstack\.image/,
    ],
    ['Internal Server Error', 'CLOUD_FAILED', /Internal Server Error/],
  ];
  for (const [said, code, next] of cases)
    it(`is ${code} when the plugin says "${said.slice(0, 30)}…"`, () => {
      const error = explained(CLOUD, IMAGE, said);
      assert.equal(error.code, code);
      assert.match(error.message, /^OpenStack at http:\/\/cloud\.test:5000\/v3: .*image "nxnw"/);
      assert.match(error.message, next);
    });

  it('names the entry of clouds.yaml where there is one', () => {
    assert.equal(cloudName({ cloud: 'lab' }, 'http://elsewhere'), 'OpenStack (entry "lab" of clouds.yaml)');
  });
});
