import assert from 'node:assert/strict';
import { checkEc2 } from '@nxnw/components/clouds/ec2-check';
import { EC2, EUCALYPTUS } from '@nxnw/components/clouds/ec2-dialect';
import { encodeUserData } from '@nxnw/components/clouds/ec2-machines';
import type { Ec2Settings } from '@nxnw/components/clouds/settings';
import { machinesOf } from '@nxnw/components/plan/machines';
import { hasCode } from '@nxnw/platform/errors';
import { ec2, eucalyptus, existing, platformOn, threeZones } from './ec2-plans.js';

/** The faults of the settings, each with its path. */
function faultsOf(kind: 'ec2' | 'eucalyptus', block: Ec2Settings): string[] {
  try {
    checkEc2(
      kind === 'ec2' ? EC2 : EUCALYPTUS,
      block,
      machinesOf(platformOn(kind, kind === 'ec2' ? ec2() : eucalyptus())),
    );
    return [];
  } catch (e) {
    assert.ok(hasCode(e, 'BAD_CONFIG'), String(e));
    assert.ok(Array.isArray(e.fields['faults']));
    const faults = e.fields['faults'].map(String);
    for (const f of faults) assert.ok(e.message.includes(f), 'the message names every fault');
    return faults;
  }
}

const subnet = (cidr: string, zone = 'eu-central-1a') => ({ cidr, zone });
const access = (over: Partial<Ec2Settings['access']>) => ({ access: { ...ec2().access, ...over } });

describe('the settings of ec2 and eucalyptus', () => {
  it('are accepted where they fit together', () => {
    for (const block of [ec2(), ec2({ image: '' }), threeZones({ edgeAddress: 'balancer' }), existing()])
      assert.deepEqual(faultsOf('ec2', block), []);
    assert.deepEqual(faultsOf('ec2', ec2({ subnets: [subnet('10.20.0.0/26', '')] })), []);
    assert.deepEqual(faultsOf('eucalyptus', eucalyptus()), []);
  });

  const WRONG: readonly [string, Ec2Settings, RegExp][] = [
    ['a region that is none', ec2({ region: '' }), /ec2\.region: ""/],
    ['an endpoint without a scheme', ec2({ endpoints: { ec2: 'localhost:5000' } }), /endpoints\.ec2: "localhost:5000"/],
    ['no subnet', ec2({ subnets: [] }), /subnets: is empty/],
    [
      'a subnet whose first addresses are EC2’s',
      ec2({ subnets: [subnet('10.20.0.0/27')] }),
      /subnets\[0\]\.cidr: .*\/26/,
    ],
    ['a subnet with host bits', ec2({ subnets: [subnet('10.20.0.1/20')] }), /subnets\[0\]\.cidr/],
    [
      'a subnet outside its VPC',
      ec2({ subnets: [subnet('10.21.0.0/20')] }),
      /does not lie in vpcCidr 10\.20\.0\.0\/16/,
    ],
    [
      'subnets that overlap',
      ec2({ subnets: [subnet('10.20.0.0/20'), subnet('10.20.8.0/21')] }),
      /overlaps subnets\[0\]/,
    ],
    ['a zone of another region', ec2({ subnets: [subnet('10.20.0.0/20', 'us-east-1a')] }), /not a zone of the region eu-central-1/], // prettier-ignore
    ['several subnets without zones', ec2({ subnets: [subnet('10.20.0.0/20'), subnet('10.20.16.0/20', '')] }), /subnets\[1\]\.zone: is missing/], // prettier-ignore
    ['an existing subnet without its VPC', ec2({ subnets: [{ ...subnet('10.20.0.0/20'), id: 'subnet-0a' }] }), /subnets\[0\]\.id: .*needs vpcId/], // prettier-ignore
    ['a balancer with two subnets in a zone', threeZones({ edgeAddress: 'balancer', subnets: [subnet('10.20.0.0/20'), subnet('10.20.16.0/20')] }), /eu-central-1a has two/], // prettier-ignore
    ['a VPC that is too large', ec2({ vpcCidr: '10.0.0.0/8' }), /vpcCidr: "10\.0\.0\.0\/8"/],
    ['operators from everywhere', ec2(access({ operators: ['0.0.0.0/0'] })), /access\.operators\[0\]: only clients/],
    ['ssh from everywhere', ec2(access({ ssh: ['0.0.0.0/0'] })), /access\.ssh\[0\]: only clients/],
    ['peers from everywhere', ec2(access({ peers: ['0.0.0.0/0'] })), /access\.peers\[0\]: only clients/],
    [
      'an address that is no network',
      ec2(access({ clients: ['203.0.113.7'] })),
      /access\.clients\[0\]: "203\.0\.113\.7"/,
    ],
    ['an image that is none', ec2({ image: 'debian-12' }), /image: "debian-12"/],
    ['a type that is none', ec2({ instanceTypes: { data: 'large', app: 'c6i.large', edge: 'c6i.large' } }), /instanceTypes\.data: "large"/], // prettier-ignore
    ['a disk of half a GiB', ec2({ diskGiB: 0.5 }), /diskGiB: 0\.5/],
    ['a machine to replace that is none', ec2({ replace: { 'data-9': 1 } }), /replace\.data-9: .*data-1/],
  ];
  for (const [what, block, fault] of WRONG)
    it(`are refused with ${what}`, () => {
      const faults = faultsOf('ec2', block);
      assert.equal(faults.length, 1, faults.join('\n'));
      assert.match(faults[0] ?? '', fault);
      assert.match(faults[0] ?? '', /^nxnw:cloud\.ec2\./);
    });

  it('need an image and an endpoint on Eucalyptus, and no balancer', () => {
    const faults = faultsOf('eucalyptus', eucalyptus({ image: '', endpoints: {}, edgeAddress: 'balancer' }));
    assert.deepEqual(faults.map((f) => f.split(':').slice(0, 2).join(':')).sort(), [
      'nxnw:cloud.eucalyptus.edgeAddress',
      'nxnw:cloud.eucalyptus.endpoints.ec2',
      'nxnw:cloud.eucalyptus.image',
    ]);
  });

  it('tell all faults at once', () => {
    assert.equal(faultsOf('ec2', ec2({ region: '!', image: 'x', diskGiB: 0, vpcCidr: '' })).length, 5);
  });

  it('give a machine user data of at most 16 KiB', () => {
    assert.equal(encodeUserData('#!/bin/sh\n', 'data-1'), 'IyEvYmluL3NoCg==');
    assert.equal(encodeUserData('é'.repeat(8192), 'data-1').length, 21_848);
    assert.throws(
      () => encodeUserData('é'.repeat(8193), 'data-1'),
      (e) => hasCode(e, 'BAD_CONFIG') && /of the machine data-1 has 16386 bytes, and EC2 takes 16384/.test(e.message),
    );
  });
});
