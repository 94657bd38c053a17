import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { STAGE_OF } from '@nxnw/migration/coordinator/api';
import { LAST_PHASE } from '@nxnw/policy/rules';
import { ensureTools, repoRoot } from '@nxnw/tools';
import { TestStack } from './stack.js';

const PACK = ['--policy-pack', join(repoRoot, 'policy')];

/** Resources of nxnw's types with properties of the test's own, made by nobody. */
const PROGRAM = `
const provider = {
  create: async (inputs) => ({ id: 'x', outs: { ...inputs, ...inputs.made } }),
  diff: async (id, olds, news) => ({ changes: JSON.stringify(olds.given) !== JSON.stringify(news.given) }),
  update: async (id, olds, news) => ({ outs: { ...news, ...news.made } }),
};
const make = (type, name, props, opts = {}) =>
  new pulumi.dynamic.Resource(provider, name, { ...props, given: props }, opts, 'nxnw', type);
`;

describe('the policy pack, by the real engine', function () {
  this.timeout(300_000);
  let stack: TestStack;

  before(async () => {
    await ensureTools(['pulumi']);
    stack = new TestStack('');
    await stack.init();
  });
  after(() => stack.remove());

  const program = (text: string) => stack.program(`${PROGRAM}\n${text}`);
  const preview = (extra: readonly string[] = []) => stack.run(['preview', '--stack', 'dev', ...PACK, ...extra]);

  it('lets the local cloud pass as the stack program makes it', async () => {
    const local = new TestStack("module.exports = require('@nxnw/stacks');");
    try {
      await local.init();
      const salt = 'v1:jEbYAZtkvcY=:v1:OY7zsjo01BGNCDWF:6QKUiBxR70xtofC5tDYldTdgfQcjkA==';
      const cloud = { kind: 'local', local: { directory: join(local.dir, 'machines'), network: '127.41.8.0/24' } };
      const config = { 'nxnw:cloud': cloud, 'nxnw:store': { kind: 'lmdb' } };
      writeFileSync(join(local.dir, 'Pulumi.dev.yaml'), stringify({ encryptionsalt: salt, config }));
      const ran = await local.run(['preview', '--stack', 'dev', ...PACK], { PULUMI_CONFIG_PASSPHRASE: 'x' });
      assert.equal(ran.code, 0, ran.text);
      assert.match(ran.text, /nxnw/);
    } finally {
      local.remove();
    }
  });

  it('names data that is not protected, an edge without certificate, open plain ports and a long TTL', async () => {
    program(`
      make('LocalMachine', 'm1', { machine: 'data-1', host: '10.0.0.1' });
      make('LocalMachine', 'm2', { machine: 'data-2', host: '10.0.0.2' }, { protect: true });
      make('RoleSet', 'r1', { machine: 'data-1', roles: [{ kind: 'lmdb', id: 'store' }, { kind: 'cache', id: 'cache', host: '0.0.0.0' }] });
      make('RoleSet', 'r2', { machine: 'data-2', roles: [{ kind: 'locks', id: 'locks', host: '10.0.0.2' }] });
      make('RoleSet', 'r3', { machine: 'edge-1', roles: [{ kind: 'edge', id: 'edge', http: { host: '93.184.216.34', port: 80 } }] });
      make('DnsRecord', 'd', { dns: { ttlSeconds: 3600, restoreTtlSeconds: 60 } });
    `);
    const ran = await preview();
    assert.notEqual(ran.code, 0, ran.text);
    assert.match(ran.text, /machine data-1 holds a store or locks and is not protected/);
    assert.doesNotMatch(ran.text, /machine data-2/);
    assert.match(ran.text, /the edge on 93\.184\.216\.34 has no certificate/);
    assert.match(ran.text, /role cache \(cache\) listens without TLS on 0\.0\.0\.0/);
    assert.doesNotMatch(ran.text, /role locks/);
    assert.match(ran.text, /ttlSeconds is 3600; allowed are 5 to 300/);
    assert.match(ran.text, /restoreTtlSeconds is 60, less than ttlSeconds/);
  });

  it('takes the bounds of the TTL from its configuration', async () => {
    program(`make('DnsRecord', 'd', { dns: { ttlSeconds: 3600, restoreTtlSeconds: 3600 } });`);
    const config = join(stack.dir, 'policy.json');
    writeFileSync(config, JSON.stringify({ 'ttl-bounds': { maxSeconds: 7200 } }));
    const ran = await preview(['--policy-pack-config', config]);
    assert.equal(ran.code, 0, ran.text);
  });

  it('lets a migration go up one stage at a time', async () => {
    const phases = (names: readonly string[]) =>
      names.map((n) => `make('${n}', '${n}', { made: { reached: true }, reached: undefined });`).join('\n');
    const at = (stage: string, names: readonly string[]) => program(`make('Migration', 'm', { stage: '${stage}' });\n${phases(names)}`); // prettier-ignore
    at('synced', ['Verification']);
    const first = await stack.run(['up', '--yes', '--stack', 'dev', ...PACK]);
    assert.equal(first.code, 0, first.text);
    at('moved', ['Verification', 'Cutover', 'DnsHandoff']);
    const jump = await preview();
    assert.notEqual(jump.code, 0, jump.text);
    assert.match(jump.text, /stage is moved, and synced is reached; the next stage is switched/);
    at('switched', ['Verification', 'Cutover']);
    const next = await preview();
    assert.equal(next.code, 0, next.text);
  });

  it('knows the phases of the coordinator', () => {
    for (const [phase, stage] of Object.entries(LAST_PHASE)) assert.equal(new Map<string, string>(Object.entries(STAGE_OF)).get(phase), stage); // prettier-ignore
  });
});
