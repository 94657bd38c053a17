import { execFile } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { createVolume } from './volumes.js';
import { inFolder, virsh, type Target } from './virsh.js';

const MAKE_MS = 30_000;
const UPLOAD_MS = 10 * 60_000;

/** What a machine learns at its first boot. */
export interface SeedInputs {
  /** Changes with each machine that is made, so that cloud-init sees a first boot. */
  readonly instanceId: string;
  readonly hostName: string;
  /** Public ssh key; '' = none. */
  readonly sshKey: string;
  /** cloud-init user data; it may hold a secret. */
  readonly userData: string;
  readonly mac: string;
  /** IPv4 address, and the bits of its network. */
  readonly address: string;
  readonly prefix: number;
  readonly gateway: string;
  /** Name servers; may be empty. */
  readonly dns: readonly string[];
}

/** The NoCloud files by name. JSON is YAML, so every value is quoted as it must be. */
export function seedFiles(s: SeedInputs): Readonly<Record<string, string>> {
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  return {
    'user-data': s.userData,
    'meta-data': json({
      'instance-id': s.instanceId,
      'local-hostname': s.hostName,
      ...(s.sshKey === '' ? {} : { 'public-keys': [s.sshKey] }),
    }),
    'network-config': json({
      version: 2,
      ethernets: {
        eth0: {
          match: { macaddress: s.mac },
          'set-name': 'eth0',
          addresses: [`${s.address}/${String(s.prefix)}`],
          routes: [{ to: '0.0.0.0/0', via: s.gateway }],
          ...(s.dns.length === 0 ? {} : { nameservers: { addresses: s.dns } }),
        },
      },
    }),
  };
}

/** Programs that make an ISO image with the options of mkisofs, in the order in which they are looked for. */
const MAKERS: readonly (readonly string[])[] = [['genisoimage'], ['mkisofs'], ['xorriso', '-as', 'mkisofs']];

/** Makes the seed's ISO image from its files. Throws PROGRAM_MISSING, SEED_FAILED. */
async function makeIso(folder: string, files: readonly string[], resource: string): Promise<string> {
  const iso = join(folder, 'seed.iso');
  const options = ['-quiet', '-output', iso, '-volid', 'cidata', '-joliet', '-rock'];
  const paths = files.map((f) => join(folder, f));
  for (const [program = '', ...first] of MAKERS)
    if (await run(program, [...first, ...options, ...paths], resource)) return iso;
  throw new NxnwError(
    'PROGRAM_MISSING',
    `${resource}: no program that makes ISO images is on this machine; install one: apt-get install genisoimage (or xorriso)`,
  );
}

/** false where there is no such program. */
function run(program: string, args: readonly string[], resource: string): Promise<boolean> {
  return new Promise((done, fail) => {
    execFile(program, args, { timeout: MAKE_MS }, (error, _out, err) => {
      if (error === null) done(true);
      else if (error.code === 'ENOENT') done(false);
      else
        fail(
          new NxnwError('SEED_FAILED', `${resource}: ${program} did not make the seed image: ${err.trim() || error.message}; see that the folder for temporary files has room`, {}, error), // prettier-ignore
        );
    });
  });
}

/** The seed's image, for tests and for uploading. */
export function seedImage(seed: SeedInputs, resource: string): Promise<Buffer> {
  return inFolder(async (folder) => readFile(await writeSeed(folder, seed, resource)));
}

async function writeSeed(folder: string, seed: SeedInputs, resource: string): Promise<string> {
  const files = seedFiles(seed);
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 });
  return makeIso(folder, Object.keys(files), resource);
}

/** Makes the seed as a volume of the host, remote or not. */
export async function uploadSeed(target: Target, pool: string, name: string, seed: SeedInputs): Promise<void> {
  await inFolder(async (folder) => {
    const iso = await writeSeed(folder, seed, target.resource);
    const { size: bytes } = await stat(iso);
    await createVolume(target, pool, { name, bytes, format: 'raw' });
    await virsh(target, ['vol-upload', '--pool', pool, name, iso], UPLOAD_MS);
  });
}
