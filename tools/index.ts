import { ensurePrograms, type DebianProgram } from './setup/debian.js';
import { ensureJars } from './setup/jars.js';
import { ensurePulumi } from './setup/pulumi.js';
import { ensurePython } from './setup/python.js';

export { findProgram, jarsDir, pulumiBinDir, pythonPath, repoRoot, toolsDir } from './paths.js';
export { resolvePulumi, officialPulumi } from './setup/pulumi.js';
export { pulumiEnv } from './env.js';

const PROGRAMS = {
  memcached: ['memcached'],
  haproxy: ['haproxy'],
  knot: ['knotd', 'kdig'],
  ab: ['ab'],
} as const satisfies Record<string, readonly DebianProgram[]>;

/** What set-up can bring: servers' jars, Debian's programs, `pulumi`, and `py` (Python clients for tests). */
export const TOOL_NAMES = ['zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot', 'ab', 'pulumi', 'py'] as const;
export type ToolName = (typeof TOOL_NAMES)[number];

/** What the demo needs. */
export const DEMO_TOOLS: readonly ToolName[] = TOOL_NAMES.filter((n) => n !== 'py');

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
  const results = await Promise.allSettled([
    debian(),
    jars(),
    names.includes('pulumi') ? ensurePulumi() : undefined,
    names.includes('py') ? ensurePython() : undefined,
  ]);
  const failures = results.filter((r) => r.status === 'rejected').map((r): unknown => r.reason);
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map(String).join('\n'));
}
