import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { exitCodeOfMarkers, markersIn } from '@nxnw/migration/coordinator/codes';
import type { ExitCode } from '@nxnw/migration/coordinator/codes';
import { pulumiEnv, resolvePulumi } from '@nxnw/tools';
import { projectDir } from './context.js';
import { explained, failuresIn } from './provider-failures.js';
import { explainLocks, stackLocks } from './stack-lock.js';

/** Enough of the output's end for the markers of failed resources, which Pulumi repeats in its summary. */
const KEPT_CHARS = 1 << 20;

interface Run {
  readonly code: number;
  /** What was printed and logged, as far as it was seen. */
  readonly text: string;
  /** The engine's event log, a JSON object a line; '' where none was asked for. */
  readonly events: string;
}

/**
 * Runs the resolved `pulumi` on the project with the right environment. The exit code is 0, or what the `[nxnw:CODE]`
 * markers in the failures mean (4 refused, 3 not yet, 2 usage), or 1.
 */
export async function pulumi(command: string, stack: string, args: readonly string[]): Promise<ExitCode> {
  const env = pulumiEnv();
  const changes = ['up', 'destroy', 'refresh', 'preview'].includes(command);
  if (changes && command !== 'preview') {
    const locked = explainLocks(stackLocks(env['PULUMI_BACKEND_URL'] ?? '', stack), stack);
    if (locked !== null) throw new NxnwError('STACK_LOCKED', locked, { stack });
  }
  const full = [command, ...(command === 'cancel' ? [stack, '--yes'] : ['--stack', stack]), ...args];
  let run = await start(full, env, changes);
  if (run.code !== 0 && /no stack named/.test(run.text) && ['up', 'preview'].includes(command)) {
    process.stderr.write(`nxnw: stack ${stack} is new here: making it\n`);
    const made = await start(['stack', 'init', stack, '--no-select'], env, false);
    if (made.code !== 0) return 1;
    run = await start(full, env, changes);
  }
  if (run.code !== 0) {
    const failures = failuresIn(run.events);
    const cloud = failures.length === 0 ? '' : await cloudOf(stack, env);
    for (const line of [...missingPlugins(run.text), ...explained(failures, cloud)])
      process.stderr.write(`nxnw: ${line}\n`);
  }
  return run.code === 0 ? 0 : exitCodeOfMarkers(markersIn(run.text), 1);
}

/** The kind of the stack's cloud; local where it is not configured. */
async function cloudOf(stack: string, env: Readonly<Record<string, string>>): Promise<string> {
  const run = await start(['config', 'get', '--path', 'nxnw:cloud.kind', '--stack', stack], env, false, 'quiet');
  return run.code === 0 ? run.text.trim() : 'local';
}

/** What to do about each plugin that the engine says is missing. */
export function missingPlugins(text: string): string[] {
  const found = text.matchAll(
    /no resource plugin 'pulumi-resource-([a-z-]+)' found in the workspace at version v([\w.-]+)/g,
  );
  const lines = [...found].map(
    ([, name = '', version = '']) =>
      `the cloud needs Pulumi's plugin ${name} ${version}: \`pulumi plugin install resource ${name} v${version}\` where the internet can be reached, \`npm run setup -- ${name}-provider\` elsewhere; then run this again`,
  );
  return [...new Set(lines)];
}

/** The secret value of one stack output, as text. */
export async function stackOutput(stack: string, name: string): Promise<string> {
  const args = ['stack', 'output', name, '--stack', stack, '--show-secrets'];
  const run = await start(args, pulumiEnv(), false, 'quiet');
  if (run.code !== 0)
    throw new NxnwError('PULUMI_FAILED', `stack ${stack} has no output "${name}": ${run.text.trim()}`);
  return run.text.trim();
}

/**
 * On a terminal Pulumi keeps it, so that it can ask and draw. Otherwise its output is passed on and read. Failures are
 * read from its event log, which names their resources. This process waits for Pulumi's end in any case.
 */
async function start(
  args: readonly string[],
  extra: Readonly<Record<string, string>>,
  events: boolean,
  output: 'shown' | 'quiet' = 'shown',
): Promise<Run> {
  const terminal = output === 'shown' && process.stdout.isTTY && process.stdin.isTTY;
  const scratch = events ? mkdtempSync(join(tmpdir(), 'nxnw-up-')) : null;
  const log = scratch === null ? null : join(scratch, 'events.json');
  const env = {
    ...process.env,
    ...extra,
    ...(terminal ? { NXNW_TERMINAL: '1' } : {}),
    // The event log is one of Pulumi's debugging options.
    ...(log === null ? {} : { PULUMI_DEBUG_COMMANDS: '1' }),
  };
  const child = spawn(resolvePulumi(), [...args, ...(log === null ? [] : ['--event-log', log])], {
    cwd: projectDir(),
    env,
    stdio: ['inherit', terminal ? 'inherit' : 'pipe', terminal ? 'inherit' : 'pipe'],
  });
  let text = '';
  const keep = (chunk: Buffer, to: NodeJS.WriteStream): void => {
    text = (text + chunk.toString('utf8')).slice(-KEPT_CHARS);
    if (output === 'shown') to.write(chunk);
  };
  child.stdout?.on('data', (c: Buffer) => keep(c, process.stdout));
  child.stderr?.on('data', (c: Buffer) => keep(c, process.stderr));
  // On a terminal Ctrl-C has reached Pulumi already, and a second one would end it at once.
  const interrupt = (): void => void (terminal || child.kill('SIGINT'));
  const pass = (): void => void child.kill('SIGTERM');
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', pass);
  try {
    const code = await new Promise<number>((ok, fail) => {
      child.on('error', fail);
      child.on('close', (c) => ok(c ?? 1));
    });
    const logged = log !== null && existsSync(log) ? readFileSync(log, 'utf8') : '';
    return { code, text: text + logged, events: logged };
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', pass);
    if (scratch !== null) rmSync(scratch, { recursive: true, force: true });
  }
}
