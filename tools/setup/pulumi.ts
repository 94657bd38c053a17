import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { findProgram, pulumiBinDir, repoRoot } from '../paths.js';
import { isAtLeast, requireGo } from './go.js';
import { hashOf, once } from './once.js';
import { run, say } from './run.js';
import { writeStarter } from './starter.js';

/** Version of `pulumi` that set-up builds; the same as the npm package's. */
export const PULUMI_VERSION = '3.245.0';
const OLDEST_PULUMI = [3, 230] as const;
const BUILD_MS = 30 * 60_000;

/** The `pulumi` on PATH if it is new enough, with its own language host; else undefined. */
export function officialPulumi(): string | undefined {
  const onPath = findProgram('pulumi');
  if (onPath === undefined || dirname(onPath) === pulumiBinDir) return undefined;
  return isAtLeast(onPath, 'version', OLDEST_PULUMI) ? onPath : undefined;
}

/** The `pulumi` to run: the official one, or the one that set-up has built. @throws PROGRAM_MISSING for neither. */
export function resolvePulumi(): string {
  const built = join(pulumiBinDir, 'pulumi');
  const found = officialPulumi() ?? (existsSync(built) ? built : undefined);
  if (found === undefined)
    throw new NxnwError(
      'PROGRAM_MISSING',
      `no \`pulumi\` >= ${OLDEST_PULUMI.join('.')} on PATH and none built in ${pulumiBinDir}. Run \`npm run setup\`, or install Pulumi.`,
      { programs: ['pulumi'] },
    );
  return found;
}

/** Makes sure of a `pulumi`: the official one, or one built from the Go module registry with a small Node host beside it. */
export async function ensurePulumi(): Promise<void> {
  if (officialPulumi() !== undefined) return;
  const source = join(repoRoot, 'tools', 'pulumi');
  const binary = join(pulumiBinDir, 'pulumi');
  const key = hashOf(PULUMI_VERSION, readFileSync(join(source, 'go.mod'), 'utf8'));
  const present = () => existsSync(binary);
  await once({ name: 'pulumi', key, present, deadlineMs: BUILD_MS }, async () => {
    const go = requireGo({
      program: 'pulumi',
      absent: `\`pulumi\` >= ${OLDEST_PULUMI.join('.')} on PATH`,
      instead: 'Pulumi (https://www.pulumi.com/docs/install)',
    });
    say(`pulumi: building ${PULUMI_VERSION} (about 4 minutes the first time)`);
    mkdirSync(pulumiBinDir, { recursive: true });
    await run(
      go,
      [
        'build',
        '-trimpath',
        '-tags=osusergo,grpcnotrace',
        `-ldflags=-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v${PULUMI_VERSION}`,
        '-o',
        binary,
        'github.com/pulumi/pulumi/pkg/v3/cmd/pulumi',
      ],
      {
        what: 'build pulumi',
        cwd: source,
        env: { CGO_ENABLED: '0', GOTOOLCHAIN: 'local', GOFLAGS: '-mod=mod' },
        deadlineMs: BUILD_MS,
        onFailure: 'Check that the Go module registry (`go env GOPROXY`) can be reached, or install Pulumi on PATH.',
      },
    );
  });
  linkPlugins();
}

/**
 * The engine finds plugins beside itself: the language host, and the starter of dynamic providers. Both become the
 * process that the engine started (`exec`), so that its SIGINT ends them at once. They point into this checkout.
 */
function linkPlugins(): void {
  const cmd = join(dirname(require.resolve('@pulumi/pulumi/package.json')), 'cmd', 'dynamic-provider', 'index.js');
  const host = join(repoRoot, 'tools', 'dist', 'pulumi-host', 'main.js');
  writeStarter(join(pulumiBinDir, 'pulumi-language-nodejs'), ['node', host]);
  writeStarter(join(pulumiBinDir, 'pulumi-resource-pulumi-nodejs'), ['node', cmd]);
}
