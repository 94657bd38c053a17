import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import { createLocalMachine, destroyLocalMachine } from '@nxnw/platform/agent/local';
import { markedProcesses } from '@nxnw/platform/agent/procfs';
import type { RoleSpecInput } from '@nxnw/platform/agent/spec';
import { packBundle } from '@nxnw/platform/apps/bundle';
import { hasCode } from '@nxnw/platform/errors';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import { TestPlatform, pids, rolesAt, through, tinyApp, until } from '../support/agents.js';

const A = '127.31.1.1';

describe('the agent of a local machine', function () {
  this.timeout(60_000);
  let blue: TestPlatform;
  let machine: Awaited<ReturnType<TestPlatform['machine']>>;
  let agent: AgentClient;
  let bundle: { digest: string; archive: Buffer };
  let roles: RoleSpecInput[];

  before(async () => {
    blue = await TestPlatform.create('blue');
    machine = await blue.machine('m1', A);
    agent = machine.agent;
    bundle = packBundle(tinyApp());
    roles = rolesAt(A, bundle.digest);
  });

  after(async () => {
    await blue.destroy();
    assert.deepEqual(markedProcesses(machine.info.dir), [], 'nothing of the machine runs on');
    assert.equal(existsSync(machine.info.dir), false);
  });

  it('says which bundle is missing, and goes on by itself when it has been uploaded', async () => {
    await assert.rejects(agent.converge(roles, Date.now() + 20_000), (e) => hasCode(e, 'BUNDLE_MISSING'));
    await agent.upload(bundle.digest, bundle.archive);
    const answer = await agent.converge(roles, Date.now() + 20_000);
    assert.deepEqual(
      answer.status.roles.map((r) => [r.id, r.state]),
      ['locks', 'store', 'cache-shop', 'shop', 'edge'].map((id) => [id, 'healthy']),
    );
  });

  it('gives back an uploaded bundle, and refuses one with another digest', async () => {
    assert.deepEqual(await agent.download(bundle.digest), bundle.archive);
    const wrong = 'f'.repeat(64);
    await assert.rejects(agent.upload(wrong, Buffer.from('not that')), (e) => hasCode(e, 'DIGEST_MISMATCH'));
    await assert.rejects(agent.download(wrong), (e) => hasCode(e, 'NOT_FOUND'));
  });

  it('serves the application through the edge, with the environment that it is promised', async () => {
    const seen = await until('an answer', 5000, async () => {
      const s = await through(A, 8080, 'shop.test:8080');
      return s.status === 200 && s;
    });
    assert.equal(seen.env['DATASTORE_EMULATOR_HOST'], `${A}:8081`);
    assert.equal(seen.env['DATASTORE_PROJECT_ID'], 'shop');
    assert.equal(seen.env['MEMCACHE_SERVERS'], `${A}:11211`);
    assert.equal(seen.env['ZOOKEEPER_SERVERS'], `${A}:2181/apps/shop`);
    assert.equal(readFileSync(seen.env['NXNW_SERVING'] ?? '', 'utf8').trim(), 'serving');
    assert.deepEqual([seen.env['COLOUR'], seen.env['VERSION'], seen.env['TOKEN']], ['plain', '1', 'very-secret-token']);
    assert.equal((await through(A, 8080, 'other.test')).status, 404);
    const zk = await ZooKeeper.connect({ servers: `${A}:2181/apps/shop` });
    await zk.create('/hello', null);
    await zk.close();
  });

  it('puts no secret into the arguments of a process', () => {
    for (const p of markedProcesses(machine.info.dir))
      assert.equal(readFileSync(`/proc/${p.pid}/cmdline`, 'utf8').includes('very-secret-token'), false, p.name);
  });

  it('does nothing for a specification that is in force already', async () => {
    const before = await agent.status();
    const answer = await agent.apply(roles);
    assert.deepEqual([answer.converged, answer.changes], [true, []]);
    assert.deepEqual(pids(answer.status), pids(before));
    assert.equal((await machine.again()).agentPid, before.agentPid);
  });

  it('is killed and started again without a restart of any role', async () => {
    const before = await agent.status();
    process.kill(before.agentPid, 'SIGKILL');
    await until('the end of the agent', 5000, async () => Promise.resolve(!existsSync(`/proc/${before.agentPid}/exe`)));
    assert.equal((await through(A, 8080, 'shop.test')).status, 200);
    await machine.again();
    const answer = await agent.converge(roles, Date.now() + 20_000);
    assert.notEqual(answer.status.agentPid, before.agentPid);
    assert.deepEqual(pids(answer.status), pids(before));
    assert.ok(answer.status.roles.every((r) => r.processes.every((p) => p.restarts === 0)));
  });

  it('knows its processes again even when it was killed before it wrote them down', async () => {
    const before = await agent.status();
    process.kill(before.agentPid, 'SIGKILL');
    rmSync(join(machine.info.dir, 'state/processes'), { recursive: true });
    await machine.again();
    assert.deepEqual(pids((await agent.converge(roles, Date.now() + 20_000)).status), pids(before));
  });

  it('replaces itself on demand without a restart of any role', async () => {
    const before = await agent.status();
    await agent.restartAgent();
    const after = await until('the successor', 10_000, async () => {
      const s = await agent.status().catch(() => null);
      return s !== null && s.agentPid !== before.agentPid && s.roles.length === before.roles.length && s;
    });
    assert.deepEqual(pids(after), pids(before));
  });

  it('starts a role again that was killed, and counts it', async () => {
    const before = pids(await agent.status());
    process.kill(before['locks'] ?? 0, 'SIGKILL');
    process.kill(before['edge'] ?? 0, 'SIGKILL');
    const after = await until('both back', 20_000, async () => {
      const s = await agent.status();
      const back = s.roles.filter((r) => ['locks', 'edge'].includes(r.id));
      return back.every((r) => r.state === 'healthy' && r.processes[0]?.restarts === 1) && s;
    });
    assert.notEqual(pids(after)['locks'], before['locks']);
    assert.equal(pids(after)['cache-shop'], before['cache-shop']);
    const zk = await ZooKeeper.connect({ servers: `${A}:2181/apps/shop` });
    assert.ok(await zk.exists('/hello'), 'its data is still there');
    await zk.close();
  });

  it('restarts only what a change concerns, one instance after another', async () => {
    const before = pids(await agent.status());
    const next = packBundle(tinyApp('2'));
    await agent.upload(next.digest, next.archive);
    roles = roles.map((r) => (r.kind === 'app' ? { ...r, bundle: next.digest } : r));
    let failed = 0;
    let ended = false;
    const load = (async () => {
      while (!ended) if ((await through(A, 8080, 'shop.test')).status !== 200) failed++;
    })();
    const answer = await agent.converge(roles, Date.now() + 20_000);
    ended = true;
    await load;
    const after = pids(answer.status);
    assert.equal(failed, 0);
    assert.deepEqual(
      [after['locks'], after['cache-shop'], after['edge']],
      [before['locks'], before['cache-shop'], before['edge']],
    );
    assert.notEqual(after['shop-8101'], before['shop-8101']);
    assert.equal((await through(A, 8080, 'shop.test')).env['VERSION'], '2');
  });

  it('names the process that holds a port, and starts when it is free', async () => {
    const squatter = createServer().listen(8103, A);
    await once(squatter, 'listening');
    const wanted = roles.map((r) =>
      r.kind === 'app' ? { ...r, instances: [...r.instances, { host: A, port: 8103 }] } : r,
    );
    await assert.rejects(agent.converge(wanted, Date.now() + 20_000), (e) => {
      assert.ok(hasCode(e, 'PORT_IN_USE'), String(e));
      assert.match(e.message, new RegExp(`${A}:8103 is in use by process ${process.pid} \\(.*mocha`));
      return true;
    });
    squatter.close();
    await until('the third instance', 10_000, async () => (await agent.apply(wanted, 500)).converged);
    await agent.converge(roles, Date.now() + 10_000);
    assert.equal(pids(await agent.status())['shop-8103'], undefined);
  });

  it('refuses a wrong specification with every fault and its place', async () => {
    const wrong: RoleSpecInput[] = [
      { kind: 'cache', id: 'UPPER', app: 'shop', host: A, memoryMiB: 1 },
      { kind: 'lmdb', id: 'twice' },
      { kind: 'lmdb', id: 'twice' },
    ];
    await assert.rejects(agent.apply(wrong), (e) => {
      assert.ok(hasCode(e, 'INVALID_SPEC'));
      assert.match(e.message, /roles\.0\.id: .*roles\.0\.memoryMiB: /);
      return true;
    });
    await assert.rejects(agent.apply(wrong.slice(1)), /"twice" is used by two roles/);
    assert.equal((await agent.status()).roles.length, 5);
  });

  it('lets a machine certificate read only, and another platform nothing at all', async () => {
    const own = new AgentClient(machine.info.target, await blue.issue('m1', [A]));
    assert.equal((await own.status()).machine, 'm1');
    await assert.rejects(own.stop(), (e) => hasCode(e, 'PERMISSION_DENIED'));
    own.close();
    const stranger = new AgentClient(machine.info.target, (await TestPlatform.create('green')).operator);
    await assert.rejects(stranger.status(), (e) => hasCode(e, 'UNAVAILABLE'));
    stranger.close();
  });

  it('keeps stores and shards, and refuses to be destroyed, while it is held', async () => {
    await agent.hold('migration', 'source of green');
    await assert.rejects(agent.apply(roles.filter((r) => r.kind !== 'lmdb')), (e) => hasCode(e, 'HELD'));
    await assert.rejects(agent.destroy(), /hold "migration" \(source of green\)/);
    await assert.rejects(destroyLocalMachine({ dir: machine.info.dir }), (e) => hasCode(e, 'HELD'));
    assert.equal((await agent.apply(roles)).converged, true);
    assert.deepEqual((await agent.release('migration')).holds, []);
  });

  it('tells figures in the form of Prometheus, and the last lines of a log', async () => {
    const text = await agent.metrics();
    assert.match(text, /nxnw_role_healthy\{role="locks",kind="locks",platform="blue",machine="m1"\} 1/);
    assert.match(text, /nxnw_process_resident_bytes\{role="cache-shop",.*\} \d{6,}/);
    assert.match((await agent.logs('agent', 1000)).join('\n'), /process.healthy/);
    await assert.rejects(agent.logs('nothing'), (e) => hasCode(e, 'NOT_FOUND'));
  });

  it('stops all, keeps the data, and starts again with the next apply', async () => {
    const stopped = await agent.stop();
    assert.deepEqual(Object.values(pids(stopped)), []);
    assert.deepEqual(markedProcesses(machine.info.dir), []);
    await agent.converge(roles, Date.now() + 20_000);
    const zk = await ZooKeeper.connect({ servers: `${A}:2181/apps/shop` });
    assert.ok(await zk.exists('/hello'));
    await zk.close();
  });
});

