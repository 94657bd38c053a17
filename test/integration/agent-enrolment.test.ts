import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import type { MachineStatus } from '@nxnw/platform/agent/api';
import { EnrolmentClient, meet } from '@nxnw/platform/agent/enrol-client';
import type { RoleSpecInput } from '@nxnw/platform/agent/spec';
import { hasCode } from '@nxnw/platform/errors';
import { createAuthority, issueCertificate, signRequest } from '@nxnw/platform/wire/ca';
import { digestOfToken, newToken } from '@nxnw/platform/wire/enrolment';
import { RpcClient } from '@nxnw/platform/wire/rpc';
import { enrol, enrolmentDiffers } from '@nxnw/migration/resources/engines/enrolment';
import { makeToken, readToken } from '@nxnw/migration/resources/engines/enrolment-token';
import { pids, until } from '../support/agents.js';
import { EnrollingPlatform, manInTheMiddle } from '../support/enrolling.js';
import type { EnrollingMachine } from '../support/enrolling.js';

const quiet = (): void => undefined;
const HOST = '127.47.1.11';

describe('enrolment of a machine', function () {
  this.timeout(60_000);
  let blue: EnrollingPlatform;

  beforeEach(async () => {
    blue = await EnrollingPlatform.create('blue');
  });
  afterEach(() => blue.destroy());

  async function ask<T>(m: EnrollingMachine, question: (c: AgentClient) => Promise<T>): Promise<T> {
    const client = new AgentClient(m.target, blue.operator);
    try {
      return await question(client);
    } finally {
      client.close();
    }
  }
  const status = (m: EnrollingMachine): Promise<MachineStatus> => ask(m, (c) => c.status());

  /** The certificate of the agent that waits there. */
  async function waiting(m: EnrollingMachine): Promise<string> {
    return until(`${m.target} to wait`, 15_000, async () => {
      const met = await meet(m.target, { ca: blue.authority.cert, machine: 'data-1' }, 2000);
      return met.kind === 'stranger' && met.certPem;
    });
  }

  it('waits for a machine that boots late, and makes it a member that answers to the operator', async () => {
    const m = blue.machine('data-1', HOST);
    const said: string[] = [];
    const done = enrol(m.inputs(), null, (line) => said.push(line));
    await until('progress', 10_000, () => Promise.resolve(said.length > 0));
    m.start();
    const state = await done;
    assert.match(
      said[0] ?? '',
      /^waiting for the agent of data-1 at 127.47.1.11:7400 \(.*ECONNREFUSED.*\); 0 s so far$/,
    );
    const { platformId, machine } = await status(m);
    assert.deepEqual([platformId, machine], ['blue', 'data-1']);
    assert.equal(state.usedToken, digestOfToken(m.token));
    assert.match(state.fingerprint, /^[0-9a-f]{64}$/);
    assert.equal(enrolmentDiffers(state, m.inputs(), Date.now()), false);
  });

  it('leaves no token on the machine, and a key that only its owner can read', async () => {
    const m = blue.machine('data-1', HOST);
    m.start();
    const state = await enrol(m.inputs(), null, quiet);
    assert.equal(m.hasToken, false);
    const files = readdirSync(m.dir, { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
    for (const f of files.map((f) => join(f.parentPath, f.name)))
      assert.equal(readFileSync(f, 'utf8').includes(m.token), false, f);
    assert.equal(statSync(m.tls().key).mode & 0o777, 0o600);
    assert.equal(JSON.stringify(state).includes(readFileSync(m.tls().key, 'utf8').split('\n')[1] ?? '?'), false);
  });

  it('is done once: again it changes nothing', async () => {
    const m = blue.machine('data-1', HOST);
    m.start();
    const state = await enrol(m.inputs(), null, quiet);
    const { agentPid } = await status(m);
    assert.deepEqual(await enrol(m.inputs(), state, quiet), state);
    // a run that was killed before it wrote down what it had done
    assert.deepEqual(await enrol(m.inputs(), null, quiet), state);
    assert.equal((await status(m)).agentPid, agentPid);
  });

  it('serves nothing but enrolment while it waits', async () => {
    const m = blue.machine('data-1', HOST);
    m.start();
    const client = new RpcClient(m.target, { ca: await waiting(m) });
    for (const path of ['agent.status', 'agent.apply', 'agent.destroy', 'health.check'])
      await assert.rejects(client.call(path, {}, { deadlineMs: Date.now() + 5000 }), (e) =>
        hasCode(e, 'UNIMPLEMENTED'),
      );
    await assert.rejects(client.call('enrol.hello', { x: 1 }, { deadlineMs: Date.now() + 5000 }), (e) => hasCode(e, 'INVALID_ARGUMENT')); // prettier-ignore
    client.close();
  });

  it('is refused for a wrong token, for the token of another machine, and for another machine', async () => {
    const [m, other] = [blue.machine('data-1', HOST), blue.machine('data-2', '127.47.1.12')];
    m.start();
    other.start();
    await waiting(m);
    await waiting(other);
    const refused = (change: object, why: RegExp) =>
      assert.rejects(
        enrol(m.inputs(change), null, quiet),
        (e) => hasCode(e, 'ENROLMENT_REFUSED') && why.test(e.message),
      );
    await refused({ token: newToken() }, /does not prove the token/);
    await refused({ token: other.token }, /does not prove the token/);
    await refused({ agent: other.target }, /there waits machine data-2 of platform blue/);
    assert.deepEqual([m.isEnrolled, other.isEnrolled], [false, false]);
    await enrol(other.inputs(), null, quiet);
    await refused({ agent: other.target }, /answers machine data-2 of platform blue, where data-1 was expected/);
    await enrol(m.inputs(), null, quiet);
  });

  it('takes a token once: a machine that is made again from the same user data needs a fresh one', async () => {
    const m = blue.machine('data-1', HOST);
    m.start();
    const state = await enrol(m.inputs(), null, quiet);
    m.kill();
    const again = blue.machine('data-1', HOST, m.token);
    await until('the end of the first', 5000, () => Promise.resolve(!m.isRunning));
    again.start();
    await waiting(again);
    const used = (e: unknown) => hasCode(e, 'ENROLMENT_TOKEN_USED') && /`nxnw refresh`.*`nxnw up`/.test(e.message);
    await assert.rejects(enrol(again.inputs({ serverId: 'i-2' }), state, quiet), used);
    again.kill();
    await assert.rejects(enrol(again.inputs({ waitMinutes: 0.02 }), state, quiet), used);
    assert.equal(again.isEnrolled, false);
  });

  it('names cloud, machine, its console, the image, address, port and rules when nothing answers', async () => {
    const m = blue.machine('data-1', HOST);
    await assert.rejects(enrol(m.inputs({ waitMinutes: 0.02 }), null, quiet), (e) => {
      assert.ok(hasCode(e, 'AGENT_UNREACHABLE'));
      assert.match(
        e.message,
        /cloud kvm, machine data-1 of .*127\.47\.1\.11:7400 .*`virsh console data-1`.* image .*address .*security rules .*port 7400.*goes on/,
      );
      return true;
    });
  });

  it('is not fooled by somebody between who passes everything on with a certificate of his own', async () => {
    const m = blue.machine('data-1', HOST);
    m.start();
    await waiting(m);
    const { server, seen } = await manInTheMiddle('127.47.1.99', m.target);
    try {
      await assert.rejects(
        enrol(m.inputs({ agent: '127.47.1.99:7400' }), null, quiet),
        (e) => hasCode(e, 'ENROLMENT_REFUSED') && /somebody stands between/.test(e.message),
      );
      assert.ok(seen() > 0, 'he was asked');
      assert.equal(m.isEnrolled, false);
    } finally {
      server.close();
    }
  });

  it('gives itself to no other authority, even when somebody has read the token in its user data', async () => {
    const m = blue.machine('data-1', HOST);
    m.start();
    await waiting(m);
    const thief = await createAuthority('blue');
    const client = new EnrolmentClient(m.target, await waiting(m), m.inputs());
    const attempt = await client.hello();
    const cert = await signRequest(thief, attempt.csr, { name: 'data-1', hosts: [] });
    await assert.rejects(client.accept(attempt, { cert, ca: thief.cert }), (e) => hasCode(e, 'CERTIFICATE_REFUSED'));
    client.close();
    await enrol(m.inputs(), null, quiet);
  });

  it('goes on when the operator was killed between asking and answering', async () => {
    const m = blue.machine('data-1', HOST);
    m.start();
    const first = new EnrolmentClient(m.target, await waiting(m), m.inputs());
    await first.hello();
    first.close();
    await enrol(m.inputs(), null, quiet);
    assert.equal((await status(m)).machine, 'data-1');
  });

  for (const at of ['begin', 'key', 'cert', 'ca', 'config', 'done'])
    it(`killed at identity.${at} the machine either waits with its token or is enrolled, and the same run goes on`, async () => {
      const m = blue.machine('data-1', HOST);
      const agent = m.start(`identity.${at}=kill`);
      const done = enrol(m.inputs(), null, quiet);
      await once(agent, 'exit');
      assert.equal(agent.signalCode, 'SIGKILL');
      assert.equal(m.isEnrolled, at === 'config' || at === 'done');
      assert.equal(m.hasToken, at !== 'done');
      m.start();
      await done;
      assert.equal((await status(m)).machine, 'data-1');
      assert.deepEqual([m.isEnrolled, m.hasToken], [true, false]);
      assert.equal(readdirSync(join(m.dir, 'tls')).length, 1, 'no key is left over');
    });

  it('is over for a machine whose user data is written again by a later boot', async () => {
    const m = blue.machine('data-1', HOST);
    m.start();
    await enrol(m.inputs(), null, quiet);
    m.kill();
    m.tell();
    m.start();
    await until('the agent', 15_000, () => status(m).catch(() => null));
    assert.equal(m.hasToken, false);
  });

  it('says what is wrong with a file that it cannot read', async () => {
    const m = blue.machine('data-1', HOST);
    writeFileSync(join(m.dir, 'enrol.json'), '{"machine": "data-1"}');
    const [code] = (await once(m.start(), 'exit')) as [number];
    assert.equal(code, 1);
  });
});

describe('a fresh key of a machine', function () {
  this.timeout(60_000);
  let blue: EnrollingPlatform;
  let m: EnrollingMachine;
  let agent: AgentClient;
  const cache: RoleSpecInput = { kind: 'cache', id: 'cache', app: 'shop', host: HOST, memoryMiB: 16 };

  beforeEach(async () => {
    blue = await EnrollingPlatform.create('blue');
    m = blue.machine('data-1', HOST);
    m.start();
    await enrol(m.inputs({ days: 10 }), null, quiet);
    agent = new AgentClient(m.target, blue.operator);
  });
  afterEach(async () => {
    agent.close();
    await blue.destroy();
  });

  /** What the last run has written down, with a certificate of 10 days. */
  const known = () => enrol(m.inputs({ days: 10 }), null, quiet);

  it('is made by `up` in the last fifth of the certificate, without a restart of roles that do not use it', async () => {
    const before = await agent.converge([cache], Date.now() + 20_000);
    const old = await known();
    const key = readFileSync(m.tls().key, 'utf8');
    const due = m.inputs({ days: 365 }); // 10 days are in the last fifth of a year
    assert.equal(enrolmentDiffers(old, due, Date.now()), true);
    const fresh = await enrol(due, old, quiet);
    assert.notEqual(fresh.fingerprint, old.fingerprint);
    assert.ok(fresh.expiresAtMs - old.expiresAtMs > 300 * 86_400_000);
    const after = await until('the roles', 20_000, async () => {
      const s = await agent.status().catch(() => null);
      return s?.roles[0]?.state === 'healthy' && s;
    });
    assert.notEqual(after.agentPid, before.status.agentPid);
    assert.deepEqual(pids(after), pids(before.status));
    assert.notEqual(readFileSync(m.tls().key, 'utf8'), key);
    assert.equal(readdirSync(join(m.dir, 'tls')).length, 1, 'the old key is gone');
    assert.equal(enrolmentDiffers(fresh, due, Date.now()), false);
  });

  it('is made when the machine has other addresses, and not otherwise', async () => {
    const old = await known();
    const moved = await enrol(m.inputs({ days: 10, hosts: [HOST, 'data-1.test'] }), old, quiet);
    assert.notEqual(moved.fingerprint, old.fingerprint);
    assert.equal((await enrol(m.inputs({ days: 10, hosts: ['data-1.test', HOST] }), moved, quiet)).fingerprint, moved.fingerprint); // prettier-ignore
  });

  it('is made for operators only, and only with a certificate that fits it', async () => {
    const own = new AgentClient(m.target, await issueCertificate(blue.authority, { name: 'data-2', hosts: [] }));
    await assert.rejects(own.newKey(), (e) => hasCode(e, 'PERMISSION_DENIED'));
    await assert.rejects(own.setCertificate({ cert: '', ca: '' }), (e) => hasCode(e, 'PERMISSION_DENIED'));
    own.close();
    const { agentPid } = await agent.status();
    const ca = blue.authority.cert;
    await assert.rejects(agent.setCertificate({ cert: 'x', ca }), (e) => hasCode(e, 'NO_PENDING_KEY'));
    const { csr } = await agent.newKey();
    const other = await issueCertificate(blue.authority, { name: 'data-1', hosts: [] });
    await assert.rejects(agent.setCertificate({ cert: other.cert, ca }), /it is for another key/);
    const wrong = await createAuthority('blue');
    const cert = await signRequest(wrong, csr, { name: 'data-1', hosts: [] });
    await assert.rejects(agent.setCertificate({ cert, ca }), /not signed by the platform's authority/);
    await assert.rejects(agent.setCertificate({ cert, ca: wrong.cert }), /keeps the authority of its platform/);
    assert.equal((await agent.status()).agentPid, agentPid);
  });

  for (const at of ['begin', 'key', 'cert', 'ca', 'config', 'done'])
    it(`killed at identity.${at} the machine has the old key or the new one, each with its certificate`, async () => {
      m.kill();
      await until('its end', 5000, () => Promise.resolve(!m.isRunning));
      const first = m.start(`identity.${at}=kill`);
      await until('the agent', 15_000, () => agent.status().catch(() => null));
      const old = await known();
      const done = enrol(m.inputs({ days: 365 }), old, quiet);
      await once(first, 'exit');
      assert.equal(first.signalCode, 'SIGKILL');
      m.start();
      assert.notEqual((await done).fingerprint, old.fingerprint);
      assert.equal((await agent.status()).machine, 'data-1');
      await until('no key left over', 5000, () => Promise.resolve(readdirSync(join(m.dir, 'tls')).length === 1));
    });
});

describe('the token of a machine', function () {
  this.timeout(120_000);

  it('is quiet while the machine waits with it or is enrolled, and asks for a fresh one when it is lost', async () => {
    const blue = await EnrollingPlatform.create('blue');
    const inputs = { platformId: 'blue', machine: 'data-1', generation: 0, agent: `${HOST}:7400`, live: true };
    const token = makeToken({ ...inputs, authorityCert: blue.authority.cert });
    assert.equal((await readToken(token, 0)).live, false, 'nothing is there');
    const m = blue.machine('data-1', HOST, token.token);
    const found = readToken(token);
    m.start();
    assert.equal((await found).live, true, 'one that is silent for a moment is not lost');
    assert.equal((await readToken({ ...token, token: newToken() })).live, false, 'it waits with another token');
    await enrol(m.inputs(), null, quiet);
    assert.deepEqual(await readToken(token), token);
    const green = await createAuthority('blue');
    assert.equal(
      (await readToken({ ...token, authorityCert: green.cert }, 2000)).live,
      false,
      'it is of another authority',
    );
    await blue.destroy();
    assert.equal((await readToken(token, 2000)).live, false, 'it is lost');
  });
});
