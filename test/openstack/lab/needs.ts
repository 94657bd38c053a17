import { execFile } from 'node:child_process';
import { freemem } from 'node:os';
import { promisify } from 'node:util';
import { findProgram } from '@nxnw/tools';

const run = promisify(execFile);
const INSTALL_MS = 20 * 60_000;
const MEMORY_MIB = 5000;

/** Debian 12's OpenStack (Zed), its servers, and what starts machines. */
const PACKAGES = [
  ...['keystone', 'glance-api', 'placement-api', 'nova-api', 'nova-conductor', 'nova-scheduler', 'nova-compute'],
  ...['nova-compute-kvm', 'cinder-api', 'cinder-scheduler', 'cinder-volume', 'nfs-common', 'neutron-server'],
  ...['neutron-linuxbridge-agent', 'neutron-dhcp-agent', 'neutron-l3-agent', 'rabbitmq-server', 'mariadb-server'],
  ...[
    'uwsgi-core',
    'uwsgi-plugin-python3',
    'qemu-system-x86',
    'qemu-utils',
    'libvirt-daemon-system',
    'libvirt-clients',
  ],
  ...['iproute2', 'iptables', 'ebtables', 'ipset', 'conntrack', 'dnsmasq-base', 'genisoimage'],
];

/** What the lab needs and how long it takes, for whoever waits for it. */
export const NEEDS = `OpenStack Zed on this machine: root, Debian 12, about 300 packages (2 minutes, once), ${String(MEMORY_MIB)} MiB of memory, 8 GB of disk; its control plane comes up in 3 to 9 minutes on two cores, as busy as they are`; // prettier-ignore

async function absent(): Promise<string[]> {
  const asked = ['-W', '-f', '${Package} ${db:Status-Status}\n', ...PACKAGES];
  // it ends with 1 where it does not know one, and lists the others
  const { stdout } = await run('dpkg-query', asked).catch((e: unknown) => {
    if (e instanceof Error && 'stdout' in e) return { stdout: String(e.stdout) };
    throw e;
  });
  const installed = new Set(stdout.split('\n').filter((l) => l.endsWith(' installed')).map((l) => l.split(' ')[0])); // prettier-ignore
  return PACKAGES.filter((p) => !installed.has(p));
}

/**
 * Installs what is missing.
 * @returns why no lab can run here, and what to do; null if one can
 */
export async function whyNoOpenstack(): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'it needs root, for namespaces of its own';
  if (freemem() < MEMORY_MIB * 2 ** 20)
    return `it needs ${String(MEMORY_MIB)} MiB of free memory, and there are ${String(Math.round(freemem() / 2 ** 20))}`;
  try {
    await run('unshare', ['--net', '--mount', '--pid', '--fork', '--mount-proc', '--propagation', 'private', 'true']);
  } catch (e) {
    return `no namespaces of its own here: ${String(e)}`;
  }
  const apt = findProgram('apt-get');
  if (apt === undefined) return 'its packages are Debian 12 packages, and there is no apt-get here';
  const missing = await absent();
  if (missing.length === 0) return null;
  return install(apt, missing);
}

/** Their services must not start on this machine: a policy forbids it while they are installed. */
async function install(apt: string, packages: readonly string[]): Promise<string | null> {
  const line = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  console.log(`        installing ${String(packages.length)} packages of Debian and what they need`);
  const script = [
    'set -e',
    'policy=/usr/sbin/policy-rc.d',
    `if [ ! -e $policy ]; then printf '#!/bin/sh\\nexit 101\\n' >$policy; chmod +x $policy; trap 'rm -f $policy' EXIT; fi`,
    'apt="$1"; shift',
    '"$apt" -q -o DPkg::Lock::Timeout=900 update',
    '"$apt" -q -o DPkg::Lock::Timeout=900 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install -y --no-install-recommends "$@"', // prettier-ignore
  ].join('\n');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    await run('sh', ['-c', script, 'sh', apt, ...packages], { env, timeout: INSTALL_MS, maxBuffer: 64e6 });
    return null;
  } catch (e) {
    const said = e instanceof Error && 'stderr' in e ? String(e.stderr).slice(-800) : String(e);
    return `its packages cannot be installed; run \`apt-get update && ${line}\` by hand and see why:\n${said}`;
  }
}
