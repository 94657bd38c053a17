import { AgentClient } from '@nxnw/platform/agent/api';
import { NxnwError, asError } from '@nxnw/platform/errors';
import { PROTOCOLS, commonProtocol } from '../../coordinator/join.js';
import type { Tls } from './targets.js';
import { throughGateways, type Gateways } from './through.js';

export interface SourceInputs {
  readonly platformId: string;
  readonly protocols: readonly number[];
  /** Join ports of the running platform. */
  readonly gateways: readonly Gateways[];
  /** Its agents, host:port, behind them, and what they accept. */
  readonly agents: readonly string[];
  readonly tls: Tls;
  /** Id of the platform that takes over. */
  readonly target: string;
}

export interface SourceState extends SourceInputs {
  /** Version of the protocol that both speak. */
  readonly protocol: number;
}

/**
 * Meets the running platform before anything of the new one is made: it must be reached, be the one that the bundle
 * names, and speak a common protocol. Asked once; a source that is down later is no reason to refuse an `up`.
 * @throws SOURCE_UNREACHABLE, BAD_JOIN, NO_COMMON_PROTOCOL
 */
export async function meetSource(inputs: SourceInputs): Promise<SourceState> {
  const protocol = commonProtocol(inputs, { platformId: inputs.target, protocols: PROTOCOLS });
  const { gateways, tls, agents } = inputs;
  const { answers, way } = await throughGateways({ gateways, tls, endpoints: agents }, async (at, status) => ({
    answers: await Promise.allSettled(agents.map((a) => platformOf(at(a), tls))),
    way: status(),
  }));
  const found = answers.find((a) => a.status === 'fulfilled')?.value;
  if (found === undefined) {
    const why = answers.map(
      (a, i) => `${inputs.agents[i] ?? '?'}: ${a.status === 'rejected' ? asError(a.reason).message : ''}`,
    );
    throw new NxnwError(
      'SOURCE_UNREACHABLE',
      `the running platform ${inputs.platformId} does not answer at any of its machines, so nothing was made. Check that it is up, that its join port (${gateways.map((g) => g.endpoint).join(', ')}) is reachable from here (\`nxnw doctor\` on its stack), and that the join bundle is its own and not revoked. Its join port: ${way}. Tried: ${why.join('; ')}`,
      { platformId: inputs.platformId },
    );
  }
  if (found !== inputs.platformId)
    throw new NxnwError(
      'BAD_JOIN',
      `the join bundle is of platform ${inputs.platformId}, and at its addresses answers ${found}; make a new one with \`nxnw join\``,
    );
  return { ...inputs, protocol };
}

async function platformOf(agent: string, tls: Tls): Promise<string> {
  const client = new AgentClient(agent, tls);
  try {
    return (await client.status()).platformId;
  } finally {
    client.close();
  }
}
