import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { readAccess } from '@nxnw/migration/resources/engines/access';
import type { Access } from '@nxnw/migration/resources/engines/access';
import { repoRoot, toolsDir } from '@nxnw/tools';
import { nxnw } from './nxnw.js';
import type { NxnwOptions, Ran } from './nxnw.js';

const LINKED = ['platform', 'migration', 'components', 'stacks', 'examples', 'node_modules'] as const;
const PRIVATE = 0o600;

/** Pulumi keeps the salt of a stack's secrets in the stack's file. */
const withSalt = z.looseObject({ encryptionsalt: z.string().optional() });

/** A project that uses this checkout's program, with a folder, stacks and a state of its own. */
export class Project {
  constructor(
    readonly dir: string,
    /** Variables of every run, over those of this process: a cloud's credentials and endpoints. */
    private readonly env: Readonly<Record<string, string>> = {},
  ) {}

  /** Makes the folder; the release of this checkout is the project's too, where one is built. */
  make(): void {
    mkdirSync(join(this.dir, 'state'), { recursive: true });
    mkdirSync(join(this.dir, '.nxnw'), { recursive: true });
    copyFileSync(join(repoRoot, 'Pulumi.yaml'), join(this.dir, 'Pulumi.yaml'));
    for (const name of LINKED) symlinkSync(join(repoRoot, name), join(this.dir, name));
    symlinkSync(toolsDir, join(this.dir, '.tools'));
    symlinkSync(join(repoRoot, '.nxnw', 'release'), join(this.dir, '.nxnw', 'release'));
  }

  /** Writes the stack's configuration: `cloud`, `store` …, as in docs/configuration.md. */
  write(stack: string, config: Readonly<Record<string, unknown>>): void {
    const file = join(this.dir, `Pulumi.${stack}.yaml`);
    const before = existsSync(file) ? withSalt.parse(parse(readFileSync(file, 'utf8'))) : {};
    const keyed = Object.fromEntries(Object.entries(config).map(([key, value]) => [`nxnw:${key}`, value]));
    writeFileSync(file, stringify({ ...before, config: keyed }), { mode: PRIVATE });
  }

  /** Runs `nxnw ARGS` here. Throws NXNW_FAILED for an exit code that is not allowed. */
  nxnw(args: readonly string[], o: Omit<NxnwOptions, 'env' | 'log'> & { readonly log?: string }): Promise<Ran> {
    return nxnw(args, {
      log: join(this.dir, 'nxnw.log'),
      ...o,
      env: {
        NXNW_HOME: this.dir,
        PULUMI_BACKEND_URL: `file://${join(this.dir, 'state')}`,
        PULUMI_CONFIG_PASSPHRASE: 'test',
        ...this.env,
      },
    });
  }

  /** How to reach the stack's platform. */
  access(stack: string): Access {
    return readAccess(this.dir, stack);
  }
}
