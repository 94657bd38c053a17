import assert from 'node:assert/strict';
import { hasCode } from '@nxnw/platform/errors';
import { secretsOf } from '@nxnw/components/seal';
import { parseConfig } from '@nxnw/stacks/config/parse';
import { compileSettings, splitPem } from '@nxnw/stacks/settings';
import { createAuthority } from '@nxnw/platform/wire/ca';
import { repoRoot } from '@nxnw/tools';
import { BUNDLE, joinBundle } from './fixtures.js';

function compile(values: Record<string, unknown>, source = joinBundle()) {
  const all = Object.fromEntries(
    Object.entries(values).map(([k, v]) => [`nxnw:${k}`, typeof v === 'string' ? v : JSON.stringify(v)]),
  );
  return compileSettings(parseConfig(all), 'green', repoRoot, source);
}

function faultOf(values: Record<string, unknown>, source = joinBundle()): string {
  try {
    compile(values, source);
  } catch (e) {
    assert.ok(hasCode(e, 'BAD_CONFIG'), String(e));
    return e.message;
  }
  throw new assert.AssertionError({ message: 'the configuration was accepted' });
}

describe('the settings of a stack that takes over', () => {
  it('inherit applications, shards and names from the source', () => {
    const s = compile({ migrateFrom: 'blue' });
    assert.equal(s.platformId, 'nxnw-green');
    assert.deepEqual(
      s.apps.map((a) => [a.id, a.bundle, a.directory, a.shards, a.domains]),
      [['gazetteer', BUNDLE, '', 8, ['gazetteer.test']]],
    );
  });

  it('take a bundle of their own where the stack has one, and still the shards of the source', () => {
    const s = compile({ migrateFrom: 'blue', apps: [{ id: 'gazetteer', bundle: 'examples/gazetteer' }] });
    assert.match(s.apps[0]?.bundle ?? '', /^[0-9a-f]{64}$/);
    assert.notEqual(s.apps[0]?.bundle, BUNDLE);
    assert.equal(s.apps[0]?.shards, 8);
  });

  it('refuse another number of shards, with both numbers', () => {
    assert.match(
      faultOf({ migrateFrom: 'blue', datastore: { shards: 16 } }),
      /has 8 shards on shop-blue.*\(given: 16\)/,
    );
  });

  it('refuse an application that the source does not have, naming those it has', () => {
    assert.match(
      faultOf({ migrateFrom: 'blue', migration: { apps: ['shop'] } }),
      /no application "shop"; it has: gazetteer/,
    );
  });

  it('refuse to move a name that the stack does not know', () => {
    const dns = { zone: 'a.test', name: 'shop.a.test', addresses: ['127.0.0.1'], ttlSeconds: 5 };
    const source = joinBundle({ dns });
    assert.match(faultOf({ migrateFrom: 'blue', stage: 'moved' }, source), /use shop\.a\.test.*\(given: none\)/);
    assert.equal(compile({ migrateFrom: 'blue', stage: 'switched' }, source).apps.length, 1);
  });

  it('refuse a platform as its own source', () => {
    assert.match(faultOf({ migrateFrom: 'green' }, joinBundle({ platformId: 'nxnw-green' })), /this very platform/);
  });

  it('name a bundle that is not there', () => {
    assert.match(faultOf({ apps: [{ id: 'x', bundle: 'examples/none' }] }), /nxnw:apps\[0\]\.bundle: .*no app\.yaml/);
  });

  it('take a certificate and its key from one PEM text', async () => {
    const { cert, key } = await createAuthority('x');
    assert.deepEqual(splitPem(`${key.trim()}\n${cert.trim()}\n`), {
      certPem: `${cert.trim()}\n`,
      keyPem: `${key.trim()}\n`,
    });
    assert.equal(splitPem(cert), undefined);
    assert.match(faultOf({ edge: { certificate: { secret: 'x' } } }), /both PEM/);
  });

  it('hand credentials for Route 53 on, and keep the secret one secret', () => {
    const credentials = { accessKeyId: 'AKIA1', secretAccessKey: 'hunter2' };
    const s = compile({
      migrateFrom: 'blue',
      dns: { driver: 'route53', zone: 'a.test', name: 'x.a.test', route53: { hostedZoneId: 'Z1', credentials } },
    });
    assert.deepEqual(s.dns?.route53?.credentials, credentials);
    assert.deepEqual([secretsOf(s).has('hunter2'), secretsOf(s).has('AKIA1')], [true, false]);
  });
});
