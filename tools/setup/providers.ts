import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { pulumiHome, repoRoot, toolsDir } from '../paths.js';
import { requireGo } from './go.js';
import { hashOf, once } from './once.js';
import { run, say } from './run.js';
import { isStarter, writeStarter } from './starter.js';

/** Pulumi's resource plugins that set-up can make, with the versions of their npm packages. */
export const PROVIDER_VERSIONS = { aws: '6.83.4', openstack: '3.15.2', command: '1.2.1' } as const;
export type ProviderName = keyof typeof PROVIDER_VERSIONS;

/** Names the executable of the Terraform provider that the aws plugin of ours speaks through. */
export const TERRAFORM_AWS_VARIABLE = 'TF_PROVIDER_AWS';
const TERRAFORM_AWS = 'terraform-provider-aws_v5.100.0';
const BUILD_MS = 30 * 60_000;

/** The file that the engine starts. */
function pluginFile(home: string, name: ProviderName): string {
  return join(home, 'plugins', `resource-${name}-v${PROVIDER_VERSIONS[name]}`, `pulumi-resource-${name}`);
}

function builtFile(name: ProviderName): string {
  return join(toolsDir, 'providers', name, `pulumi-resource-${name}`);
}

/**
 * Makes sure that the engine finds these plugins in `home`: the official one of the right version where it is installed
 * (there, or in the user's own home of Pulumi), else one of ours, built when its sources have changed.
 * @param home @default PULUMI_HOME, else the project's own
 * @throws PROGRAM_MISSING without Go, SETUP_FAILED, SETUP_TIMEOUT
 */
export async function ensureProviders(names: readonly ProviderName[], home = pulumiHome()): Promise<void> {
  // One after the other: the two Go programs share most of what they compile.
  for (const name of new Set(names)) {
    const file = pluginFile(home, name);
    if (existsSync(file) && !isStarter(file)) continue;
    const command = officialElsewhere(name) ?? (await ours(name));
    mkdirSync(dirname(file), { recursive: true });
    writeStarter(file, command);
  }
}

function officialElsewhere(name: ProviderName): readonly string[] | undefined {
  const file = pluginFile(join(homedir(), '.pulumi'), name);
  return existsSync(file) && !isStarter(file) ? [file] : undefined;
}

async function ours(name: ProviderName): Promise<readonly string[]> {
  if (name === 'command') return ['node', join(repoRoot, 'tools', 'dist', 'providers', 'command', 'main.js')];
  await buildBridge(name);
  return [builtFile(name)];
}

/** The executable of the Terraform provider for AWS: what TF_PROVIDER_AWS names, or what lies beside our plugin. */
export function terraformAws(): string | undefined {
  const named = process.env[TERRAFORM_AWS_VARIABLE];
  if (named !== undefined && named !== '') return existsSync(named) ? named : undefined;
  const dir = dirname(builtFile('aws'));
  const file = existsSync(dir) ? readdirSync(dir).find((f) => f.startsWith(TERRAFORM_AWS)) : undefined;
  return file === undefined ? undefined : join(dir, file);
}

async function buildBridge(name: 'aws' | 'openstack'): Promise<void> {
  const source = join(repoRoot, 'tools', 'providers', 'bridge');
  const version = PROVIDER_VERSIONS[name];
  const key = hashOf(version, name, ...sourcesOf(source, name === 'aws' ? 'openstack' : 'aws'));
  const present = () => existsSync(builtFile(name));
  await once({ name: `${name}-provider`, key, present, deadlineMs: BUILD_MS }, async () => {
    const official = `the official Pulumi plugin (\`pulumi plugin install resource ${name} v${version}\`)`;
    const go = requireGo({
      program: `pulumi-resource-${name}`,
      absent: `Pulumi plugin ${name} ${version}`,
      instead: official,
    });
    say(`${name}-provider: building the plugin of Pulumi for ${name} ${version} (about 4 minutes the first time)`);
    mkdirSync(dirname(builtFile(name)), { recursive: true });
    await run(
      go,
      [
        'build',
        '-mod=readonly',
        '-buildvcs=false',
        '-trimpath',
        // Two libraries in it bring the same protocol files.
        `-ldflags=-s -w -X main.version=${version} -X google.golang.org/protobuf/reflect/protoregistry.conflictPolicy=ignore`,
        '-o',
        builtFile(name),
        `./${name}`,
      ],
      {
        what: `build the plugin ${name}`,
        cwd: source,
        env: { CGO_ENABLED: '0', GOTOOLCHAIN: 'local' },
        deadlineMs: BUILD_MS,
        onFailure: `Check that the Go module registry (\`go env GOPROXY\`) can be reached, or install ${official}.`,
      },
    );
    if (name === 'aws' && terraformAws() === undefined)
      say(
        `aws-provider: before it can be used, let ${TERRAFORM_AWS_VARIABLE} name the executable of terraform-provider-aws v5.100.0, or put that into ${dirname(builtFile('aws'))} as ${TERRAFORM_AWS}`,
      );
  });
}

/** Contents of the files that a program is built from: all but those of the other one. */
function sourcesOf(dir: string, other: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((f) => /\.go$|go\.(mod|sum)$/.test(f) && !f.startsWith(`${other}/`))
    .sort()
    .flatMap((f) => [f, readFileSync(join(dir, f), 'utf8')]);
}
