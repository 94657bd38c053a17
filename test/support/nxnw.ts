import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { constants, setPriority } from 'node:os';
import { createInterface } from 'node:readline';
import { NxnwError, asError } from '@nxnw/platform/errors';
import { repoRoot } from '@nxnw/tools';

/** What a run of the `nxnw` command left. */
export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly lastLines: readonly string[];
}

export interface NxnwOptions {
  /** Every line of output, as it comes. @default nothing */
  readonly onLine?: (line: string) => void;
  /** Exit codes that are no error. @default [0] */
  readonly allowed?: readonly number[];
  readonly timeoutMs: number;
  /** Of the processes that the command starts, too. */
  readonly priority: 'normal' | 'low';
  /** Everything is kept in this file. */
  readonly log: string;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** Lines that name an error, shown beside the last ones: what a run says at its end can be long. */
const MOST_ERRORS = 5;
const MAIN = join(repoRoot, 'cli', 'nxnw.js');

/**
 * A person's command runs on a machine of its own; here it must not take the cores that the platforms serve with. The
 * kernel shares them out among sessions first (sched(7), autogroup) and by a process's priority only within one, so the
 * command's session yields, which the machines that it starts do not inherit; a low priority they would.
 */
function yieldTo(pid: number, priority: NxnwOptions['priority']): void {
  const session = `/proc/${pid}/autogroup`;
  if (existsSync(session)) writeFileSync(session, String(constants.priority.PRIORITY_LOW));
  if (priority === 'low') setPriority(pid, constants.priority.PRIORITY_LOW);
}

/** Runs `nxnw ARGS`, as a person would. Throws NXNW_FAILED with its last lines for another exit code. */
export async function nxnw(args: readonly string[], o: NxnwOptions): Promise<Ran> {
  mkdirSync(dirname(o.log), { recursive: true });
  const log = createWriteStream(o.log, { flags: 'a' });
  log.write(`$ nxnw ${args.join(' ')}\n`);
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: repoRoot,
    env: { ...process.env, ...o.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  try {
    if (child.pid !== undefined) yieldTo(child.pid, o.priority);
  } catch (e) {
    // it then takes its share of the cores, which only makes waits longer
    log.write(`its priority stays as it is: ${asError(e).message}\n`);
  }
  // An interrupt lets `pulumi` end the step that it is in; the second one, after a while, does not.
  const interrupt = (): void => {
    child.kill('SIGINT');
    setTimeout(() => child.kill('SIGKILL'), 15_000).unref();
  };
  o.signal.addEventListener('abort', interrupt);
  const timer = setTimeout(interrupt, o.timeoutMs);
  let stdout = '';
  const lastLines: string[] = [];
  const errors: string[] = [];
  const take = (line: string): void => {
    log.write(`${line}\n`);
    if (/error: /.test(line) && errors.length < MOST_ERRORS) errors.push(line);
    if (line.trim() !== '') lastLines.push(line);
    if (lastLines.length > 40) lastLines.shift();
    o.onLine?.(line);
  };
  createInterface({ input: child.stdout }).on('line', (line) => {
    stdout += `${line}\n`;
    take(line);
  });
  createInterface({ input: child.stderr }).on('line', take);
  const code = await new Promise<number>((ok, fail) => {
    child.on('error', fail);
    child.on('close', (c) => ok(c ?? 1));
  });
  clearTimeout(timer);
  o.signal.removeEventListener('abort', interrupt);
  log.end(`exit ${code}\n`);
  if (!(o.allowed ?? [0]).includes(code))
    throw new NxnwError(
      'NXNW_FAILED',
      `nxnw ${args.join(' ')} ended with ${code}; all of it is in ${o.log}\n${[...errors, ...lastLines.slice(-15)].join('\n')}`,
      { code },
    );
  return { code, stdout, lastLines };
}
