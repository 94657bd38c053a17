import assert from 'node:assert/strict';
import { isIdle } from '@nxnw/platform/agent/api';
import type { AgentClient } from '@nxnw/platform/agent/api';
import { packBundle } from '@nxnw/platform/apps/bundle';
import { hasCode } from '@nxnw/platform/errors';
import { TestPlatform, pids, rolesAt, through, tinyApp, until } from '../support/agents.js';
import type { Seen } from '../support/agents.js';

const A = '127.31.1.2';
const B = '127.31.2.2';

describe('two platforms side by side', function () {
  this.timeout(60_000);
  const bundle = packBundle(tinyApp());
  const roles = { blue: rolesAt(A, bundle.digest), green: rolesAt(B, bundle.digest) };
  let blue: TestPlatform;
  let green: TestPlatform;
  let agent: AgentClient;

  before(async () => {
    [blue, green] = [await TestPlatform.create('blue'), await TestPlatform.create('green')];
    agent = (await blue.machine('m1', A)).agent;
    const other = (await green.machine('m1', B)).agent;
    for (const a of [agent, other]) await a.upload(bundle.digest, bundle.archive);
    await Promise.all([
      agent.converge(roles.blue, Date.now() + 40_000),
      other.converge(roles.green, Date.now() + 40_000),
    ]);
  });
  after(async () => {
    await blue.destroy();
    await green.destroy();
  });

  it('have the same ports on addresses of their own', async () => {
    for (const address of [A, B]) {
      const seen = await until('an answer', 5000, async () => {
        const s = await through(address, 8080, 'shop.test');
        return s.status === 200 && s;
      });
      assert.equal(seen.env['ZOOKEEPER_SERVERS'], `${address}:2181/apps/shop`);
    }
  });

  it('send an application from one edge to the other and back without a failed request, and remember it', async () => {
    const edgePid = pids(await agent.status())['edge'];
    await assert.rejects(agent.setRoute('edge', 'shop', 'peer'), (e) => hasCode(e, 'NO_SERVER_UP'));
    await agent.setPeer('edge', [{ host: B, port: 8080 }]);
    await until('the peer seen up', 5000, async () => (await agent.edgeCounters('edge')).apps[0]?.peersUp === 1);
    const results: Seen[] = [];
    let ended = false;
    const load = [1, 2, 3].map(async () => {
      while (!ended) results.push(await through(A, 8080, 'shop.test'));
    });
    const more = (from: number) =>
      until('30 answers', 10_000, async () => Promise.resolve(results.length >= from + 30));
    await more(0);
    const moved = await agent.setRoute('edge', 'shop', 'peer');
    const atMove = results.length;
    await more(atMove);
    assert.equal(moved.apps[0]?.route, 'peer');
    const afterMove = results.slice(atMove + load.length);
    await agent.setRoute('edge', 'shop', 'local');
    const atBack = results.length;
    await more(atBack);
    ended = true;
    await Promise.all(load);
    assert.deepEqual(
      results.filter((r) => r.status !== 200),
      [],
    );
    assert.ok(
      afterMove.every((r) => r.env['HOST'] === B),
      'all to the other platform after the move',
    );
    assert.ok(
      results.slice(atBack + load.length).every((r) => r.env['HOST'] === A),
      'all here after the way back',
    );
    assert.equal(pids(await agent.status())['edge'], edgePid);

    await agent.setRoute('edge', 'shop', 'peer');
    process.kill(edgePid ?? 0, 'SIGKILL');
    await until('the edge back', 10_000, async () => {
      const s = await agent.status();
      return pids(s)['edge'] !== edgePid && s.roles.find((r) => r.id === 'edge')?.state === 'healthy';
    });
    const seen = await until('an answer', 5000, async () => {
      const s = await through(A, 8080, 'shop.test');
      return s.status === 200 && s;
    });
    assert.equal(seen.env['HOST'], B);
    assert.deepEqual((await agent.apply(roles.blue)).changes, []);
    assert.equal((await agent.edgeCounters('edge')).apps[0]?.route, 'peer', 'an apply does not move a route');
    await agent.setRoute('edge', 'shop', 'local');
    await agent.setPeer('edge', []);
    assert.equal((await agent.edgeCounters('edge')).apps[0]?.peersUp, 0);
  });

  it('hold what comes to an application until its route is set, or for as long as was asked; not what the other edge sends', async () => {
    await agent.setPeer('edge', [{ host: B, port: 8080 }]);
    await until('the peer seen up', 5000, async () => (await agent.edgeCounters('edge')).apps[0]?.peersUp === 1);
    const held = async (holdMs: number): Promise<{ readonly answer: Promise<Seen> }> => {
      const before = await agent.holdRequests('edge', 'shop', holdMs);
      const answer = through(A, 8080, 'shop.test', '/', 20_000);
      await until('the request at the edge', 5000, async () => {
        const now = await agent.edgeCounters('edge');
        return now.connections > before.connections;
      });
      return { answer };
    };
    for (const [to, host] of [
      ['peer', B],
      ['local', A],
    ] as const) {
      const before = (await agent.edgeCounters('edge')).apps[0];
      const { answer } = await held(10_000);
      const hop = await through(A, 8080, 'shop.test', '/', 5000, { 'x-nxnw-hop': '1' });
      assert.equal(hop.env['HOST'], A);
      const now = (await agent.edgeCounters('edge')).apps[0];
      assert.equal(now?.route, before?.route, 'a hold changes no route');
      assert.deepEqual(
        [now?.localRequests, now?.peerRequests],
        [(before?.localRequests ?? 0) + 1, before?.peerRequests],
      );
      await agent.apply(roles.blue);
      await agent.setRoute('edge', 'shop', to);
      assert.equal((await answer).env['HOST'], host);
    }
    // lapses by itself, towards where requests went before
    assert.equal((await (await held(200)).answer).env['HOST'], A);
    await agent.setRoute('edge', 'shop', 'peer');
    assert.equal((await (await held(200)).answer).env['HOST'], B);
    assert.equal((await through(A, 8080, 'shop.test')).env['HOST'], B);
    await agent.setRoute('edge', 'shop', 'local');
    await agent.setPeer('edge', []);
  });

  it('say of a hold that nothing is under way any more, or that it was over before', async () => {
    const counters = async () => (await agent.edgeCounters('edge')).apps[0];
    const underWay = async (): Promise<{ readonly end: () => Promise<void> }> => {
      const answer = through(A, 8080, 'shop.test', '/wait', 20_000);
      await until('a request under way', 5000, async () => (await counters())?.localSessions === 1);
      const end = async (): Promise<void> => {
        for (const port of [8101, 8102]) await through(A, port, 'shop.test', '/go');
        assert.equal((await answer).status, 200);
      };
      return { end };
    };
    const first = await underWay();
    let over = false;
    const hold = agent.holdRequests('edge', 'shop', 10_000).finally(() => (over = true));
    // what the agent is asked next it answers next, and the hold it has not answered yet
    assert.equal((await counters())?.localSessions, 1);
    assert.equal(over, false);
    await first.end();
    assert.equal(isIdle((await hold).apps[0] ?? assert.fail()), true);
    await agent.setRoute('edge', 'shop', 'local');

    const second = await underWay();
    assert.equal(isIdle((await agent.holdRequests('edge', 'shop', 200)).apps[0] ?? assert.fail()), false);
    await second.end();
  });
});
