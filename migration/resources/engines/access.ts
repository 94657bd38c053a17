import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { z } from 'zod';
import { canonical } from './canonical.js';
import { refuseHeld } from './roles.js';

const PRIVATE = 0o600;
const HostPort = z.string().regex(/^[^:\s]+:\d+$/);

/**
 * What the `nxnw` command needs to speak to a platform without Pulumi (`nxnw back` works while the stack is locked):
 * `.nxnw/access/STACK.json` beside the project, readable by its owner only, like a kubeconfig.
 */
export const accessSchema = z.strictObject({
  platformId: z.string(),
  stack: z.string(),
  operator: z.strictObject({ ca: z.string(), cert: z.string(), key: z.string() }),
  agents: z.array(z.strictObject({ machine: z.string(), endpoint: HostPort, roles: z.array(z.string()) })),
  /** null on a platform that does not migrate. */
  coordinator: HostPort.nullable(),
});
export type Access = z.output<typeof accessSchema>;

export function accessPath(projectDir: string, stack: string): string {
  return join(projectDir, '.nxnw', 'access', `${stack}.json`);
}

/** @throws NO_ACCESS when the stack has none here, BAD_ACCESS when it cannot be read */
export function readAccess(projectDir: string, stack: string): Access {
  const path = accessPath(projectDir, stack);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (e) {
    throw new NxnwError(
      'NO_ACCESS',
      `no access to stack ${stack}: ${path} is missing; run \`nxnw up --stack ${stack}\``,
      { stack },
      e,
    );
  }
  try {
    return accessSchema.parse(JSON.parse(text));
  } catch (e) {
    throw new NxnwError('BAD_ACCESS', `${path} is damaged; run \`nxnw refresh --stack ${stack}\``, { stack }, e);
  }
}

export interface AccessInputs {
  readonly path: string;
  readonly access: Access;
}

export function writeAccess(inputs: AccessInputs): AccessInputs {
  mkdirSync(dirname(inputs.path), { recursive: true, mode: 0o700 });
  const fresh = `${inputs.path}.${String(process.pid)}`;
  writeFileSync(fresh, JSON.stringify(inputs.access, null, 2) + '\n', { mode: PRIVATE });
  renameSync(fresh, inputs.path);
  return inputs;
}

/**
 * The first thing that goes when a platform is destroyed, and so the place to refuse it: a held machine (the source of
 * a migration) keeps the whole platform.
 */
export async function removeAccess(inputs: AccessInputs): Promise<void> {
  const { agents, operator } = inputs.access;
  await Promise.all(
    agents.map(async ({ machine, endpoint }) => {
      const client = new AgentClient(endpoint, operator);
      try {
        refuseHeld(machine, (await client.status()).holds);
      } catch (e) {
        // A machine whose agent is gone knows its holds by itself and refuses its own removal.
        if (!hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw e;
      } finally {
        client.close();
      }
    }),
  );
  rmSync(inputs.path, { force: true });
}

/** Another content, or a file that is gone. */
export function accessDiffers(old: AccessInputs, wanted: AccessInputs): boolean {
  if (canonical(old) !== canonical(wanted)) return true;
  try {
    return readFileSync(wanted.path, 'utf8') === '';
  } catch {
    return true;
  }
}
