import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { findProgram } from '../paths.js';
import { hashOf, once } from './once.js';
import { run, say } from './run.js';

/** Program that must be on the machine -> Debian package that brings it. */
export const DEBIAN_PACKAGES = {
  memcached: 'memcached',
  haproxy: 'haproxy',
  knotd: 'knot',
  kdig: 'knot-dnsutils',
  ab: 'apache2-utils',
  java: 'default-jre-headless',
  mvn: 'maven',
  python3: 'python3-venv',
  sshd: 'openssh-server',
  mmdebstrap: 'mmdebstrap',
  'mkfs.ext4': 'e2fsprogs',
  'qemu-img': 'qemu-utils',
  'qemu-system-x86_64': 'qemu-system-x86',
  genisoimage: 'genisoimage',
  'virt-xml-validate': 'libvirt-clients',
  xmllint: 'libxml2-utils',
} as const;

export type DebianProgram = keyof typeof DEBIAN_PACKAGES;

/** Debian's ssh server does not start while this file is there (README.Debian of openssh-server). */
const NO_SSH_SERVICE = '/etc/ssh/sshd_not_to_be_run';

const APT = ['-o', 'DPkg::Lock::Timeout=300', '-o', 'Dpkg::Use-Pty=0'];
const UPDATE_MS = 5 * 60_000;
const INSTALL_MS = 10 * 60_000;

function missing(programs: readonly DebianProgram[]): DebianProgram[] {
  return programs.filter((p) => findProgram(p) === undefined);
}

/**
 * Installs the Debian packages of programs that are absent.
 * @throws PROGRAM_MISSING where it may not or cannot install, with the line that an administrator would run.
 */
export async function ensurePrograms(programs: readonly DebianProgram[]): Promise<void> {
  if (missing(programs).length === 0) return;
  const present = () => missing(programs).length === 0;
  await once({ name: 'debian', key: hashOf(...programs), present, deadlineMs: INSTALL_MS }, async () => {
    const absent = missing(programs);
    const packages = absent.map((p) => DEBIAN_PACKAGES[p]);
    const line = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
    const refuse = (why: string) =>
      new NxnwError(
        'PROGRAM_MISSING',
        `missing programs: ${absent.join(', ')}. Set-up cannot install them: ${why}. Have an administrator run \`${line}\` (or your system's equivalent), then run again.`,
        { programs: absent },
      );
    const apt = findProgram('apt-get');
    if (apt === undefined) throw refuse('there is no apt-get here');
    if (process.getuid?.() !== 0) throw refuse(`it runs as user ${String(process.getuid?.())}, not as root`);
    say(`debian: installing ${packages.join(' ')}`);
    const env = { DEBIAN_FRONTEND: 'noninteractive' };
    if (absent.includes('sshd') && !existsSync(NO_SSH_SERVICE)) {
      say(`debian: the ssh server is for tests only; ${NO_SSH_SERVICE} keeps it from running as a service`);
      mkdirSync(dirname(NO_SSH_SERVICE), { recursive: true });
      writeFileSync(NO_SSH_SERVICE, '');
    }
    const onFailure = `Run \`apt-get update && ${line}\` by hand and see why.`;
    await run(apt, [...APT, 'update'], { what: 'update the package lists', env, deadlineMs: UPDATE_MS, onFailure });
    await run(apt, [...APT, 'install', '-y', '--no-install-recommends', ...packages], {
      what: `install ${packages.join(' ')}`,
      env,
      deadlineMs: INSTALL_MS,
      onFailure,
    });
    const still = missing(programs);
    if (still.length > 0) throw refuse(`after the installation ${still.join(', ')} is still not on PATH`);
  });
}
