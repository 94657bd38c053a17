import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { findProgram, pulumiBinDir, repoRoot } from '../paths.js';
import { hashOf, once } from './once.js';
import { run, say } from './run.js';

/** Version of `pulumi` that set-up builds; the same as the npm package's. */
export const PULUMI_VERSION = '3.245.0';
const OLDEST_PULUMI = [3, 230] as const;
const OLDEST_GO = [1, 25] as const;
const BUILD_MS = 30 * 60_000;

/** `v3.245.0` or `go1.26.8` -> [3, 245]; undefined for anything else. */
export function majorMinor(text: string): readonly [number, number] | undefined {
  const found = /(\d+)\.(\d+)/.exec(text);
  return found?.[1] === undefined || found[2] === undefined ? undefined : [Number(found[1]), Number(found[2])];
}

function atLeast(version: readonly [number, number] | undefined, least: readonly [number, number]): boolean {
  return version !== undefined && (version[0] > least[0] || (version[0] === least[0] && version[1] >= least[1]));
}

function versionOf(program: string, arg: string): readonly [number, number] | undefined {
  try {
    return majorMinor(execFileSync(program, [arg], { encoding: 'utf8', timeout: 20_000, stdio: 'pipe' }));
  } catch {
    return undefined;
  }
}

/** The `pulumi` on PATH if it is new enough, with its own language host; else undefined. */
export function officialPulumi(): string | undefined {
  const onPath = findProgram('pulumi');
  if (onPath === undefined || dirname(onPath) === pulumiBinDir) return undefined;
  return atLeast(versionOf(onPath, 'version'), OLDEST_PULUMI) ? onPath : undefined;
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
    const go = findProgram('go') ?? findGo();
    if (go === undefined || !atLeast(versionOf(go, 'version'), OLDEST_GO))
      throw new NxnwError(
        'PROGRAM_MISSING',
        `there is no \`pulumi\` >= ${OLDEST_PULUMI.join('.')} on PATH, and no Go >= ${OLDEST_GO.join('.')} to build it with. Install Pulumi (https://www.pulumi.com/docs/install) or Go, then run again.`,
        { programs: ['pulumi', 'go'] },
      );
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

function findGo(): string | undefined {
  const usual = '/usr/local/go/bin/go';
  return existsSync(usual) ? usual : undefined;
}

/**
 * The engine finds plugins beside itself: the language host, and the starter of dynamic providers. Both become the
 * process that the engine started (`exec`), so that its SIGINT ends them at once. They point into this checkout.
 */
function linkPlugins(): void {
  const cmd = join(dirname(require.resolve('@pulumi/pulumi/package.json')), 'cmd', 'dynamic-provider', 'index.js');
  writePlugin('pulumi-language-nodejs', join(repoRoot, 'tools', 'dist', 'pulumi-host', 'main.js'));
  writePlugin('pulumi-resource-pulumi-nodejs', cmd);
}

function writePlugin(name: string, script: string): void {
  const path = join(pulumiBinDir, name);
  const text = `#!/bin/sh\nexec node '${script}' "$@"\n`;
  if (existsSync(path) && !lstatSync(path).isSymbolicLink() && readFileSync(path, 'utf8') === text) return;
  rmSync(path, { force: true });
  writeFileSync(path, text, { mode: 0o755 });
}
