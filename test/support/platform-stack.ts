import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { TestStack, type Ran } from '../provider/stack.js';

const fileSchema = z.looseObject({ encryptionsalt: z.string() });
const previewSchema = z.looseObject({ steps: z.array(z.looseObject({ op: z.string(), urn: z.string() })) });

/** A step that a preview plans: `replace` of `nxnw:...LibvirtDomain`, `fleet-data-1`. */
export interface Step {
  readonly op: string;
  readonly type: string;
  readonly name: string;
}

/** A whole platform of the project's own program as the stack `dev`, run by the real engine from a folder of its own. */
export class PlatformStack {
  private readonly stack: TestStack;

  private constructor(
    runMs: number,
    private readonly env: Readonly<Record<string, string>>,
  ) {
    this.stack = new TestStack("module.exports = require('@nxnw/stacks');", runMs);
  }

  /** @param env of each run: where plugins are, and who speaks to a cloud @default none */
  static async create(runMs: number, env: Readonly<Record<string, string>> = {}): Promise<PlatformStack> {
    const made = new PlatformStack(runMs, env);
    await made.stack.init();
    return made;
  }

  get dir(): string {
    return this.stack.dir;
  }

  /** Replaces the configuration; keys begin with `nxnw:`. */
  configure(config: Readonly<Record<string, unknown>>): void {
    const path = join(this.stack.dir, 'Pulumi.dev.yaml');
    const { encryptionsalt } = fileSchema.parse(parse(existsSync(path) ? readFileSync(path, 'utf8') : ''));
    writeFileSync(path, stringify({ encryptionsalt, config }));
  }

  run(command: string, ...args: readonly string[]): Promise<Ran> {
    return this.stack.run([command, '--stack', 'dev', ...args], { NXNW_HOME: this.stack.dir, ...this.env });
  }

  /** Runs it, and fails with its output unless it ends well. */
  async good(command: string, ...args: readonly string[]): Promise<string> {
    const { code, text } = await this.run(command, ...args);
    if (code !== 0) throw new Error(`pulumi ${command} ended with ${String(code)}:\n${text}`);
    return text;
  }

  up(): Promise<string> {
    return this.good('up', '--yes', '--skip-preview');
  }

  refresh(): Promise<string> {
    return this.good('refresh', '--yes', '--skip-preview');
  }

  destroy(): Promise<string> {
    return this.good('destroy', '--yes', '--skip-preview');
  }

  /** Fails unless a preview has nothing to do, and a refresh finds everything as it was. */
  async quiet(): Promise<void> {
    await this.good('preview', '--expect-no-changes', '--diff');
    await this.good('refresh', '--preview-only', '--expect-no-changes', '--diff');
  }

  /** What a preview would do, without what stays as it is. */
  async planned(): Promise<Step[]> {
    const text = await this.good('preview', '--json');
    const { steps } = previewSchema.parse(JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)));
    return steps
      .filter((s) => s.op !== 'same')
      .map(({ op, urn }) => {
        const [type = '', name = ''] = urn.split('::').slice(-2);
        return { op, type: type.split('$').at(-1) ?? '', name };
      });
  }

  /** Everything in the stack's state, as text. */
  state(): string {
    return this.stack.state();
  }

  remove(): void {
    this.stack.remove();
  }
}