describe('a local machine', function () {
  this.timeout(30_000);

  it('is not made where the agent port is in use, and the error names the process', async () => {
    const squatter = createServer().listen(7400, '127.31.3.1');
    await once(squatter, 'listening');
    const platform = await TestPlatform.create('blue');
    await assert.rejects(
      platform.machine('m1', '127.31.3.1'),
      (e) => hasCode(e, 'PORT_IN_USE') && e.message.includes(`${process.pid}`),
    );
    squatter.close();
    await platform.destroy();
  });

  it('is not made in the directory of another machine', async () => {
    const platform = await TestPlatform.create('blue');
    const { info } = await platform.machine('m1', '127.31.3.1');
    const tls = await platform.issue('m2', ['127.31.3.2']);
    const other = { dir: info.dir, platformId: 'blue', machine: 'm2', address: '127.31.3.2', tls };
    await assert.rejects(createLocalMachine(other), (e) => hasCode(e, 'DIRECTORY_IN_USE'));
    await platform.destroy();
    await destroyLocalMachine({ dir: info.dir });
  });

  it('takes a new certificate without a restart of its roles, and is gone when its agent destroyed it', async () => {
    const platform = await TestPlatform.create('blue');
    const host = '127.31.3.3';
    const { info, agent } = await platform.machine('m1', host);
    const cache: RoleSpecInput = { kind: 'cache', id: 'cache', app: 'shop', host, memoryMiB: 16 };
    const before = await agent.converge([cache], Date.now() + 10_000);
    const tls = await platform.issue('m1', [host]);
    const renewed = await createLocalMachine({ dir: info.dir, platformId: 'blue', machine: 'm1', address: host, tls });
    assert.notEqual(renewed.agentPid, info.agentPid);
    const after = await agent.converge([cache], Date.now() + 10_000);
    assert.deepEqual(pids(after.status), pids(before.status));
    await agent.destroy();
    await until('the end of it all', 10_000, async () => Promise.resolve(!existsSync(info.dir)));
    assert.deepEqual(markedProcesses(info.dir), []);
    await platform.destroy();
  });
});
