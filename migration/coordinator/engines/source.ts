import { statfsSync } from 'node:fs';
import type { AgentClient } from '@nxnw/platform/agent/api';
import { asError, hasCode } from '@nxnw/platform/errors';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import type { Finding } from '../api.js';
import { PROTOCOLS } from '../join.js';
import type { JoinBundle } from '../join.js';
import type { SourcePort } from '../ports.js';
import { bandwidth, exchange, gradeBandwidth, gradeExchange } from './network.js';

export const SOURCE_LEASE = '/nxnw/source-lease';

export interface SourceParts {
  readonly join: JoinBundle;
  /** Where N1's ZooKeeper servers are reached from here. */
  readonly zookeeper: readonly string[];
  readonly target: string;
  readonly sourceAgents: ReadonlyMap<string, AgentClient>;
  readonly targetAgents: ReadonlyMap<string, AgentClient>;
  /** Paths under which N2's stores keep data on this machine. */
  readonly diskPaths: readonly string[];
  readonly now: () => number;
}

/**
 * What the coordinator keeps on N1: the source lease, a node in N1's ZooKeeper that says for whom N1 is a source, and a
 * hold on each of N1's agents, which then refuses to be destroyed.
 */
export class Source implements SourcePort {
  private leased = false;

  constructor(private readonly p: SourceParts) {}

  private get holdName(): string {
    return `source-of-${this.p.target}`;
  }

  async lease(reason: string): Promise<void> {
    if (this.leased) return;
    await this.withZooKeeper(async (zk) => {
      const data = Buffer.from(JSON.stringify({ target: this.p.target, sinceMs: this.p.now(), reason }));
      await zk.createRecursive(SOURCE_LEASE);
      try {
        await zk.create(`${SOURCE_LEASE}/${this.p.target}`, data);
      } catch (e) {
        if (!hasCode(e, 'NODE_EXISTS')) throw e;
      }
    });
    await Promise.all([...this.p.sourceAgents.values()].map((a) => a.hold(this.holdName, reason)));
    this.leased = true;
  }

  async release(): Promise<void> {
    await Promise.all([...this.p.sourceAgents.values()].map((a) => a.release(this.holdName)));
    await this.withZooKeeper((zk) => zk.removeRecursive(`${SOURCE_LEASE}/${this.p.target}`));
    this.leased = false;
  }

  private async withZooKeeper<T>(f: (zk: ZooKeeper) => Promise<T>): Promise<T> {
    const zk = await ZooKeeper.connect({ servers: this.p.zookeeper.join(',') });
    try {
      return await f(zk);
    } finally {
      await zk.close();
    }
  }

  async examine(): Promise<readonly Finding[]> {
    const { join, sourceAgents, targetAgents, now } = this.p;
    const findings: Finding[] = [
      {
        name: 'protocol',
        ok: join.protocols.some((v) => PROTOCOLS.includes(v)),
        found: `${join.platformId} speaks ${join.protocols.join(', ')}, ${this.p.target} ${PROTOCOLS.join(', ')}`,
        next: 'bring the older platform up to a neighbouring release',
      },
      {
        name: 'join bundle',
        ok: join.expiresAtMs > now(),
        found: `runs out ${new Date(join.expiresAtMs).toISOString()}`,
        next: `make a new one with \`nxnw join --stack ${join.platformId}\` and run \`nxnw up\``,
      },
    ];
    for (const [side, agents] of [
      ['N1', sourceAgents],
      ['N2', targetAgents],
    ] as const)
      findings.push(
        ...(
          await Promise.all(
            [...agents].map(([machine, agent]) => {
              const named = side === 'N1' ? join.agents.find((a) => a.machine === machine)?.endpoint : undefined;
              return this.machine(`${side} ${machine}`, agent, named ?? agent.target);
            }),
          )
        ).flat(),
      );
    findings.push(await this.zookeeper(), ...(await this.bandwidth()));
    const free = await this.freeBytes();
    findings.push({
      name: 'disk',
      ok: true,
      found: free === null ? 'free space of the stores is not known' : `${Math.floor(free / 2 ** 20)} MiB free`,
      next: '',
    });
    return findings.map((f) => (f.ok && f.warning !== true ? { ...f, next: '' } : f));
  }

  /** Health, and where the agent can tell: round trip, clock, disk. */
  private async machine(name: string, agent: AgentClient, at: string): Promise<readonly Finding[]> {
    const reached = await this.reach(name, agent, at);
    try {
      return [reached, ...gradeExchange(name, await exchange(agent, this.p.now))];
    } catch (e) {
      // that it is out of reach has been said
      if (hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) return [reached];
      return [reached, notMeasured(`${name} round trip, clock, disk`, e)];
    }
  }

  /** Of the line between the platforms: from the first of N1's machines that answers. */
  private async bandwidth(): Promise<readonly Finding[]> {
    for (const [machine, agent] of this.p.sourceAgents)
      try {
        return [gradeBandwidth(`N1 ${machine}`, await bandwidth(agent))];
      } catch (e) {
        if (!hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) return [notMeasured(`N1 ${machine} bandwidth`, e)];
      }
    return [];
  }

  private async reach(name: string, agent: AgentClient, at: string): Promise<Finding> {
    const beganMs = this.p.now();
    try {
      const s = await agent.status();
      const bad = s.roles.filter((r) => r.state !== 'healthy').map((r) => `${r.id} ${r.state} (${r.detail})`);
      const found = `agent ${s.agentVersion} at ${at}, round trip ${this.p.now() - beganMs} ms`;
      return {
        name,
        ok: bad.length === 0,
        found: bad.length === 0 ? found : `${found}; ${bad.join('; ')}`,
        next: 'see `nxnw logs`',
      };
    } catch (e) {
      const { gateways } = this.p.join;
      const next = name.startsWith('N1')
        ? `check that the machine is up, and that N1's join port (${gateways.map((g) => g.endpoint).join(', ')}) is open to this platform; see \`nxnw logs\` of the role join-client`
        : `check that the machine is up and that ${at} is open to this platform`;
      return { name, ok: false, found: asError(e).message, next };
    }
  }

  private async zookeeper(): Promise<Finding> {
    const beganMs = this.p.now();
    try {
      const lease = await this.withZooKeeper((zk) => zk.exists(`${SOURCE_LEASE}/${this.p.target}`));
      const found = `session and answer in ${this.p.now() - beganMs} ms, source lease ${lease === null ? 'not ' : ''}held`;
      return { name: 'N1 ZooKeeper', ok: true, found, next: '' };
    } catch (e) {
      const next = `check that N1's servers (${this.p.join.zookeeper.join(', ')}) are up, and that its join port is open to this platform`;
      return { name: 'N1 ZooKeeper', ok: false, found: asError(e).message, next };
    }
  }

  freeBytes(): Promise<number | null> {
    const free = this.p.diskPaths.map((path) => {
      const s = statfsSync(path);
      return s.bavail * s.bsize;
    });
    return Promise.resolve(free.length === 0 ? null : Math.min(...free));
  }
}

/** An agent of an older release does not know the question: no fault of the network. */
function notMeasured(name: string, e: unknown): Finding {
  const next = 'bring the older platform up to a neighbouring release to have it measured';
  return { name, ok: true, warning: true, found: `not measured: ${asError(e).message}`, next };
}
