import { AgentClient, type Hold, type MachineStatus } from '@nxnw/platform/agent/api';
import { machineSpecSchema, type RoleSpecInput } from '@nxnw/platform/agent/spec';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type { Log } from './engine-log.js';
import { canonical } from './canonical.js';
import { drain, instancesOf, undrain, type EdgeAgent } from './drains.js';
import type { Difference } from './machines.js';
import { inTurn } from './turns.js';
import type { Tls } from './targets.js';

/** A role that cannot run fails long before. One that only starts slowly, on an emulated machine, is waited for. */
const CONVERGE_MS = 10 * 60_000;
const SAY_EVERY_MS = 1000;

export interface RoleSetInputs {
  readonly machine: string;
  /** host:port of the machine's agent. */
  readonly agent: string;
  /** Another value is another machine: what runs on the old one is ended before that one goes. */
  readonly server: string;
  /** Changes when the machine has a new key. */
  readonly member: string;
  readonly operator: Tls;
  readonly roles: readonly RoleSpecInput[];
  /** The edges that give requests to the machine's instances. */
  readonly edges: readonly EdgeAgent[];
  /** Changes of the same turn are made one after another; '' = at once. No part of what is wanted. */
  readonly turn: string;
  /** Where progress is shown; no part of what is wanted. */
  readonly logUrn: string;
}

/** The first roles of a machine; answers when they are healthy, and the edges that know of its instances find them up. */
export async function makeRoles(inputs: RoleSetInputs, log: Log): Promise<RoleSetInputs> {
  await applyRoles(inputs, log);
  await undrain(inputs.edges, instancesOf(inputs.roles), inputs.operator, log);
  return inputs;
}

/** Other roles for a machine that serves: it is drained, changed, and back in its turn before the next one of the group. */
export function changeRoles(old: RoleSetInputs, wanted: RoleSetInputs, log: Log): Promise<RoleSetInputs> {
  return inTurn(wanted.turn, log, async () => {
    const { edges, operator } = wanted;
    if (isDisturbing(old.roles, wanted.roles)) await drain(edges, instancesOf(old.roles), operator, log);
    return makeRoles(wanted, log);
  });
}

/** Whether anything that runs is changed or ended; what is only new disturbs nobody. */
function isDisturbing(old: readonly RoleSpecInput[], wanted: readonly RoleSpecInput[]): boolean {
  const kept = new Set(wanted.map((r) => canonical(r)));
  return old.some((r) => !kept.has(canonical(r)));
}

/** Makes the roles the machine's whole set and waits until all are healthy. */
async function applyRoles(inputs: RoleSetInputs, log: Log): Promise<void> {
  const parsed = machineSpecSchema.safeParse({ roles: inputs.roles });
  if (!parsed.success) {
    const faults = parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; ');
    throw new NxnwError('BAD_CONFIG', `the roles of machine ${inputs.machine} are not valid: ${faults}`);
  }
  const client = new AgentClient(inputs.agent, inputs.operator);
  let saidMs = 0;
  try {
    await client.converge(inputs.roles, Date.now() + CONVERGE_MS, (s) => {
      if (Date.now() - saidMs < SAY_EVERY_MS) return;
      saidMs = Date.now();
      log(progressLine(s));
    });
  } finally {
    client.close();
  }
}

function progressLine(s: MachineStatus): string {
  const slow = s.roles.filter((r) => r.state !== 'healthy');
  return `${String(s.roles.length - slow.length)} of ${String(s.roles.length)} roles healthy; waiting for ${slow.map((r) => `${r.id} (${r.state})`).join(', ')}`;
}

/**
 * Stops everything on the machine, once the edges give it nothing any more; what it keeps goes with the machine itself. An agent that does not answer is left
 * to the machine's own removal, which ends what it had started.
 */
export async function stopRoles(inputs: RoleSetInputs, log: Log): Promise<void> {
  const client = new AgentClient(inputs.agent, inputs.operator);
  try {
    refuseHeld(inputs.machine, (await client.status()).holds);
    await drain(inputs.edges, instancesOf(inputs.roles), inputs.operator, log);
    await client.stop();
  } catch (e) {
    if (!hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw e;
    log(`the agent of ${inputs.machine} does not answer; its roles end with the machine`);
  } finally {
    client.close();
  }
}

/** @throws HELD, which says who holds the machine and what to do */
export function refuseHeld(machine: string, holds: readonly Hold[]): void {
  const hold = holds[0];
  if (hold === undefined) return;
  throw new NxnwError(
    'HELD',
    `machine ${machine} is held (${hold.name}: ${hold.reason}). Nothing was changed. End what holds it first, for instance destroy the platform that migrates from it or finish the migration.`,
    { machine, hold: hold.name },
  );
}

/** Another machine needs its roles made again, after those of the old one were ended. */
export function rolesDiffer(old: RoleSetInputs, wanted: RoleSetInputs): Difference {
  const compared = (i: RoleSetInputs): string => canonical([i.agent, i.member, i.roles, i.edges]);
  const differs = compared(old) !== compared(wanted);
  const replaces = old.server === wanted.server ? [] : ['server'];
  return { changes: differs || replaces.length > 0, replaces };
}

/** The inputs as the machine has them: roles that are not on it any more are left out. An agent that does not answer says nothing. */
export async function readRoles(state: RoleSetInputs): Promise<RoleSetInputs> {
  const client = new AgentClient(state.agent, state.operator);
  try {
    const there = new Set((await client.status()).roles.map((r) => r.id));
    return { ...state, roles: state.roles.filter((r) => there.has(r.id)) };
  } catch (e) {
    if (hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) return state;
    throw e;
  } finally {
    client.close();
  }
}
