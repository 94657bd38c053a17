/** Runs commands on this machine, each in a process group of its own so that all of it can be ended. */
import { spawn, type ChildProcess } from 'node:child_process';
import { collect, commandFailed, type Printed, type Show } from './output.js';

export interface LocalRun {
  readonly command: string;
  /** @default `/bin/sh -c` */
  readonly interpreter?: readonly string[] | undefined;
  /** @default the working directory of the plugin */
  readonly dir?: string | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly stdin?: string | undefined;
}

const running = new Set<ChildProcess>();

/** @throws when the command cannot start, or ends with anything but 0; its output is in the message */
export async function runLocal(o: LocalRun, show: Show): Promise<Printed> {
  const [program = '/bin/sh', ...args] = o.interpreter?.length ? o.interpreter : ['/bin/sh', '-c'];
  const child = spawn(program, [...args, o.command], {
    cwd: o.dir,
    env: { ...process.env, ...o.environment },
    stdio: 'pipe',
    detached: true,
  });
  running.add(child);
  const stdout = collect('stdout', child.stdout, show);
  const stderr = collect('stderr', child.stderr, show);
  // A command that does not read its input closes it; its exit code tells whether it minds.
  child.stdin.on('error', () => undefined).end(o.stdin ?? '');
  try {
    const end = await new Promise<string>((ok, fail) => {
      child.once('error', fail);
      child.once('close', (code, signal) => {
        ok(code === null ? `signal ${String(signal)}` : `exit status ${String(code)}`);
      });
    });
    const printed = { stdout: stdout(), stderr: stderr() };
    if (end !== 'exit status 0') throw commandFailed(end, o.command, printed);
    return printed;
  } finally {
    running.delete(child);
  }
}

/** Ends what runs, children of the commands included. */
export function cancelLocal(): void {
  for (const child of running)
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      process.kill(-child.pid, 'SIGTERM');
}
