import { spawn } from 'node:child_process';
import { NxnwError } from '@nxnw/platform/errors';

const KEPT_OUTPUT_BYTES = 64 * 1024;
const STILL_RUNNING_MS = 20_000;

/** One progress line of set-up, on stderr so that a command's stdout stays its own. */
export function say(line: string): void {
  process.stderr.write(`setup: ${line}\n`);
}

export interface RunOptions {
  /** What the command does, for progress lines and errors: `build pulumi`. */
  readonly what: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly deadlineMs: number;
  /** What to do when it fails. */
  readonly onFailure: string;
}

/**
 * Runs a command to its end and answers its stdout. Says every 20 s that it still runs.
 * @throws SETUP_FAILED with the end of its output, SETUP_TIMEOUT after `deadlineMs`.
 */
export async function run(command: string, args: readonly string[], o: RunOptions): Promise<string> {
  const began = Date.now();
  const child = spawn(command, args, {
    cwd: o.cwd,
    env: { ...process.env, ...o.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let out = '';
  let all = '';
  const keep = (chunk: string) => {
    all = (all + chunk).slice(-KEPT_OUTPUT_BYTES);
  };
  child.stdout.setEncoding('utf8').on('data', (s: string) => {
    out = (out + s).slice(-KEPT_OUTPUT_BYTES);
    keep(s);
  });
  child.stderr.setEncoding('utf8').on('data', keep);
  const seconds = () => Math.round((Date.now() - began) / 1000);
  const ticker = setInterval(() => say(`${o.what}: running for ${String(seconds())} s`), STILL_RUNNING_MS);
  let late = false;
  const killGroup = () => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
  };
  const deadline = setTimeout(() => {
    late = true;
    killGroup();
  }, o.deadlineMs);
  process.once('exit', killGroup);
  try {
    const code = await new Promise<number | null>((ok, fail) => {
      child.once('error', fail);
      child.once('close', ok);
    });
    if (late)
      throw new NxnwError(
        'SETUP_TIMEOUT',
        `set-up could not ${o.what}: not done after ${String(seconds())} s. ${o.onFailure}\n${all.slice(-2000)}`,
        { what: o.what },
      );
    if (code !== 0)
      throw new NxnwError(
        'SETUP_FAILED',
        `set-up could not ${o.what}: \`${[command, ...args].join(' ')}\` ended with ${String(code)}. ${o.onFailure}\n${all.slice(-3000)}`,
        { what: o.what, code },
      );
    return out;
  } catch (e) {
    if (e instanceof NxnwError) throw e;
    throw new NxnwError(
      'SETUP_FAILED',
      `set-up could not ${o.what}: \`${command}\` does not start. ${o.onFailure}`,
      { what: o.what },
      e,
    );
  } finally {
    clearInterval(ticker);
    clearTimeout(deadline);
    process.removeListener('exit', killGroup);
  }
}
