import type { AgentClient } from '@nxnw/platform/agent/api';

/** A role of one machine's agent. */
export interface AppRole {
  readonly machine: string;
  readonly role: string;
}

/** One side's instances of an application. */
export interface AppSide {
  /** Digest of the bundle that the side is meant to run. */
  readonly bundle: string;
  readonly roles: readonly AppRole[];
}

export interface StandbyState {
  readonly ready: boolean;
  readonly bundle: string;
  /** One line for a person: what runs, or what is missing. */
  readonly detail: string;
}

/** Agents of one platform by machine. */
export type Agents = ReadonlyMap<string, AgentClient>;

/**
 * How an application stands on N2: the same bundle as on N1, and every role of it healthy. N2's datastore reads through
 * to N1 in the meantime, so healthy means that its whole way works.
 */
export async function standbyState(source: AppSide, target: AppSide, agents: Agents): Promise<StandbyState> {
  if (source.bundle !== target.bundle)
    return {
      ready: false,
      bundle: target.bundle,
      detail: `N2 runs bundle ${target.bundle.slice(0, 12)}, N1 ${source.bundle.slice(0, 12)}: run \`nxnw up\` on both stacks with the same bundle`,
    };
  const bad: string[] = [];
  for (const { machine, role } of target.roles) {
    const agent = agents.get(machine);
    const status = agent === undefined ? undefined : (await agent.status()).roles.find((r) => r.id === role);
    if (status?.state !== 'healthy')
      bad.push(
        `${role} on ${machine}: ${status === undefined ? 'no such role' : `${status.state} (${status.detail})`}`,
      );
  }
  const ready = bad.length === 0 && target.roles.length > 0;
  return {
    ready,
    bundle: target.bundle,
    detail: ready
      ? `bundle ${target.bundle.slice(0, 12)}, ${target.roles.length} roles healthy in standby`
      : bad.join('; '),
  };
}

/** Tells every instance of one side whether it serves (`NXNW_SERVING`). */
export async function setServing(side: AppSide, agents: Agents, serving: boolean): Promise<void> {
  const known = side.roles.flatMap(({ machine, role }) => {
    const agent = agents.get(machine);
    return agent === undefined ? [] : [{ agent, role }];
  });
  await Promise.all(known.map(({ agent, role }) => agent.setServing(role, serving)));
}
