import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';
import { Gateway } from '@nxnw/platform/wire/gateway';
import { markersIn } from '@nxnw/migration/coordinator/codes';
import { ensureTools } from '@nxnw/tools';
import { joinBundle } from '../component/fixtures.js';
import { TestStack } from './stack.js';

/** Bad input to the real program, by the real engine: a clear error, nothing half-made. */
describe('the stack program', () => {
  let stack: TestStack;

  before(async function () {
    this.timeout(600_000);
    await ensureTools(['pulumi']);
    stack = new TestStack("module.exports = require('@nxnw/stacks');");
    await stack.init();
  });

  after(() => stack.remove());

  const machines = () => join(stack.dir, 'machines');

  async function fails(config: Record<string, unknown>, code: string, message: RegExp): Promise<void> {
    const all = { cloud: { kind: 'local', local: { directory: machines(), network: '127.30.8.0/24' } }, ...config };
    const keyed = Object.fromEntries(Object.entries(all).map(([k, v]) => [`nxnw:${k}`, v]));
    const salt = 'v1:jEbYAZtkvcY=:v1:OY7zsjo01BGNCDWF:6QKUiBxR70xtofC5tDYldTdgfQcjkA==';
    writeFileSync(join(stack.dir, 'Pulumi.dev.yaml'), stringify({ encryptionsalt: salt, config: keyed }));
    const up = await stack.up({ PULUMI_CONFIG_PASSPHRASE: 'x' });
    assert.notEqual(up.code, 0, up.text);
    if (code !== '') assert.ok(markersIn(up.text).includes(code), up.text);
    assert.match(up.text, message);
    assert.doesNotMatch(up.text, /\n\s+at .*\.js:\d+/, 'no stack trace for a fault of the input');
    assert.ok(!existsSync(machines()), 'no machine was made');
  }

  const bundle = (over: Parameters<typeof joinBundle>[0]) => JSON.stringify(joinBundle(over));

  it('names every fault of the configuration', async () => {
    await fails(
      { store: { kind: 'casandra' }, stge: 'x' },
      'BAD_CONFIG',
      /did you mean "cassandra"[\s\S]*did you mean "stage"/,
    );
  });

  it('says which stack it is that has no platform to take over from', async () => {
    await fails({ migrateFrom: 'nowhere' }, '', /organization\/probe\/nowhere/);
  });

  it('refuses a join bundle that is none, without showing it', async () => {
    await fails({ migrateFrom: '{"tls": {"key": "hunter2"}}' }, 'BAD_JOIN', /platformId[\s\S]*nxnw join/);
  });

  it('refuses a join bundle that has run out', async () => {
    await fails({ migrateFrom: bundle({ expiresAtMs: 1 }) }, 'JOIN_EXPIRED', /1970/);
  });

  it('names both versions where there is none in common', async () => {
    await fails({ migrateFrom: bundle({ protocols: [98, 99] }) }, 'NO_COMMON_PROTOCOL', /98, 99.* 1: none in common/);
  });

  it('makes nothing when the running platform does not answer', async () => {
    const agents = [{ machine: 'data-1', endpoint: '127.30.8.1:7400', roles: [] }];
    const authority = await createAuthority('shop-blue');
    const gateways = [{ machine: 'data-1', endpoint: '127.30.8.1:7460', reverse: [] }];
    const tls = await issueCertificate(authority, { name: 'coordinator-join', hosts: [] });
    await fails(
      { migrateFrom: bundle({ gateways, agents, tls }) },
      'SOURCE_UNREACHABLE',
      /shop-blue does not answer.*join port: 0 of 1.*127\.30\.8\.1:7460.*Tried: 127\.30\.8\.1:7400/,
    );
  });

  it("makes nothing when the running platform does not accept the bundle's certificate", async () => {
    const own = await issueCertificate(await createAuthority('shop-blue'), { name: 'data-1', hosts: [] });
    const foreign = await issueCertificate(await createAuthority('other'), { name: 'coordinator-join', hosts: [] });
    const refused: unknown[] = [];
    const listen = { host: '127.30.8.2', port: 7460 };
    const log = (event: string): void => void refused.push(event);
    const { gateway } = await Gateway.start({ listen, tls: own, allow: [], reverse: new Map(), log });
    try {
      const gateways = [{ machine: 'data-1', endpoint: '127.30.8.2:7460', reverse: [] }];
      const agents = [{ machine: 'data-1', endpoint: '127.30.8.2:7400', roles: [] }];
      // it trusts N1's authority, and N1 knows nobody by its own
      const tls = { ...foreign, ca: own.ca };
      await fails({ migrateFrom: bundle({ gateways, agents, tls }) }, 'SOURCE_UNREACHABLE', /certificate/);
      assert.ok(refused.includes('join.refused'), String(refused));
    } finally {
      await gateway.close();
    }
  });
});
