import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import { destroyLocalMachine, stopLocalAgent } from '@nxnw/platform/agent/local';
import { readAccess } from '@nxnw/migration/resources/engines/access';
import { ensureTools } from '@nxnw/tools';
import { until } from '../support/agents.js';
import { TestStack } from './stack.js';

const HOST = '127.30.2.11';

/** One machine with a ZooKeeper and a memcached, as the components make it. */
const program = (memoryMiB: number) => `
const { Authority } = require('@nxnw/migration/resources/authority');
const { Certificate } = require('@nxnw/migration/resources/certificate');
const { LocalMachine } = require('@nxnw/migration/resources/machine');
const { RoleSet } = require('@nxnw/migration/resources/role-set');
const { OperatorAccess } = require('@nxnw/migration/resources/access');
const authority = new Authority('authority', { platformId: 'probe' });
const certificate = (name, hosts) => new Certificate(name, {
  authorityCert: authority.cert, authorityKey: authority.key, name, hosts, days: 730,
});
const operator = certificate('operator', []);
const machine = new LocalMachine('m', {
  platformId: 'probe', machine: 'data-1', host: '${HOST}', port: 7400, directory: dir + '/machine',
  tls: certificate('data-1', ['${HOST}']).tls, operator: operator.tls,
});
const roles = new RoleSet('roles', {
  machine: 'data-1', agent: machine.agent, member: machine.made, operator: operator.tls,
  roles: [
    { kind: 'locks', id: 'locks', host: '${HOST}' },
    { kind: 'cache', id: 'cache', app: 'shop', host: '${HOST}', memoryMiB: ${String(memoryMiB)} },
  ],
});
new OperatorAccess('access', {
  path: dir + '/.nxnw/access/dev.json',
  access: {
    platformId: 'probe', stack: 'dev', operator: operator.tls, coordinator: null,
    agents: [{ machine: 'data-1', endpoint: '${HOST}:7400', roles: ['locks', 'cache'] }],
  },
}, { dependsOn: [roles] });
exports.agent = machine.agent;
`;

describe('machines and roles by the real Pulumi', () => {
  let stack: TestStack;

  before(async function () {
    this.timeout(600_000);
    await ensureTools(['pulumi', 'zookeeper', 'memcached']);
    stack = new TestStack(program(16));
    await stack.init();
  });

  after(async () => {
    await destroyLocalMachine({ dir: join(stack.dir, 'machine') });
    stack.remove();
  });

  async function agent<T>(ask: (c: AgentClient) => Promise<T>): Promise<T> {
    const access = readAccess(stack.dir, 'dev');
    const client = new AgentClient(`${HOST}:7400`, access.operator);
    try {
      return await ask(client);
    } finally {
      client.close();
    }
  }

  const pidsOf = () =>
    agent(async (c) => (await c.status()).roles.flatMap((r) => r.processes.map((p) => p.pid)).sort());

  it('up makes the machine, and its roles are healthy when it ends', async () => {
    const up = await stack.up();
    assert.equal(up.code, 0, up.text);
    const { roles } = await agent((c) => c.status());
    assert.deepEqual(
      roles.map((r) => [r.id, r.state]),
      [
        ['locks', 'healthy'],
        ['cache', 'healthy'],
      ],
    );
  });

  it('an idle stack is quiet, in preview and in refresh', async () => {
    for (const run of [await stack.quiet(), await stack.quietRefresh()]) assert.equal(run.code, 0, run.text);
  });

  it('a changed role is brought about without touching the others', async () => {
    const before = await pidsOf();
    stack.program(program(24));
    const up = await stack.up();
    assert.equal(up.code, 0, up.text);
    const after = await pidsOf();
    assert.equal(after.filter((p) => before.includes(p)).length, 1, 'ZooKeeper goes on, memcached is started again');
  });

  it('an agent that was stopped is drift; the next up starts it and leaves the roles alone', async () => {
    const before = await pidsOf();
    await stopLocalAgent({ dir: join(stack.dir, 'machine') });
    assert.notEqual((await stack.quietRefresh()).code, 0);
    assert.equal((await stack.refresh()).code, 0);
    const up = await stack.up();
    assert.equal(up.code, 0, up.text);
    assert.deepEqual(await pidsOf(), before);
  });

  it('a machine that was lost is made anew, with its roles', async () => {
    const { operator } = readAccess(stack.dir, 'dev');
    const client = new AgentClient(`${HOST}:7400`, operator);
    await client.destroy();
    client.close();
    const dir = join(stack.dir, 'machine');
    await until('the machine gone', 20_000, () => Promise.resolve(!existsSync(dir)));
    assert.equal((await stack.refresh()).code, 0);
    const up = await stack.up();
    assert.equal(up.code, 0, up.text);
    const { roles } = await agent((c) => c.status());
    assert.deepEqual(
      roles.map((r) => `${r.id} ${r.state}`),
      ['locks healthy', 'cache healthy'],
    );
  });

  it('the state holds no key in the clear and no code beyond the thin methods', () => {
    const state = stack.state();
    assert.doesNotMatch(state, /PRIVATE KEY/);
    const { key } = readAccess(stack.dir, 'dev').operator;
    assert.ok(!state.includes(key.split('\n')[1] ?? key));
    const code = [...state.matchAll(/"__provider": "((?:[^"\\]|\\.)*)"/g)].map((m) => (m[1] ?? '').length);
    assert.ok(Math.max(...code) < 6000, `the longest provider has ${String(Math.max(...code))} characters`);
  });

  it('a held machine refuses destroy with the reason, and nothing is taken apart', async () => {
    await agent((c) => c.hold('migration', 'source of shop-green'));
    const before = await pidsOf();
    const destroy = await stack.destroy();
    assert.notEqual(destroy.code, 0);
    assert.match(destroy.text, /\[nxnw:HELD\].*source of shop-green/);
    assert.deepEqual(await pidsOf(), before);
    const quiet = await stack.quiet();
    assert.equal(quiet.code, 0, quiet.text);
    await agent((c) => c.release('migration'));
  });

  it('a port that another program holds is named with its process', async () => {
    const other = new TestStack(program(16).replaceAll('probe', 'other'));
    await other.init();
    try {
      const up = await other.up();
      assert.notEqual(up.code, 0);
      assert.match(up.text, /\[nxnw:PORT_IN_USE\] .*127\.30\.2\.11:7400 is in use by process \d+/);
      assert.equal((await other.destroy()).code, 0);
    } finally {
      await destroyLocalMachine({ dir: join(other.dir, 'machine') });
      other.remove();
    }
  });

  it('destroy leaves nothing: no process, no folder, no access', async () => {
    const pids = await pidsOf();
    const destroy = await stack.destroy();
    assert.equal(destroy.code, 0, destroy.text);
    assert.ok(!existsSync(join(stack.dir, 'machine')));
    assert.ok(!existsSync(join(stack.dir, '.nxnw', 'access', 'dev.json')));
    for (const pid of pids) assert.ok(gone(pid), `process ${String(pid)} still runs`);
  });
});

/** Ended; one that nobody has waited for yet counts as ended. */
function gone(pid: number): boolean {
  try {
    return readFileSync(`/proc/${String(pid)}/stat`, 'utf8').includes(') Z ');
  } catch {
    return true;
  }
}
