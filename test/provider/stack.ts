import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pulumiEnv, repoRoot, resolvePulumi } from '@nxnw/tools';

const RUN_MS = 600_000;

export interface Ran {
  readonly code: number;
  readonly text: string;
}

/** A Pulumi project of a test's own: a program in plain JavaScript, its state in a folder, run by the real engine. */
export class TestStack {
  readonly dir = mkdtempSync(join(tmpdir(), 'nxnw-provider-'));
  private readonly env: Record<string, string>;

  /** @param runMs longest time of one run */
  constructor(
    program: string,
    private readonly runMs = RUN_MS,
  ) {
    mkdirSync(join(this.dir, 'state'));
    symlinkSync(join(repoRoot, 'node_modules'), join(this.dir, 'node_modules'));
    writeFileSync(
      join(this.dir, 'Pulumi.yaml'),
      'name: probe\nruntime: {name: nodejs, options: {typescript: false}}\nmain: index.js\n',
    );
    writeFileSync(join(this.dir, 'package.json'), '{"name":"probe","private":true}\n');
    this.program(program);
    this.env = {
      ...pulumiEnv({ stateDir: join(this.dir, 'state'), passphrase: 'test' }),
      PULUMI_HOME: join(this.dir, 'home'),
    };
  }

  /** Replaces the program. */
  program(text: string): void {
    writeFileSync(
      join(this.dir, 'index.js'),
      `const pulumi = require('@pulumi/pulumi');\nconst dir = ${JSON.stringify(this.dir)};\n${text}\n`,
    );
  }

  /** Runs `pulumi ARGS` to its end. `live` may look at the output as it grows, and end the run by a signal. */
  run(
    args: readonly string[],
    extra: Readonly<Record<string, string>> = {},
    live: (text: string, kill: (signal: NodeJS.Signals) => void) => void = () => undefined,
  ): Promise<Ran> {
    return new Promise((done, fail) => {
      const child = spawn(resolvePulumi(), [...args, '--non-interactive'], {
        cwd: this.dir,
        env: { ...process.env, ...this.env, ...extra },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let text = '';
      const keep = (s: Buffer): void => {
        text += s.toString('utf8');
        live(text, (signal) => child.kill(signal));
      };
      child.stdout.on('data', keep);
      child.stderr.on('data', keep);
      const late = setTimeout(() => child.kill('SIGKILL'), this.runMs);
      child.once('error', fail);
      child.once('close', (code) => {
        clearTimeout(late);
        done({ code: code ?? 1, text });
      });
    });
  }

  async init(): Promise<void> {
    await this.run(['stack', 'init', 'dev']);
  }

  up(extra: Readonly<Record<string, string>> = {}): Promise<Ran> {
    return this.run(['up', '--yes', '--skip-preview', '--stack', 'dev'], extra);
  }

  /** A preview that must find nothing to do. */
  quiet(): Promise<Ran> {
    return this.run(['preview', '--expect-no-changes', '--diff', '--stack', 'dev']);
  }

  /** A refresh that must find everything as it was. */
  quietRefresh(): Promise<Ran> {
    return this.run(['refresh', '--preview-only', '--expect-no-changes', '--diff', '--stack', 'dev']);
  }

  refresh(): Promise<Ran> {
    return this.run(['refresh', '--yes', '--skip-preview', '--stack', 'dev']);
  }

  destroy(): Promise<Ran> {
    return this.run(['destroy', '--yes', '--skip-preview', '--stack', 'dev']);
  }

  /** Everything in the stack's state, as text. */
  state(): string {
    const dir = join(this.dir, 'state', '.pulumi', 'stacks', 'probe');
    return readdirSync(dir)
      .filter((f) => f.endsWith('.json'))
      .map((f) => readFileSync(join(dir, f), 'utf8'))
      .join('\n');
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
