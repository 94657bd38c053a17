import type { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentClient } from '@nxnw/platform/agent/api';
import { EnrolmentClient, meet } from '@nxnw/platform/agent/enrol-client';
import type { Met } from '@nxnw/platform/agent/enrol-client';
import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import { signRequest } from '@nxnw/platform/wire/ca';
import { hostsOf, keyFingerprint } from '@nxnw/platform/wire/certificates';
import { digestOfToken } from '@nxnw/platform/wire/enrolment';
import { canonical } from './canonical.js';
import type { Log } from './engine-log.js';
import type { Tls } from './targets.js';

const DAY_MS = 86_400_000;
/** A machine that is busy, or emulated beside others, takes seconds for the handshake. */
const LOOK_MS = 15_000;
const AGAIN_MS = 1000;
/** A machine whose token is used up can only be away for a moment (its agent starts again), or be lost. */
const AWAY_MS = 60_000;
/** An agent that was given a certificate starts again with it within this. */
const RESTART_MS = 60_000;

export interface EnrolmentInputs {
  readonly authorityCert: string;
  readonly authorityKey: string;
  readonly platformId: string;
  readonly machine: string;
  /** Addresses and names that the machine's certificate is for. */
  readonly hosts: readonly string[];
  /** host:port at which the operator reaches the agent. */
  readonly agent: string;
  /** Changes when the machine is replaced. */
  readonly serverId: string;
  /** One-time, of the machine's user data. */
  readonly token: string;
  readonly operator: Tls;
  /** Time of the machine's certificate. */
  readonly days: number;
  /** Longest wait for the machine to come up. No part of what is wanted. */
  readonly waitMinutes: number;
  /** Kind of the cloud, and the command that shows the machine's console there. No parts of what is wanted. */
  readonly cloud: string;
  readonly console: string;
  readonly logUrn: string;
}

export interface EnrolmentState extends EnrolmentInputs {
  /** SHA-256 of the machine's public key, hex. */
  readonly fingerprint: string;
  readonly expiresAtMs: number;
  /** SHA-256 of the token, hex. */
  readonly usedToken: string;
}

/**
 * Waits for the machine and makes it a member of the platform, or sees that it is one; a member whose certificate is in
 * the last fifth of its time, or says other hosts than wanted, gets a new key. `old`: what the last run knew.
 * @throws ENROLMENT_REFUSED, ENROLMENT_TOKEN_USED, AGENT_UNREACHABLE
 */
export async function enrol(inputs: EnrolmentInputs, old: EnrolmentState | null, log: Log): Promise<EnrolmentState> {
  const used = old !== null && old.usedToken === digestOfToken(inputs.token);
  const beganMs = Date.now();
  const waitMs = inputs.waitMinutes * 60_000;
  const untilMs = beganMs + (used ? Math.min(AWAY_MS, waitMs) : waitMs);
  for (;;) {
    const why = await attempt(inputs, used, log);
    if (typeof why !== 'string') return stateOf(inputs, why);
    if (Date.now() > untilMs) throw used ? tokenUsed(inputs, why) : unreachable(inputs, why);
    const waitedS = Math.round((Date.now() - beganMs) / 1000);
    log(`waiting for the agent of ${inputs.machine} at ${inputs.agent} (${why}); ${String(waitedS)} s so far`);
    await sleep(AGAIN_MS);
  }
}

/** One look at the machine and what it asks for; answers its certificate when all is well, otherwise why it is not yet. */
async function attempt(inputs: EnrolmentInputs, used: boolean, log: Log): Promise<X509Certificate | string> {
  const met = await look(inputs);
  if (met.kind === 'silent') return met.why;
  if (met.kind === 'other')
    throw new NxnwError(
      'ENROLMENT_REFUSED',
      `at ${inputs.agent} answers machine ${met.name} of platform ${inputs.platformId}, where ${inputs.machine} was expected; two machines have one address, or the address is wrong`,
      { machine: inputs.machine, target: inputs.agent },
    );
  if (met.kind === 'expired')
    throw new NxnwError(
      'AGENT_UNREACHABLE',
      `the certificate of machine ${inputs.machine} is valid from ${met.cert.validFrom} to ${met.cert.validTo}, which is not now by this computer's clock, so nothing can speak with it. If the clock is right, run \`nxnw refresh\`, then \`nxnw up\`: the machine gets a fresh token`,
      { machine: inputs.machine, target: inputs.agent },
    );
  try {
    if (met.kind === 'member') {
      await checkMember(inputs);
      if (!isDue(met.cert, inputs, Date.now())) return met.cert;
      log(`${inputs.machine} gets a new key`);
      await rotate(inputs);
    } else {
      await introduce(inputs, met.certPem, used, log);
    }
    return await restarted(inputs, met);
  } catch (e) {
    // What was cut off in the middle is looked at again: the machine is enrolled by then, or waits as before.
    if (hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'BUSY', 'RESOURCE_EXHAUSTED', 'NO_PENDING_KEY'))
      return asError(e).message;
    throw e;
  }
}

function look(inputs: EnrolmentInputs): Promise<Met> {
  return meet(inputs.agent, { ca: inputs.authorityCert, machine: inputs.machine }, LOOK_MS);
}

