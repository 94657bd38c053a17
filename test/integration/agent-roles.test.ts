import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { Agent as HttpAgent, get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'cassandra-driver';
import type { AgentClient } from '@nxnw/platform/agent/api';
import type { RoleSpecInput } from '@nxnw/platform/agent/spec';
import { packBundle } from '@nxnw/platform/apps/bundle';
import { hasCode } from '@nxnw/platform/errors';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import { TestPlatform, tinyApp } from '../support/agents.js';

const soon = (ms: number): number => Date.now() + ms;

describe('roles on a machine', function () {
  this.timeout(120_000);
  let platform: TestPlatform;
  const used = new Map<string, AgentClient>();

  /** The agent at an address, made when first asked for. */
  async function agentAt(address: string): Promise<AgentClient> {
    const known = used.get(address);
    if (known) return known;
    const { agent } = await platform.machine(`m${used.size + 1}`, address);
    used.set(address, agent);
    return agent;
  }

  before(async () => {
    platform = await TestPlatform.create('roles');
  });
  after(() => platform.destroy());

  it('cassandra: keeps what it acknowledged over kill -9, and takes batches of 2 MiB', async () => {
    const host = '127.31.5.1';
    const agent = await agentAt(host);
    const roles: RoleSpecInput[] = [{ kind: 'cassandra', id: 'store', host, clusterName: 'roles' }];
    const up = await agent.converge(roles, soon(90_000));
    const role = up.status.roles[0];
    assert.equal(role?.version, '5.0.8');
    const open = async (): Promise<Client> => {
      const client = new Client({ contactPoints: [host], localDataCenter: 'datacenter1' });
      await client.connect();
      return client;
    };
    let client = await open();
    await client.execute(`CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`);
    await client.execute('CREATE TABLE k.t (id int PRIMARY KEY, v blob)');
    const big = Buffer.alloc(450_000, 1);
    const rows = [1, 2, 3, 4].map((id) => ({ query: 'INSERT INTO k.t (id, v) VALUES (?, ?)', params: [id, big] }));
    await client.batch(rows, { prepare: true, logged: false });
    await client.shutdown();
    process.kill(role?.processes[0]?.pid ?? 0, 'SIGKILL');
    for (let s = await agent.status(); s.roles[0]?.processes[0]?.restarts !== 1 || s.roles[0].state !== 'healthy';) {
      await delay(100);
      s = await agent.status();
    }
    client = await open();
    assert.equal((await client.execute('SELECT count(*) AS n FROM k.t')).first()['n'].toNumber(), 4);
    await client.shutdown();
    await agent.apply([]);
  });

  it('locks: three members agree, and one that is killed comes back', async () => {
    const hosts = ['127.31.6.1', '127.31.6.2', '127.31.6.3'];
    const members = hosts.map((host, i) => ({ memberId: i + 1, host }));
    const agents = await Promise.all(hosts.map(agentAt));
    await Promise.all(
      agents.map((a, i) =>
        a.converge(
          [{ kind: 'locks', id: 'locks', host: hosts[i] ?? '', members, memberId: i + 1, heapMiB: 48 }],
          soon(60_000),
        ),
      ),
    );
    const zk = await ZooKeeper.connect({ servers: hosts.map((h) => `${h}:2181`).join(',') });
    await zk.create('/a', Buffer.alloc(1 << 20, 7));
    const [first] = agents;
    process.kill((await first?.status())?.roles[0]?.processes[0]?.pid ?? 0, 'SIGKILL');
    await setOver(zk, '/a', Buffer.from('after'));
    for (let s = await first?.status(); s?.roles[0]?.state !== 'healthy' || s.roles[0].processes[0]?.restarts !== 1;) {
      await delay(100);
      s = await first?.status();
    }
    const own = await ZooKeeper.connect({ servers: `${hosts[0] ?? ''}:2181` });
    await own.sync('/a');
    assert.equal((await own.get('/a')).data?.toString(), 'after');
    await Promise.all([own.close(), zk.close()]);
    await Promise.all(agents.map((a) => a.apply([])));
  });

  it('dns: answers its zone, takes updates with the key only, and keeps them over a restart', async () => {
    const host = '127.31.7.1';
    const agent = await agentAt(host);
    const keySecret = Buffer.from('a key of at least thirty-two bytes').toString('base64');
    const roles: RoleSpecInput[] = [
      {
        kind: 'dns',
        id: 'dns',
        host,
        port: 5353,
        zone: 'apps.test',
        ttlSeconds: 5,
        keyName: 'nxnw.key',
        keySecret,
        allow: ['127.0.0.0/8'],
        records: { shop: ['127.0.0.9'] },
      },
    ];
    await agent.converge(roles, soon(20_000));
    const resolver = new Resolver({ timeout: 1000, tries: 2 });
    resolver.setServers([`${host}:5353`]);
    const address = () => resolver.resolve4('shop.apps.test', { ttl: true });
    assert.deepEqual(await address(), [{ address: '127.0.0.9', ttl: 5 }]);
    const update = (secret: string): string =>
      execFileSync('knsupdate', ['-y', `hmac-sha256:nxnw.key:${secret}`], {
        input: `server ${host} 5353\nzone apps.test\nupdate delete shop.apps.test A\nupdate add shop.apps.test 5 A 127.0.0.10\nsend\n`,
        encoding: 'utf8',
        timeout: 10_000,
        stdio: ['pipe', 'pipe', 'pipe'],
      });
    assert.throws(() => update(Buffer.from('another key, also of thirty-two bytes').toString('base64')));
    assert.equal((await address())[0]?.address, '127.0.0.9');
    update(keySecret);
    assert.equal((await address())[0]?.address, '127.0.0.10');
    await agent.restart('dns');
    assert.equal((await address())[0]?.address, '127.0.0.10');
    const changed = roles.map((r) => ({ ...r, records: { shop: ['127.0.0.11'] } }));
    await agent.converge(changed, soon(20_000));
    assert.equal((await address())[0]?.address, '127.0.0.10', 'an apply does not undo an update');
    await agent.apply([]);
  });

  it('relay: carries plain connections over mTLS to another machine', async () => {
    const [near, far] = ['127.31.8.1', '127.31.8.2'];
    const service = createServer({ allowHalfOpen: true }, (s) => s.pipe(s)).listen(0, far);
    await once(service, 'listening');
    const { port } = service.address() as AddressInfo;
    const crossing = { host: far, port: 7501 };
    await (
      await agentAt(far)
    ).converge(
      [{ kind: 'relay', id: 'in', listen: crossing, targets: [{ host: far, port }], tlsSide: 'listen' }],
      soon(20_000),
    );
    const nobody = { host: far, port: 7599 };
    await (
      await agentAt(near)
    ).converge(
      [
        {
          kind: 'relay',
          id: 'out',
          listen: { host: near, port: 7500 },
          targets: [nobody, crossing],
          tlsSide: 'targets',
        },
      ],
      soon(20_000),
    );
    for (let i = 0; i < 3; i++) {
      const socket = connect(7500, near);
      socket.end(`hello ${i}`);
      let echoed = '';
      for await (const d of socket) echoed += String(d);
      assert.equal(echoed, `hello ${i}`);
    }
    const plain = connect(crossing.port, crossing.host);
    plain.write('no TLS');
    await once(plain, 'close', { signal: AbortSignal.timeout(5000) });
    service.close();
    for (const host of [near, far]) await (await agentAt(host)).apply([]);
  });

  it('edge: changes certificate, domains and instances under load without a failed request', async () => {
    const host = '127.31.9.1';
    const agent = await agentAt(host);
    const bundle = packBundle(tinyApp());
    await agent.upload(bundle.digest, bundle.archive);
    const instances = [8101, 8102].map((port) => ({ host, port }));
    const rolesWith = async (domains: string[], servers: typeof instances): Promise<RoleSpecInput[]> => {
      const { cert, key } = await platform.issue('shop.test', domains);
      return [
        { kind: 'app', id: 'shop', app: 'shop', bundle: bundle.digest, instances },
        {
          kind: 'edge',
          id: 'edge',
          http: { host, port: 8080 },
          https: { host, port: 8443, certPem: cert, keyPem: key },
          apps: [{ app: 'shop', domains, servers }],
        },
      ];
    };
    const first = await agent.converge(await rolesWith(['shop.test'], instances), soon(20_000));
    while ((await agent.edgeCounters('edge')).apps[0]?.serversUp !== 2) await delay(50);

    const keepAlive = new HttpAgent({ keepAlive: true, maxSockets: 4 });
    let [requests, failed, ended] = [0, 0, false];
    const load = [1, 2, 3, 4].map(async () => {
      while (!ended) {
        const status = await fetchStatus(host, 8080, 'shop.test', keepAlive);
        requests++;
        if (status !== 200) failed++;
      }
    });
    await delay(200);
    const [alone] = instances;
    await agent.converge(await rolesWith(['shop.test', 'www.shop.test'], instances), soon(20_000));
    await delay(300);
    await agent.converge(await rolesWith(['shop.test', 'www.shop.test'], alone ? [alone] : []), soon(20_000));
    await delay(300);
    const last = await agent.converge(await rolesWith(['shop.test', 'www.shop.test'], instances), soon(20_000));
    await delay(300);
    ended = true;
    await Promise.all(load);
    keepAlive.destroy();
    assert.ok(requests > 100);
    assert.equal(failed, 0, `${failed} of ${requests} failed`);
    const pidOf = (s: typeof first): number | undefined => s.status.roles[1]?.processes[0]?.pid;
    assert.equal(pidOf(last), pidOf(first));

    const seen = await certificateAt(host, 8443, (await platform.issue('x', [])).ca);
    assert.equal(seen, 'DNS:shop.test, DNS:www.shop.test');
    assert.equal(await fetchStatus(host, 8080, 'www.shop.test'), 200);
    await agent.apply([]);
  });
});

/** Sets it, again while the connection to a killed member, or the election behind it, leaves the outcome unknown. */
async function setOver(zk: ZooKeeper, path: string, data: Buffer): Promise<void> {
  for (const until = soon(60_000); ;) {
    try {
      await zk.set(path, data);
      return;
    } catch (e) {
      if (!hasCode(e, 'CONNECTION_LOSS', 'DEADLINE_EXCEEDED', 'SESSION_EXPIRED') || Date.now() > until) throw e;
    }
  }
}

async function fetchStatus(host: string, port: number, domain: string, agent?: HttpAgent): Promise<number> {
  try {
    const request = get({ host, port, path: '/', headers: { host: domain }, timeout: 5000, agent: agent ?? false });
    const [response] = (await once(request, 'response', { signal: AbortSignal.timeout(5000) })) as [IncomingMessage];
    for await (const d of response) void d;
    return response.statusCode ?? 0;
  } catch (e) {
    console.error(e);
    return 0;
  }
}

/** Names in the certificate that the edge shows for shop.test, verified by `ca`; the answer must be 200. */
async function certificateAt(host: string, port: number, ca: string): Promise<string> {
  const request = httpsRequest({
    host,
    port,
    ca,
    servername: 'shop.test',
    headers: { host: 'shop.test' },
    agent: false,
  });
  request.end();
  const [response] = (await once(request, 'response', { signal: AbortSignal.timeout(5000) })) as [IncomingMessage];
  assert.equal(response.statusCode, 200);
  const { socket } = response;
  response.resume();
  assert.ok('getPeerX509Certificate' in socket && typeof socket.getPeerX509Certificate === 'function');
  const certificate: unknown = socket.getPeerX509Certificate();
  assert.ok(certificate !== null && typeof certificate === 'object' && 'subjectAltName' in certificate);
  return String(certificate.subjectAltName);
}
