import { isIdle } from '@nxnw/platform/agent/api';
import type { AgentClient, EdgeAppCounters, EdgeCounters } from '@nxnw/platform/agent/api';
import { NxnwError } from '@nxnw/platform/errors';
import type { Finding, Side } from '../api.js';
import type { EdgePort, EdgeTraffic } from '../ports.js';
import { address } from './cache.js';

export interface EdgeRole {
  readonly machine: string;
  readonly role: string;
  readonly address: string;
  readonly httpPort: number;
  readonly https: boolean;
}

export interface EdgeSide {
  readonly edges: readonly EdgeRole[];
  readonly agents: ReadonlyMap<string, AgentClient>;
}

/** Servers that an edge takes as its peer. */
const MOST_PEERS = 4;

/** Ways from N1's edges to N2's: every edge of N2 by another gateway first, then the same by the next gateways. */
export function peersOf(doors: readonly (readonly string[])[], edges: number): readonly string[] {
  const all = doors.flatMap((_, round) =>
    Array.from({ length: edges }, (_e, i) => doors[(round + i) % doors.length]?.[i]),
  );
  return all.filter((d) => d !== undefined).slice(0, MOST_PEERS);
}

/** The edges of both platforms, changed and measured by their machines' agents. */
export class Edges implements EdgePort {
  constructor(
    private readonly sides: Readonly<Record<Side, EdgeSide>> & {
      /** Of each of N1's gateways: its doors to N2's edges, in their order. */
      readonly doors: readonly (readonly string[])[];
    },
  ) {}

  async introduce(): Promise<void> {
    const peers = peersOf(this.sides.doors, this.sides.target.edges.length).map(address);
    await Promise.all(this.each('source', (agent, role) => agent.setPeer(role, peers)));
  }

  async setRoute(side: Side, app: string, to: 'local' | 'peer'): Promise<void> {
    await Promise.all(this.each(side, (agent, role) => agent.setRoute(role, app, to)));
  }

  async hold(side: Side, app: string, ms: number): Promise<boolean> {
    const endMs = performance.now() + ms;
    // an agent of an earlier version answers at once, whatever is under way: it is asked again
    for (let leftMs = ms; ; leftMs = endMs - performance.now()) {
      const held = this.each(side, (agent, role) => agent.holdRequests(role, app, Math.max(1, leftMs)));
      if ((await Promise.all(held)).every((c) => isIdle(this.countersOf(c, side, app)))) return true;
      if (performance.now() >= endMs) return false;
    }
  }

  async traffic(side: Side, app: string): Promise<EdgeTraffic> {
    const all = await Promise.all(this.each(side, (agent, role) => agent.edgeCounters(role)));
    const apps = all.map((c) => this.countersOf(c, side, app));
    const sum = (f: (a: EdgeAppCounters) => number): number => apps.reduce((n, a) => n + f(a), 0);
    return {
      localSessions: sum((a) => a.localSessions),
      localRequests: sum((a) => a.localRequests),
      peerRequests: sum((a) => a.peerRequests),
      requests: sum((a) => a.localRequests + a.peerRequests),
      responses5xx: sum((a) => a.responses5xx),
      serversUp: Math.min(...apps.map((a) => a.serversUp)),
      peersUp: Math.min(...apps.map((a) => a.peersUp)),
    };
  }

  certificate(): Promise<Finding> {
    const there = this.sides.source.edges.some((e) => e.https);
    const here = this.sides.target.edges.every((e) => e.https);
    const ok = !there || here;
    return Promise.resolve({
      name: 'certificate',
      ok,
      found: ok
        ? there
          ? "N2's edge holds a certificate"
          : "N1's edge speaks plain HTTP: none is needed"
        : "N1's edge speaks TLS and N2's edge has no certificate",
      next: ok ? '' : 'set nxnw:edge.certificate on this stack and run `nxnw up`',
    });
  }

  private countersOf(edge: EdgeCounters, side: Side, app: string): EdgeAppCounters {
    const found = edge.apps.find((a) => a.app === app);
    if (found === undefined) throw new NxnwError('NOT_FOUND', `the ${side}'s edge has no application ${app}`, { app });
    return found;
  }

  private each<T>(side: Side, f: (agent: AgentClient, role: string) => Promise<T>): Promise<T>[] {
    const { edges, agents } = this.sides[side];
    return edges.map((e) => {
      const agent = agents.get(e.machine);
      if (agent === undefined)
        return Promise.reject(new NxnwError('BAD_CONFIG', `no agent is known for the edge's machine ${e.machine}`));
      return f(agent, e.role);
    });
  }
}
