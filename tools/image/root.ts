import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { findProgram } from '../paths.js';
import { run, say } from '../setup/run.js';
import { FILES } from './files.js';
import { MASKED_UNITS, PACKAGES, PACKAGE_LINE, SUITE, parsePackages } from './packages.js';
import type { InstalledPackage } from './packages.js';

const MAKE_MS = 30 * 60_000;
const STEP_MS = 5 * 60_000;
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const PUBLIC_MIRROR = 'http://deb.debian.org/';

/**
 * apt's lines for the suite. The mirrors are those of DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR, else those that this
 * machine's apt has for the suite, else Debian's own.
 */
export async function aptSources(): Promise<string[]> {
  const apt = findProgram('apt-get');
  const query = ['indextargets', '--format', '$(SUITE) $(CODENAME) $(REPO_URI)', 'Created-By: Packages'];
  const known =
    apt === undefined
      ? ''
      : await run(apt, query, { what: "read apt's sources", deadlineMs: STEP_MS, onFailure: 'Run `apt-get update`.' });
  const uriOf = (codename: string) =>
    known
      .split('\n')
      .map((line) => line.split(' '))
      .find((words) => words[1] === codename)?.[2];
  const main = process.env['DEBIAN_MIRROR'] ?? uriOf(SUITE) ?? `${PUBLIC_MIRROR}debian`;
  const security =
    process.env['DEBIAN_SECURITY_MIRROR'] ?? uriOf(`${SUITE}-security`) ?? `${PUBLIC_MIRROR}debian-security`;
  const line = (uri: string, suite: string) => `deb [signed-by=${KEYRING}] ${uri} ${suite} main`;
  return [line(main, SUITE), line(main, `${SUITE}-updates`), line(security, `${SUITE}-security`)];
}

/** Arguments of mmdebstrap for `target`, a folder to be made. */
export function debstrapArgs(target: string, sources: readonly string[]): string[] {
  const without = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*'];
  return [
    ...['--variant=apt', '--mode=root', '--format=directory', `--include=${PACKAGES.join(',')}`],
    '--aptopt=APT::Install-Recommends "false"',
    ...without.map((path) => `--dpkgopt=path-exclude=${path}`),
    '--dpkgopt=path-include=/usr/share/doc/*/copyright',
    // Java's package links manual pages into a folder that is left out
    '--essential-hook=mkdir -p "$1/usr/share/man/man1"',
    ...[SUITE, target, ...sources],
  ];
}

async function inRoot(root: string, what: string, command: readonly string[]): Promise<string> {
  const onFailure = 'The image is not usable; run the build again.';
  return run(findProgram('chroot') ?? 'chroot', [root, ...command], { what, deadlineMs: STEP_MS, onFailure });
}

/**
 * Makes the image's root file system in the folder `root`: Debian, the release's archive in /opt/nxnw, our files.
 * Answers what of Debian is in it. @throws PROGRAM_MISSING, SETUP_FAILED, SETUP_TIMEOUT
 */
export async function makeRoot(root: string, archive: string): Promise<InstalledPackage[]> {
  if (!existsSync(KEYRING))
    throw new NxnwError(
      'PROGRAM_MISSING',
      `${KEYRING} is not on this machine, so Debian's packages cannot be checked; install it: apt-get install debian-archive-keyring`,
    );
  say(`image: installing ${String(PACKAGES.length)} Debian packages and what they need`);
  await run(findProgram('mmdebstrap') ?? 'mmdebstrap', debstrapArgs(root, await aptSources()), {
    what: "install the image's Debian packages",
    deadlineMs: MAKE_MS,
    onFailure: `Can Debian's mirror be reached (apt-get update)? DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR name others.`,
  });
  say('image: laying the release into /opt/nxnw');
  const home = join(root, 'opt', 'nxnw');
  mkdirSync(home, { recursive: true });
  await run('tar', ['-xzf', archive, '-C', home, '--no-same-owner'], {
    what: 'unpack the release',
    deadlineMs: STEP_MS,
    onFailure: 'Is there room on the disk?',
  });
  symlinkSync('../../opt/nxnw/bin/node', join(root, 'usr', 'bin', 'node'));
  for (const [path, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  for (const name of readdirSync(join(root, 'etc', 'ssh')))
    if (name.startsWith('ssh_host_')) rmSync(join(root, 'etc', 'ssh', name));
  await inRoot(root, 'mask units', ['systemctl', '--quiet', 'mask', ...MASKED_UNITS]);
  await inRoot(root, 'enable systemd-networkd', ['systemctl', '--quiet', 'enable', 'systemd-networkd.service']);
  // a Node of a newer system than the image's does not start there
  await inRoot(root, 'start Node in the image', ['/usr/bin/node', '--version']);
  return parsePackages(await inRoot(root, 'list the packages', ['dpkg-query', '-W', '-f', PACKAGE_LINE]));
}
