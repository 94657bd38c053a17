import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureProviders, pulumiEnv, repoRoot } from '@nxnw/tools';
import { stringify } from 'yaml';
import { TestStack, type Ran } from '../provider/stack.js';
import { tinyApp } from './agents.js';

const SALT = 'v1:jEbYAZtkvcY=:v1:OY7zsjo01BGNCDWF:6QKUiBxR70xtofC5tDYldTdgfQcjkA==';
const RUN_MS = 600_000;

/** A project with the stack `dev` of a small platform, driven by the `nxnw` command as an operator does. */
export class NxnwProject {
  private readonly stack = new TestStack("module.exports = require('@nxnw/stacks');");
  private readonly bundle = tinyApp();

  static async create(plugins: Parameters<typeof ensureProviders>[0]): Promise<NxnwProject> {
    const project = new NxnwProject();
    await ensureProviders(plugins, join(project.dir, 'home'));
    await project.stack.init();
    return project;
  }

  get dir(): string {
    return this.stack.dir;
  }

  /** Writes the stack file: one data, one app and one edge machine on this cloud. */
  configure(cloud: Readonly<Record<string, unknown>>): void {
    const config = {
      'nxnw:platform': { name: 'shop', protect: false },
      'nxnw:cloud': { appMachines: 1, ...cloud },
      'nxnw:apps': [{ id: 'shop', bundle: this.bundle, instances: 1 }],
    };
    writeFileSync(join(this.dir, 'Pulumi.dev.yaml'), stringify({ encryptionsalt: SALT, config }));
  }

  /** Runs `nxnw ARGS --stack dev`; the text is what it has printed, to both. */
  nxnw(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
    const own = { ...pulumiEnv({ stateDir: join(this.dir, 'state'), passphrase: 'x' }), PULUMI_HOME: join(this.dir, 'home') }; // prettier-ignore
    return new Promise((done, fail) => {
      const child = spawn(process.execPath, [join(repoRoot, 'cli', 'dist', 'index.js'), ...args, '--stack', 'dev'], {
        env: { ...process.env, ...own, NXNW_HOME: this.dir, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let text = '';
      for (const s of [child.stdout, child.stderr]) s.setEncoding('utf8').on('data', (d: string) => (text += d));
      const late = setTimeout(() => child.kill('SIGKILL'), RUN_MS);
      child.once('error', fail);
      child.once('close', (code) => {
        clearTimeout(late);
        done({ code: code ?? 1, text });
      });
    });
  }

  /** `nxnw up` of everything but what waits for agents in the machines: nothing boots here. */
  up(env: Readonly<Record<string, string>> = {}): Promise<Ran> {
    const waits = ['--exclude', '**::platform-fleet-enrolment-*', '--exclude-dependents'];
    return this.nxnw(['up', '--yes', '--skip-preview', '--non-interactive', ...waits], env);
  }

  state(): string {
    return this.stack.state();
  }

  remove(): void {
    this.stack.remove();
  }
}

/** The lines by which `nxnw` explains failures of a cloud. */
export function explanations({ text }: Ran): string[] {
  return text.split('\n').filter((l) => l.startsWith('nxnw: CLOUD_'));
}
