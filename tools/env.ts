import { mkdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { pulumiBinDir, pulumiHome, repoRoot } from './paths.js';
import { resolvePulumi } from './setup/pulumi.js';

export interface PulumiEnvOptions {
  /** Folder of the stacks' state. @default .nxnw/state in the repository */
  readonly stateDir?: string;
  /** @default PULUMI_CONFIG_PASSPHRASE of the environment, else the empty passphrase */
  readonly passphrase?: string;
}

/**
 * The environment in which `pulumi` runs: nothing is downloaded, state is a folder, home is the project's own.
 * What the caller has set (backend, passphrase or its file, home) is kept unless given here.
 */
export function pulumiEnv(o: PulumiEnvOptions = {}): Record<string, string> {
  const set = (name: string) => process.env[name];
  const home = pulumiHome();
  const stateDir = o.stateDir ?? join(repoRoot, '.nxnw', 'state');
  const backend = o.stateDir === undefined ? set('PULUMI_BACKEND_URL') : undefined;
  mkdirSync(home, { recursive: true });
  if (backend === undefined) mkdirSync(stateDir, { recursive: true });
  const env: Record<string, string> = {
    PULUMI_SKIP_UPDATE_CHECK: '1',
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: '1',
    PULUMI_HOME: home,
    PULUMI_BACKEND_URL: backend ?? `file://${stateDir}`,
  };
  const byFile = o.passphrase === undefined && set('PULUMI_CONFIG_PASSPHRASE_FILE') !== undefined;
  if (!byFile) env['PULUMI_CONFIG_PASSPHRASE'] = o.passphrase ?? set('PULUMI_CONFIG_PASSPHRASE') ?? '';
  // Our build finds its plugins beside itself, but `node` must be on PATH for them.
  const bin = dirname(resolvePulumi());
  const nodeDir = dirname(process.execPath);
  const own = bin === pulumiBinDir ? [bin] : [];
  env['PATH'] = [...own, set('PATH') ?? '', nodeDir].filter((p) => p !== '').join(delimiter);
  return env;
}
