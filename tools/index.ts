import { NxnwError } from '@nxnw/platform/errors';
import { ensurePrograms, type DebianProgram } from './setup/debian.js';
import { ensureJars } from './setup/jars.js';
import { ensureProviders, type ProviderName } from './setup/providers.js';
import { ensurePulumi } from './setup/pulumi.js';
import { ensurePython } from './setup/python.js';

export { findProgram, jarsDir, pulumiBinDir, pulumiHome, pythonPath, repoRoot, toolsDir } from './paths.js';
export { resolvePulumi, officialPulumi } from './setup/pulumi.js';
export { ensureProviders, PROVIDER_VERSIONS, terraformAws } from './setup/providers.js';
export { pulumiEnv } from './env.js';

const PROGRAMS = {
  memcached: ['memcached'],
  haproxy: ['haproxy'],
  knot: ['knotd', 'kdig'],
  ab: ['ab'],
  sshd: ['sshd'],
  'virt-xml': ['virt-xml-validate', 'xmllint'],
} as const satisfies Record<string, readonly DebianProgram[]>;

const PROVIDERS = {
  'command-provider': 'command',
  'openstack-provider': 'openstack',
  'aws-provider': 'aws',
} as const satisfies Record<string, ProviderName>;

/** What `npm run setup` brings: servers' jars, Debian's programs, `pulumi`, and `py` (Python clients for tests). */
const ALL = ['zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot', 'ab', 'pulumi', 'py'] as const;
/** What is brought only where it is asked for: for tests an ssh server and libvirt's schemas, and plugins of Pulumi. */
const ON_DEMAND = ['sshd', 'virt-xml', 'command-provider', 'openstack-provider', 'aws-provider'] as const;
const TOOL_NAMES = [...ALL, ...ON_DEMAND] as const;
export type ToolName = (typeof TOOL_NAMES)[number];

const SETS: Readonly<Record<string, readonly ToolName[]>> = {
  all: ALL,
  demo: ALL.filter((n) => n !== 'py'),
  providers: ['command-provider', 'openstack-provider', 'aws-provider'],
};

/** Names of tools and of sets of them -> the tools, each once. @throws TOOL_UNKNOWN */
export function toolsOf(names: readonly string[]): ToolName[] {
  const wanted = new Set(names.flatMap((n): readonly string[] => SETS[n] ?? [n]));
  const unknown = [...wanted].filter((w) => !TOOL_NAMES.some((n) => n === w));
  if (unknown.length > 0)
    throw new NxnwError(
      'TOOL_UNKNOWN',
      `unknown tools: ${unknown.join(', ')}; there are ${TOOL_NAMES.join(', ')}, and the sets ${Object.keys(SETS).join(', ')}`,
      { unknown },
    );
  return TOOL_NAMES.filter((n) => wanted.has(n));
}

/**
 * Makes sure that the tools are there; quick when they are, safe to call from several processes at once.
 * @throws PROGRAM_MISSING, SETUP_FAILED, SETUP_TIMEOUT
 */
export async function ensureTools(names: readonly ToolName[]): Promise<void> {
  const debian = async () => {
    const programs = names.flatMap((n) => (n in PROGRAMS ? PROGRAMS[n as keyof typeof PROGRAMS] : []));
    await ensurePrograms(programs);
  };
  const jars = async () => {
    // One after the other: two Maven processes would write to one local repository.
    if (names.includes('zookeeper')) await ensureJars('zookeeper');
    if (names.includes('cassandra')) await ensureJars('cassandra');
  };
  const go = async () => {
    // One after the other too: each build takes all cores.
    if (names.includes('pulumi')) await ensurePulumi();
    await ensureProviders(names.flatMap((n) => (n in PROVIDERS ? PROVIDERS[n as keyof typeof PROVIDERS] : [])));
  };
  const results = await Promise.allSettled([debian(), jars(), go(), names.includes('py') ? ensurePython() : undefined]);
  const failures = results.filter((r) => r.status === 'rejected').map((r): unknown => r.reason);
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map(String).join('\n'));
}