/** The machine's certificate was seen; now it must take the operator's, and be of this platform. */
async function checkMember(inputs: EnrolmentInputs): Promise<void> {
  const client = new AgentClient(inputs.agent, inputs.operator);
  try {
    const { platformId, machine } = await client.status();
    if (platformId === inputs.platformId && machine === inputs.machine) return;
    throw new NxnwError(
      'ENROLMENT_REFUSED',
      `at ${inputs.agent} answers machine ${machine} of platform ${platformId}, where ${inputs.machine} of ${inputs.platformId} was expected`,
      { machine: inputs.machine, target: inputs.agent },
    );
  } finally {
    client.close();
  }
}

async function introduce(inputs: EnrolmentInputs, certPem: string, used: boolean, log: Log): Promise<void> {
  const client = new EnrolmentClient(inputs.agent, certPem, inputs);
  try {
    const hello = await client.hello();
    if (used) throw tokenUsed(inputs, 'the machine waits to be enrolled once more');
    log(`enrolling ${inputs.machine}`);
    await client.accept(hello, await signed(inputs, hello.csr));
  } finally {
    client.close();
  }
}

async function rotate(inputs: EnrolmentInputs): Promise<void> {
  const client = new AgentClient(inputs.agent, inputs.operator);
  try {
    const { csr } = await client.newKey();
    await client.setCertificate(await signed(inputs, csr));
  } finally {
    client.close();
  }
}

async function signed(inputs: EnrolmentInputs, csr: string): Promise<{ cert: string; ca: string }> {
  const authority = { cert: inputs.authorityCert, key: inputs.authorityKey };
  const subject = { name: inputs.machine, hosts: inputs.hosts };
  return { cert: await signRequest(authority, csr, subject, inputs.days), ca: authority.cert };
}

/** Waits until the agent serves with another certificate than the one it had. */
async function restarted(inputs: EnrolmentInputs, before: Met): Promise<X509Certificate | string> {
  const untilMs = Date.now() + RESTART_MS;
  const had = before.kind === 'member' ? before.cert.fingerprint256 : '';
  let why = 'it serves with the certificate that it had';
  while (Date.now() < untilMs) {
    const met = await look(inputs);
    if (met.kind === 'member' && met.cert.fingerprint256 !== had) {
      await checkMember(inputs);
      return met.cert;
    }
    if (met.kind === 'silent') why = met.why;
    await sleep(AGAIN_MS / 4);
  }
  return `its agent was given a certificate and has not come back with it: ${why}`;
}

function stateOf(inputs: EnrolmentInputs, cert: X509Certificate): EnrolmentState {
  return {
    ...inputs,
    fingerprint: keyFingerprint(cert),
    expiresAtMs: Date.parse(cert.validTo),
    usedToken: digestOfToken(inputs.token),
  };
}

function isDue(cert: X509Certificate, wanted: EnrolmentInputs, nowMs: number): boolean {
  const leftMs = Date.parse(cert.validTo) - nowMs;
  // A day over: clocks differ.
  const longer = leftMs > (wanted.days + 1) * DAY_MS;
  return longer || inLastFifth(leftMs, wanted.days) || canonical(hostsOf(cert)) !== canonical([...wanted.hosts].sort());
}

function inLastFifth(leftMs: number, days: number): boolean {
  return leftMs < (days * DAY_MS) / 5;
}

/** Quiet unless the machine, its token or what its certificate says is another, or the certificate is in its last fifth. */
export function enrolmentDiffers(old: EnrolmentState, wanted: EnrolmentInputs, nowMs: number): boolean {
  const said = (e: EnrolmentInputs): string =>
    canonical([e.authorityCert, e.platformId, e.machine, e.hosts, e.agent, e.serverId, e.token, e.days]);
  return said(old) !== said(wanted) || inLastFifth(old.expiresAtMs - nowMs, wanted.days);
}

function unreachable(inputs: EnrolmentInputs, why: string): NxnwError {
  const port = inputs.agent.split(':').at(-1) ?? '';
  return new NxnwError(
    'AGENT_UNREACHABLE',
    `cloud ${inputs.cloud}, machine ${inputs.machine} of ${inputs.platformId}: its agent does not answer at ${inputs.agent} after ${String(inputs.waitMinutes)} minutes (${why}). Did it boot? See its console: \`${inputs.console}\` (nxnw-first-boot and nxnw-agent.service say how its first boot ended). An image that does not boot: name another one as \`image\` of the cloud's settings, and for a data machine raise its number in \`replace\`. A machine that has booted: check that the address is right and routed from here, and that the security rules let your address reach port ${port}. Then run \`nxnw up\` again; it goes on from here`,
    { cloud: inputs.cloud, machine: inputs.machine, target: inputs.agent },
  );
}

function tokenUsed(inputs: EnrolmentInputs, why: string): NxnwError {
  return new NxnwError(
    'ENROLMENT_TOKEN_USED',
    `machine ${inputs.machine} at ${inputs.agent} is not a member (${why}), and its enrolment token was used before: a token serves once. Run \`nxnw refresh\`, which sees that the machine is lost, then \`nxnw up\`, which makes it anew with a fresh token; where it is not replaced by itself (it holds data, or its address is the cloud's choice), raise its number in \`replace\` of the cloud's settings`,
    { machine: inputs.machine, target: inputs.agent },
  );
}
