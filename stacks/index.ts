import { resolve } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import { Migration, Platform } from '@nxnw/components';
import { markedMessage } from '@nxnw/migration/coordinator/codes';
import { accessPath } from '@nxnw/migration/resources/engines/access';
import { homeDir } from '@nxnw/platform/agent/home';
import { parseConfig } from './config/parse.js';
import type { StackConfig } from './config/schema.js';
import { compileSettings } from './settings.js';
import { readRelease } from './release.js';
import { readSource } from './source.js';

/** Minutes that `up` waits for a phase where nobody sits at a terminal. */
const WAIT_WITHOUT_TERMINAL_MINUTES = 30;

/** `nxnw up` says by this variable that a person looks on; Pulumi's own processes have no terminal. */
function waitMinutes(config: StackConfig): number {
  return config.migration.wait.maxMinutes ?? (process.env['NXNW_TERMINAL'] === '1' ? 0 : WAIT_WITHOUT_TERMINAL_MINUTES);
}

async function program(): Promise<Record<string, unknown>> {
  const stack = pulumi.getStack();
  const config = parseConfig(pulumi.runtime.allConfig());
  const source = await readSource(config.migrateFrom);
  const root = homeDir();
  const settings = compileSettings(config, stack, root, source?.bundle);
  const platform = new Platform('platform', {
    ...settings,
    // before anything is made: the other clouds' machines have it from their image
    ...(config.cloud.kind === 'hosts' ? { release: readRelease(root) } : {}),
    stack,
    accessPath: accessPath(resolve(root), stack),
    protect: config.platform.protect ?? config.cloud.kind !== 'local',
  });
  if (source === undefined) return platform.outputs();
  const { attempt, apps, wait: _wait, ...options } = config.migration;
  const migration = new Migration(
    'migration',
    {
      coordinator: platform.coordinator,
      operator: platform.operator,
      join: source.text,
      stage: config.stage,
      attempt,
      apps,
      options,
      waitMinutes: waitMinutes(config),
      stack,
    },
    { dependsOn: [platform] },
  );
  return { ...platform.outputs(), migration: migration.outputs() };
}

/** The stack's outputs; a fault is shown with its code and without a stack trace. */
export = async (): Promise<Record<string, unknown>> => {
  try {
    return await program();
  } catch (e) {
    throw new pulumi.RunError(markedMessage(e));
  }
};
