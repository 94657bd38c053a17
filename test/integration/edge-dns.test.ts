import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, get, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openDnsHandoff } from '@nxnw/migration/cutover/settings';
import type { DnsHandoff } from '@nxnw/migration/cutover/handoff';
import type { AgentClient } from '@nxnw/platform/agent/api';
import { Resolver } from '../load/resolver.js';
import { TestPlatform } from '../support/agents.js';
import { KEY, ZONE, startKnot, within } from './dns-support.js';

const N1 = '127.35.7.1';
const N2 = '127.35.7.2';
const NAME = `shop.${ZONE}`;
const DNS = { host: '127.35.7.3', port: 5353 };

/** An instance of the application that says on which side it runs. */
function instance(host: string, side: string): Promise<Server> {
  const server = createServer((_, res) => res.end(side));
  return new Promise((ok) => server.listen(9000, host, () => ok(server)));
}

/** A client that resolves the name as the zone says, and counts which side answered through which edge. */
class Client {
  readonly seen: { edge: string; side: string; atMs: number }[] = [];
  readonly failed: string[] = [];
  private on = true;
  private readonly resolver = new Resolver(NAME, DNS, {
    answer: () => undefined,
    failure: (e) => this.failed.push(String(e)),
  });
  private readonly running = this.run();

  private async run(): Promise<void> {
    while (this.on) {
      const [edge = ''] = await this.resolver.addresses();
      await new Promise<void>((ok) => {
        const end = (problem?: string) => {
          if (problem !== undefined) this.failed.push(problem);
          ok();
        };
        const request = get({ host: edge, port: 8080, path: '/', headers: { host: NAME }, timeout: 5000 }, (res) => {
          let side = '';
          res.on('data', (d: Buffer) => (side += d.toString()));
          res.on('end', () => {
            this.seen.push({ edge, side, atMs: Date.now() });
            end(res.statusCode === 200 ? undefined : `status ${String(res.statusCode)}`);
          });
        });
        request.on('error', (e) => end(e.message));
      });
      await delay(5);
    }
  }

  async stop(): Promise<void> {
    this.on = false;
    await this.running;
  }

  /** Distinct `edge → side` of the requests answered since. */
  since(atMs: number): string[] {
    return [...new Set(this.seen.filter((s) => s.atMs > atMs).map((s) => `${s.edge} → ${s.side}`))];
  }
}

describe('the hand-over of edge and DNS', function () {
  this.timeout(90_000);
  const signal = new AbortController().signal;
  let edges: { n1: AgentClient; n2: AgentClient };
  let dns: DnsHandoff;
  const ends: (() => unknown)[] = [];
  let load: Client | undefined;

  before(async () => {
    for (const s of await Promise.all([instance(N1, 'N1'), instance(N2, 'N2')])) ends.push(() => s.close());
    const knot = await startKnot({ ...DNS, servers: [{ name: 'ns1', host: DNS.host }], records: `shop 3 A ${N1}\n` });
    ends.push(() => knot.stop());
    const platform = await TestPlatform.create('edges');
    ends.push(() => platform.destroy());
    const [a, b] = await Promise.all([platform.machine('a', N1), platform.machine('b', N2)]);
    edges = { n1: a.agent, n2: b.agent };
    const edge = (host: string) => ({
      ...{ kind: 'edge' as const, id: 'edge', http: { host, port: 8080 } },
      apps: [{ app: 'shop', domains: [NAME], servers: [{ host, port: 9000 }] }],
    });
    await Promise.all([edges.n1.apply([edge(N1)]), edges.n2.apply([edge(N2)])]);
    await edges.n1.setPeer('edge', [{ host: N2, port: 8080 }]);
    for (const end = within(10_000); ; await delay(50)) {
      const [one, two] = await Promise.all([edges.n1.edgeCounters('edge'), edges.n2.edgeCounters('edge')]);
      if (one.apps[0]?.peersUp === 1 && one.apps[0].serversUp === 1 && two.apps[0]?.serversUp === 1) break;
      assert.ok(Date.now() < end, 'the edges do not see their servers');
    }
    const dir = mkdtempSync(join(tmpdir(), 'nxnw-note-'));
    ends.push(() => rmSync(dir, { recursive: true, force: true }));
    dns = openDnsHandoff(
      {
        ...{ driver: 'rfc2136', zone: ZONE, name: NAME, ttlSeconds: 1, restoreTtlSeconds: 60 },
        rfc2136: { server: `${DNS.host}:${DNS.port}`, ...KEY },
      },
      { source: [N1], target: [N2] },
      join(dir, 'note.json'),
    );
    ends.push(() => dns.close());
  });

  after(async () => {
    await load?.stop();
    for (const end of ends.reverse()) await end();
  });

  const requestsAtN1 = async (): Promise<number> => {
    const [shop] = (await edges.n1.edgeCounters('edge')).apps;
    return (shop?.localRequests ?? 0) + (shop?.peerRequests ?? 0);
  };

  it('moves an application and its name to N2 and back without a failed request, and sees N1 run dry', async () => {
    const client = new Client();
    load = client;
    const lowered = await dns.lowerTtl();
    assert.deepEqual(lowered, { oldTtlS: 3 });
    const waitedFrom = Date.now();
    await dns.waitOldTtl(signal);
    assert.ok(Date.now() - waitedFrom >= 2500, 'the old TTL was not waited for');
    assert.deepEqual(client.since(0), [`${N1} → N1`]);

    await edges.n1.setRoute('edge', 'shop', 'peer');
    const routed = Date.now() + 50;
    await delay(300);
    assert.deepEqual(client.since(routed), [`${N1} → N2`], 'N1 passes on what still comes to it');

    await dns.pointAt('target');
    const pointed = Date.now();
    const { drained, arrived } = await dns.awaitDrain(requestsAtN1, { atMostMs: 20_000, everyMs: 50, signal });
    assert.ok(drained, 'N1 still gets requests');
    assert.ok(Date.now() - pointed < 5000);
    assert.ok(arrived < client.seen.length);
    const dry = Date.now();
    await delay(300);
    assert.deepEqual(client.since(dry), [`${N2} → N2`]);
    assert.equal(await dns.pointsAt(), 'target');

    await dns.pointAt('source');
    await edges.n1.setRoute('edge', 'shop', 'local');
    await delay(1500);
    const back = Date.now();
    await delay(200);
    assert.deepEqual(client.since(back), [`${N1} → N1`]);
    await dns.restoreTtl();
    assert.equal(await dns.ttlS(), 60);

    await client.stop();
    assert.deepEqual(client.failed, []);
    assert.ok(client.seen.length > 300, `${client.seen.length} requests are too few to tell`);
  });

  it('says the truth when clients keep an old address', async () => {
    const stubborn = setInterval(
      () => get({ host: N1, port: 8080, headers: { host: NAME } }).on('error', () => undefined),
      100,
    );
    const { drained, arrived } = await dns.awaitDrain(requestsAtN1, { atMostMs: 1500, everyMs: 50, signal });
    clearInterval(stubborn);
    assert.equal(drained, false);
    assert.ok(arrived > 5);
  });
});
