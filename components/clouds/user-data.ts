import { NxnwError } from '@nxnw/platform/errors';
import { enrolFileSchema } from '@nxnw/platform/agent/identity';
import type { EnrolFile } from '@nxnw/platform/agent/identity';
import { FIRST_BOOT, MACHINE_DIR, MOUNT_DISK, PACKAGES, SERVICE } from './first-boot.js';

/** The release, for a stock image: the archive that `npm run release` builds. Its image's Debian packages come by apt. */
export interface ReleasePackage {
  /** http or https. */
  readonly url: string;
  /** Hex. */
  readonly sha256: string;
}

export interface UserDataArgs {
  readonly platformId: string;
  readonly machine: string;
  /** Address and port that the agent serves at, on the machine. */
  readonly host: string;
  readonly port: number;
  /** One-time enrolment token; a secret. */
  readonly token: string;
  /** PEM of the platform's authority. */
  readonly ca: string;
  /** @default none: the image has the release */
  readonly package?: ReleasePackage;
  /** Whether the machine has a disk of its own for its roles' data. @default 'none' */
  readonly dataDisk?: 'own' | 'none';
}

/** As EC2 takes it at most, before its base64. */
const MOST_BYTES = 16_384;
const PRINTABLE = /^[\x20-\x7e\n]*$/;

/** `enrol.json` of a new machine, for a cloud that puts it there in another way than by user data. */
export function enrolFile(args: UserDataArgs): string {
  const { platformId, machine, host, port, token, ca } = args;
  const file: EnrolFile = { platformId, machine, host, port, token, ca };
  const parsed = enrolFileSchema.safeParse(file);
  const faults = parsed.success ? [] : parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
  for (const [name, value] of Object.entries(args.package ?? {})) {
    if (name === 'url' && !/^https?:\/\/[\x21-\x7e]+$/.test(value)) faults.push('package.url: not an http(s) address');
    if (name === 'sha256' && !/^[0-9a-f]{64}$/.test(value)) faults.push('package.sha256: not 64 hex digits');
  }
  const text = JSON.stringify(file, null, 2);
  if (!PRINTABLE.test(text)) faults.push('names and the authority must be plain ASCII');
  if (faults.length === 0) return text;
  // No values in the message: one is the token.
  throw new NxnwError('BAD_CONFIG', `machine ${machine} cannot be started: ${faults.join('; ')}`, { machine });
}

/**
 * Cloud-init user data that makes a fresh machine wait to be enrolled. It is the same text for the same arguments, and
 * holds one secret, the token, which is of no use once the machine is enrolled.
 */
export function userData(args: UserDataArgs): string {
  const files = [
    file(`${MACHINE_DIR}/enrol.json`, '0600', enrolFile(args)),
    file('/etc/systemd/system/nxnw-agent.service', '0644', SERVICE),
    file('/usr/local/sbin/nxnw-first-boot', '0755', FIRST_BOOT),
    file('/usr/local/sbin/nxnw-mount-disk', '0755', MOUNT_DISK),
  ];
  const command = [
    '/usr/local/sbin/nxnw-first-boot',
    args.dataDisk ?? 'none',
    ...(args.package === undefined ? [] : [args.package.url, args.package.sha256]),
  ];
  // Debian's own services of these programs must not run: roles are the agent's.
  const packages =
    args.package === undefined
      ? ''
      : `bootcmd:\n  - [systemctl, mask, memcached.service, haproxy.service]\npackage_update: true\npackages:\n${PACKAGES.map((p) => `  - ${quoted(p)}\n`).join('')}`;
  const text = `#cloud-config\n${packages}write_files:\n${files.join('')}runcmd:\n  - [${command.map(quoted).join(', ')}]\n`;
  if (Buffer.byteLength(text) <= MOST_BYTES) return text;
  throw new NxnwError(
    'BAD_CONFIG',
    `the user data of machine ${args.machine} has ${String(Buffer.byteLength(text))} bytes, and clouds take ${String(MOST_BYTES)}; give shorter names, or a shorter address of the package`,
    { machine: args.machine },
  );
}

function file(path: string, mode: string, content: string): string {
  const lines = content.trimEnd().split('\n');
  return [
    `  - path: ${quoted(path)}`,
    `    permissions: ${quoted(mode)}`,
    `    owner: "root:root"`,
    `    content: |`,
    ...lines.map((l) => (l === '' ? '' : `      ${l}`)),
    '',
  ].join('\n');
}

/** A JSON string of printable ASCII is a YAML double-quoted string, of YAML 1.1 too. */
function quoted(value: string): string {
  return JSON.stringify(value);
}
