import assert from 'node:assert/strict';
import { createServer, request, type Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { AgentClient } from '@nxnw/platform/agent/api';
import { TestPlatform, until } from '../support/agents.js';

const HOST = '127.62.7.1';
const NAME = 'shop.test';
const EDGE = { host: HOST, port: 8080 };
const REQUESTS = 20;

/** An instance that takes each request but those of the health check, and dies over it without a word. */
class Dying {
  taken = 0;
  readonly server = createServer((q, r) => {
    if (q.url === '/healthz') return void r.end();
    this.taken++;
    q.socket.destroy();
  });
}

describe('an edge whose instance dies over a request', function () {
  this.timeout(60_000);
  const dying = new Dying();
  const healthy = createServer((_, r) => r.end('well'));
  let platform: TestPlatform;
  let edge: AgentClient;

  const listen = (s: Server, port: number): Promise<void> => new Promise((ok) => s.listen(port, HOST, ok));

  before(async () => {
    await Promise.all([listen(dying.server, 9001), listen(healthy, 9002)]);
    platform = await TestPlatform.create('retry');
    edge = (await platform.machine('edge', HOST)).agent;
    const servers = [9001, 9002].map((port) => ({ host: HOST, port }));
    await edge.apply([{ kind: 'edge', id: 'edge', http: EDGE, apps: [{ app: 'shop', domains: [NAME], servers }] }]);
    await until('both instances up', 20_000, async () => (await edge.edgeCounters('edge')).apps[0]?.serversUp === 2);
  });

  after(async () => {
    await platform.destroy();
    for (const s of [dying.server, healthy]) {
      s.closeAllConnections();
      s.close();
    }
  });

  function ask(method: string, extra: Readonly<Record<string, string>> = {}): Promise<number> {
    return new Promise((ok, fail) => {
      const r = request({ ...EDGE, method, path: '/', headers: { host: NAME, ...extra }, agent: false }, (res) => {
        res.resume();
        res.on('end', () => ok(res.statusCode ?? 0));
      });
      r.on('error', fail);
      r.end(method === 'POST' ? 'x' : undefined);
    });
  }

  it('has another one answer what changes nothing', async () => {
    const before = dying.taken;
    for (let i = 0; i < REQUESTS; i++) assert.equal(await ask('GET'), 200);
    assert.ok(dying.taken > before, 'no request came to the instance that dies');
  });

  it('has another one answer a write whose client says that it may be repeated', async () => {
    const before = dying.taken;
    for (let i = 0; i < REQUESTS; i++) assert.equal(await ask('POST', { 'idempotency-key': `k-${String(i)}` }), 200);
    assert.ok(dying.taken > before, 'no request came to the instance that dies');
  });

  it('sends nothing else a second time that may have changed something', async () => {
    await delay(100);
    const before = dying.taken;
    const answers: number[] = [];
    for (let i = 0; i < REQUESTS; i++) answers.push(await ask('POST'));
    const cut = answers.filter((s) => s === 502).length;
    assert.ok(cut > 0, 'no request came to the instance that dies');
    assert.equal(dying.taken - before, cut);
    assert.equal(answers.filter((s) => s === 200).length, REQUESTS - cut);
  });
});
