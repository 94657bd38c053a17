import { setTimeout as sleep } from 'node:timers/promises';
import { EnrolmentClient, meet } from '@nxnw/platform/agent/enrol-client';
import { hasCode } from '@nxnw/platform/errors';
import { newToken } from '@nxnw/platform/wire/enrolment';

const LOOK_MS = 15_000;
const AGAIN_MS = 1000;
/** Only a machine that says nothing for so long is lost: a busy one is late, and an agent may be starting again. */
const SILENT_MS = 60_000;

export interface TokenInputs {
  readonly platformId: string;
  readonly machine: string;
  /** Raised to make the machine anew. */
  readonly generation: number;
  /** host:port at which the operator reaches the agent; '' where that is known only when the machine is there. */
  readonly agent: string;
  /** PEM of the platform's authority, by which the machine is known again. */
  readonly authorityCert: string;
  /** Always true; a refresh that finds no such machine says false, and the next `up` makes a fresh token. */
  readonly live: boolean;
}

export interface TokenState extends TokenInputs {
  /** A secret until the machine is enrolled, of no use after it. */
  readonly token: string;
}

export function makeToken(inputs: TokenInputs): TokenState {
  return { ...inputs, live: true, token: newToken() };
}

/** Whether the next `up` has to make a fresh token, and with it a fresh machine. */
export function tokenDiffers(old: TokenInputs, wanted: TokenInputs): boolean {
  return (['platformId', 'machine', 'generation', 'agent', 'authorityCert', 'live'] as const).some(
    (k) => old[k] !== wanted[k],
  );
}

/**
 * Whether the machine that this token was made for is there: enrolled, or waiting with this very token. It is asked
 * nothing that needs a certificate, so no operator's certificate makes a difference to a token. Without an address nothing
 * is found out, and only another `generation` makes a fresh token.
 */
export async function readToken(state: TokenState, silentMs = SILENT_MS): Promise<TokenState> {
  if (state.agent === '') return state;
  const untilMs = Date.now() + silentMs;
  for (;;) {
    const found = await look(state);
    if (found !== 'silent') return { ...state, live: found === 'there' };
    if (Date.now() > untilMs) return { ...state, live: false };
    await sleep(AGAIN_MS);
  }
}

async function look(state: TokenState): Promise<'there' | 'another' | 'silent'> {
  const met = await meet(state.agent, { ca: state.authorityCert, machine: state.machine }, LOOK_MS);
  if (met.kind === 'member') return 'there';
  if (met.kind === 'silent') return 'silent';
  return met.kind === 'stranger' ? waits(state, met.certPem) : 'another';
}

async function waits(state: TokenState, certPem: string): Promise<'there' | 'another' | 'silent'> {
  const client = new EnrolmentClient(state.agent, certPem, state);
  try {
    await client.hello();
    return 'there';
  } catch (e) {
    if (hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) return 'silent';
    if (hasCode(e, 'ENROLMENT_REFUSED', 'UNIMPLEMENTED')) return 'another';
    throw e;
  } finally {
    client.close();
  }
}
