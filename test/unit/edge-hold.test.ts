import assert from 'node:assert/strict';
import { Edges } from '@nxnw/migration/coordinator/engines/edge';
import type { AgentClient, EdgeCounters } from '@nxnw/platform/agent/api';

const counters = (localSessions: number, peerSessions: number): EdgeCounters => ({
  connections: 0,
  requests: 0,
  apps: [
    {
      ...{ app: 'shop', route: 'local', localRequests: 0, peerRequests: 0, localSessions, peerSessions },
      ...{ responses5xx: 0, retries: 0, serversUp: 1, peersUp: 1 },
    },
  ],
});

/** Edges of N1 whose agents answer a hold at once, as those of an earlier version do. */
function edges(...answers: (() => EdgeCounters)[]): { edges: Edges; asked: number[] } {
  const asked: number[] = [];
  const agents = new Map(
    answers.map((answer, i) => {
      const holdRequests = (_role: string, _app: string, ms: number): Promise<EdgeCounters> => {
        asked.push(ms);
        return new Promise((ok) => setImmediate(() => ok(answer())));
      };
      return [`m${i}`, { holdRequests } as unknown as AgentClient];
    }),
  );
  const role = { role: 'edge', address: '127.0.0.1', httpPort: 80, https: false };
  const source = { edges: answers.map((_, i) => ({ ...role, machine: `m${i}` })), agents };
  return { edges: new Edges({ source, target: { edges: [], agents: new Map() }, doors: [] }), asked };
}

describe('a hold of the edges', () => {
  it('is asked for until nothing is under way through any of them', async () => {
    let left = 5;
    const e = edges(
      () => counters(Math.max(0, --left), 0),
      () => counters(0, 0),
    );
    assert.equal(await e.edges.hold('source', 'shop', 60_000), true);
    assert.equal(e.asked.length, 10);
    assert.ok(e.asked.every((ms) => ms > 0 && ms <= 60_000));
  });

  it('says so when it was over before, also of what is under way to the peer', async () => {
    assert.equal(await edges(() => counters(1, 0)).edges.hold('source', 'shop', 20), false);
    assert.equal(await edges(() => counters(0, 1)).edges.hold('source', 'shop', 20), false);
  });
});
