import { AgentClient } from '@nxnw/platform/agent/api';
import type { Endpoint, RoleSpecInput } from '@nxnw/platform/agent/spec';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type { Log } from './engine-log.js';
import type { Tls } from './targets.js';

/** An edge of the platform that gives requests to the machine's instances. */
export interface EdgeAgent {
  /** host:port */
  readonly agent: string;
  /** Id of its edge role. */
  readonly role: string;
}

/** For requests under way when a machine is drained. */
const DRAIN_MS = 20_000;
/** For the edges' checks to see that an instance is up. */
const UP_MS = 30_000;
/** Errors of an edge that gives nobody a request: it is gone, or has no such role yet or any more. */
const NO_EDGE = ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'EDGE_DOWN', 'CERTIFICATE_REFUSED'];

const show = (e: Endpoint): string => `${e.host}:${String(e.port)}`;

/** Instances of applications among the roles. */
export function instancesOf(roles: readonly RoleSpecInput[]): Endpoint[] {
  return roles.flatMap((r) => (r.kind === 'app' ? r.instances : []));
}

async function eachEdge(
  edges: readonly EdgeAgent[],
  operator: Tls,
  log: Log,
  ask: (client: AgentClient, edge: EdgeAgent) => Promise<void>,
): Promise<void> {
  for (const edge of edges) {
    const client = new AgentClient(edge.agent, operator);
    try {
      await ask(client, edge);
    } catch (e) {
      if (!hasCode(e, ...NO_EDGE)) throw e;
      log(`the edge at ${edge.agent} is not asked: ${e.message}`);
    } finally {
      client.close();
    }
  }
}

/**
 * Takes the instances out of every edge's turn and waits for the requests that they have. Where an application has no
 * other instance that is up they stay in: the machine's agent then restarts them one after another.
 */
export async function drain(
  edges: readonly EdgeAgent[],
  instances: readonly Endpoint[],
  operator: Tls,
  log: Log,
): Promise<void> {
  if (instances.length === 0) return;
  await eachEdge(edges, operator, log, async (client, { agent, role }) => {
    log(`draining ${instances.map(show).join(', ')} at the edge ${agent}`);
    const { drained, sessions } = await client.drain(role, instances, DRAIN_MS);
    if (!drained) log(`no other instance is up at the edge ${agent}: not drained`);
    else if (sessions > 0) log(`${String(sessions)} requests are still under way at the edge ${agent}`);
  });
}

/**
 * Gives the instances their turns again.
 * @throws NOT_UP_AT_EDGE when one does not answer an edge's checks: others must not go yet
 */
export async function undrain(
  edges: readonly EdgeAgent[],
  instances: readonly Endpoint[],
  operator: Tls,
  log: Log,
): Promise<void> {
  if (instances.length === 0) return;
  await eachEdge(edges, operator, log, async (client, { agent, role }) => {
    log(`waiting until the edge ${agent} finds ${instances.map(show).join(', ')} up`);
    const { down } = await client.undrain(role, instances, UP_MS);
    if (down.length === 0) return;
    throw new NxnwError(
      'NOT_UP_AT_EDGE',
      `the edge at ${agent} finds ${down.join(', ')} not up after ${String(UP_MS / 1000)} s, though the machine's agent does. No further machine of its group was changed. Look at the ports between the two machines and at the application's health path, then run \`nxnw up\` again.`,
      { edge: agent, down },
    );
  });
}
