import assert from 'node:assert/strict';
import { explained, failuresIn } from '@nxnw/cli/provider-failures';

const urn = (type: string, name: string) => `urn:pulumi:dev::shop::nxnw:index:Platform$${type}::${name}`;
const instance = (name: string) => urn('aws:ec2/instance:Instance', `platform-fleet-${name}`);

describe('failures of the clouds’ providers', () => {
  /** As providers and services have said it. */
  const said: [string, string][] = [
    ['CLOUD_DENIED', 'validating provider credentials: operation error STS: GetCallerIdentity, https response error StatusCode: 403, api error UnknownError'], // prettier-ignore
    ['CLOUD_DENIED', 'creating EC2 VPC: api error AuthFailure: AWS was not able to validate the provided access credentials'], // prettier-ignore
    ['CLOUD_DENIED', 'Error creating OpenStack image client: Authentication failed'],
    ['CLOUD_DENIED', 'ssh: handshake failed: all configured authentication methods failed'],
    ['CLOUD_NOT_CONFIGURED', "1 error occurred:\n\t* One of 'auth_url' or 'cloud' must be specified\n"],
    ['CLOUD_NOT_CONFIGURED', 'No valid credential sources found. Please see https://registry…'],
    ['CLOUD_QUOTA', 'creating EC2 Instance: api error VcpuLimitExceeded: You have requested more vCPU capacity'],
    ['CLOUD_QUOTA', 'Error creating openstack server: Expected HTTP response code [201 202], but got 403 instead\n{"forbidden":{"message":"Quota exceeded for cores"}}'], // prettier-ignore
    ['CLOUD_NO_CAPACITY', 'Error waiting for instance: No valid host was found. There are not enough hosts available.'],
    ['CLOUD_NO_IMAGE', 'creating EC2 Instance: api error InvalidAMIID.NotFound: The image id does not exist'],
    ['CLOUD_NO_IMAGE', 'Your query returned no results. Please change your search criteria and try again.'],
    ['CLOUD_NAME_TAKEN', 'creating IAM Role: EntityAlreadyExists: Role with name shop already exists'],
    [
      'CLOUD_UNREACHABLE',
      'Post "http://127.0.0.1:1/v3/auth/tokens": dial tcp 127.0.0.1:1: connect: connection refused',
    ],
    ['CLOUD_UNREACHABLE', 'dial tcp: lookup ec2.nowhere.example: no such host'],
  ];
  for (const [code, message] of said)
    it(`are told as ${code}: ${message.slice(0, 50)}`, () => {
      const [line = '', ...more] = explained([{ urn: instance('data-1'), message }], 'ec2');
      assert.deepEqual(more, []);
      assert.match(line, new RegExp(`^${code}: cloud ec2, aws:ec2:Instance platform-fleet-data-1 \\(machine data-1\\): .+\\. Next: .+\`nxnw up\` again`)); // prettier-ignore
      assert.equal(line.split('\n').length, 1);
    });

  it('are one line for each code, with the resources; the program is named only where nothing else is', () => {
    const message = 'api error VcpuLimitExceeded: more than your limit';
    const of = (u: string) => ({ urn: u, message });
    const lines = explained([of(''), of(instance('data-1')), of(instance('app-1')), of(instance('app-1'))], 'ec2');
    assert.equal(lines.length, 1);
    assert.match(
      lines[0] ?? '',
      /data-1 \(machine data-1\), aws:ec2:Instance platform-fleet-app-1 \(machine app-1\): /,
    );
    assert.match(explained([of('')], 'ec2')[0] ?? '', /cloud ec2, a look-up or the provider itself: /);
    const many = Array.from({ length: 9 }, (_, i) => of(instance(`app-${String(i + 1)}`)));
    assert.match(explained(many, 'ec2')[0] ?? '', /machine app-6\) and 3 more: /);
  });

  it('are not guessed where they are unknown, or ours', () => {
    assert.deepEqual(explained([{ urn: '', message: 'something else' }], 'ec2'), []);
    const ours = '[nxnw:LIBVIRT_DENIED] machine data-1: permission denied; use a user of the group libvirt';
    assert.deepEqual(explained([{ urn: instance('data-1'), message: ours }], 'kvm'), []);
  });

  it('are read from the engine’s event log, its errors only', () => {
    const event = (severity: string, message: string) =>
      JSON.stringify({ sequence: 1, diagnosticEvent: { urn: instance('data-1'), severity, message } });
    const log = [JSON.stringify({ preludeEvent: {} }), event('warning', 'w'), event('error', 'e'), ''].join('\n');
    assert.deepEqual(failuresIn(log), [{ urn: instance('data-1'), message: 'e' }]);
  });
});
