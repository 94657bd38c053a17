import { closeSync, existsSync, fsyncSync, openSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { NxnwError } from '../errors.js';
import { fault } from '../fault.js';
import { newRequest } from '../wire/ca.js';
import { checkIdentity } from '../wire/certificates.js';
import { tokenSchema } from '../wire/enrolment.js';
import type { TlsMaterial } from '../wire/rpc.js';
import { digestOf, readIfThere, writeAtomic } from './files.js';
import { configPath } from './state.js';
import type { AgentConfig } from './state.js';

/** `enrol.json`: what a new machine is told by its user data, in place of an `agent.json`. */
export const enrolFileSchema = z.strictObject({
  platformId: z.string().min(1),
  machine: z.string().min(1),
  host: z.string().min(1),
  port: z.int().min(1).max(65535),
  /** One-time. */
  token: tokenSchema,
  /** PEM of the platform's authority: the agent takes a certificate of no other. */
  ca: z.string().min(1),
  metricsPort: z.int().optional(),
});
export type EnrolFile = z.output<typeof enrolFileSchema>;

export const enrolPath = (dir: string): string => join(dir, 'enrol.json');

/** What the machine's user data asks for; null if the machine is enrolled, or was never told. */
export function readEnrolFile(dir: string): EnrolFile | null {
  if (existsSync(configPath(dir))) return null;
  const text = readIfThere(enrolPath(dir));
  if (text === null) return null;
  const parsed = enrolFileSchema.safeParse(asJson(text));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((i) => `${i.path.join('.') || '(file)'}: ${i.message}`).join('; ');
  throw new NxnwError('BAD_ENROL_FILE', `${enrolPath(dir)} is not what a new machine is told: ${faults}`, { dir });
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // the schema says that it is no object
  }
}

/**
 * Makes `tls` the machine's own, for good. Key and certificate go into a folder of their own; `agent.json`, which names
 * it, is replaced as a whole: that is the moment. Killed before it the machine is what it was, killed after it the next
 * start clears what is left over. When this answers, the token (if there was one) is gone and all is on disk.
 */
export async function installIdentity(dir: string, config: Omit<AgentConfig, 'tls'>, tls: TlsMaterial): Promise<void> {
  const folder = join(dir, 'tls', digestOf(tls.cert).slice(0, 16));
  const paths = { ca: join(folder, 'ca.pem'), cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  await fault('identity.begin', config.machine);
  for (const k of ['key', 'cert', 'ca'] as const) {
    writeAtomic(paths[k], tls[k]);
    await fault(`identity.${k}`, config.machine);
  }
  for (const d of [folder, dirname(folder), dir]) syncDirectory(d);
  writeAtomic(configPath(dir), JSON.stringify({ ...config, tls: paths }, null, 2) + '\n');
  syncDirectory(dir);
  await fault('identity.config', config.machine);
  burnToken(dir);
  await fault('identity.done', config.machine);
}

/** Removes what an enrolled machine has no use for: its token, and keys that it does not use. */
export function clearLeftovers(dir: string, config: AgentConfig): void {
  burnToken(dir);
  const tls = join(dir, 'tls');
  const used = Object.values(config.tls);
  for (const name of existsSync(tls) ? readdirSync(tls) : []) {
    const path = join(tls, name);
    if (!used.some((u) => u === path || u.startsWith(`${path}/`))) rmSync(path, { recursive: true, force: true });
  }
}

function burnToken(dir: string): void {
  if (!existsSync(enrolPath(dir))) return;
  rmSync(enrolPath(dir), { force: true });
  syncDirectory(dir);
}

/** A renamed or removed file is so for good when its folder is on disk. */
function syncDirectory(dir: string): void {
  const fd = openSync(dir, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Gives an enrolled machine a new key and certificate: `newKey`, then `setCertificate` for what that asked to have signed. */
export class KeyRotation {
  private key: string | null = null;

  constructor(
    private readonly dir: string,
    private readonly config: AgentConfig,
    /** PEM of the authority in force. */
    private readonly ca: string,
  ) {}

  /** Makes a key, which stays in memory until its certificate comes; an earlier one is forgotten. Answers the request. */
  async newKey(): Promise<{ csr: string }> {
    const made = await newRequest(this.config.machine);
    this.key = made.key;
    return { csr: made.csr };
  }

  /** @throws CERTIFICATE_REFUSED (nothing is changed), NO_PENDING_KEY */
  async setCertificate(given: { readonly cert: string; readonly ca: string }): Promise<void> {
    const key = this.key;
    if (key === null)
      throw new NxnwError(
        'NO_PENDING_KEY',
        `machine ${this.config.machine} waits for no certificate: its agent was started again since, or has one already; run \`nxnw up\` again`,
      );
    if (given.ca !== this.ca)
      throw new NxnwError(
        'CERTIFICATE_REFUSED',
        `machine ${this.config.machine} keeps the authority of its platform; for another one it has to be made anew`,
      );
    const tls = { ...given, key };
    checkIdentity(tls, this.config.machine, Date.now());
    this.key = null;
    const { tls: _, ...rest } = this.config;
    await installIdentity(this.dir, rest, tls);
  }
}
