import { readFileSync, readdirSync } from 'node:fs';

/**
 * A process as the kernel names it: a pid alone may be used again, with its start time (clock ticks since boot, field
 * 22 of /proc/PID/stat) it is unique until the next boot.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
}

/** The machine directory and process name, in the environment of everything an agent starts. */
export const MARK_DIR = 'NXNW_MACHINE_DIR';
export const MARK_PROCESS = 'NXNW_PROCESS';
export const MARK_HASH = 'NXNW_PROCESS_HASH';

export interface MarkedProcess extends ProcessIdentity {
  readonly name: string;
  readonly hash: string;
  /** True for the process that the agent started, false for its descendants. */
  readonly leader: boolean;
}

const BYTES_PER_PAGE = 4096;
const TICKS_PER_SECOND = 100;

function read(path: string): string | null {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return null; // ended meanwhile, or another user's
  }
}

/** Fields of /proc/PID/stat after the command: [0] = state, [2] = group, [3] = session, [19] = start time. */
function stat(pid: number): string[] | null {
  const text = read(`/proc/${pid}/stat`);
  return text === null ? null : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** The identity of a running process; null if there is none, or only a zombie. */
export function identify(pid: number): ProcessIdentity | null {
  const s = stat(pid);
  const startTicks = s?.[19];
  return s === null || startTicks === undefined || s[0] === 'Z' || s[0] === 'X' ? null : { pid, startTicks };
}

export function isAlive(p: ProcessIdentity): boolean {
  return identify(p.pid)?.startTicks === p.startTicks;
}

/** Command line, blanks between arguments, cut at 200 characters; '' if the process has ended. */
export function commandLine(pid: number): string {
  return (read(`/proc/${pid}/cmdline`) ?? '').split('\0').join(' ').trim().slice(0, 200);
}

export function allPids(): number[] {
  return readdirSync('/proc')
    .filter((n) => /^\d+$/.test(n))
    .map(Number);
}

/** Every live process that the agent of machine directory `dir` started, and their descendants. */
export function markedProcesses(dir: string): MarkedProcess[] {
  const found: MarkedProcess[] = [];
  for (const pid of allPids()) {
    const environ = read(`/proc/${pid}/environ`);
    if (!environ?.includes(`${MARK_DIR}=${dir}\0`)) continue;
    const id = identify(pid);
    const vars = new Map(environ.split('\0').map((v) => [v.slice(0, v.indexOf('=')), v.slice(v.indexOf('=') + 1)]));
    const name = vars.get(MARK_PROCESS);
    if (id && name !== undefined)
      found.push({ ...id, name, hash: vars.get(MARK_HASH) ?? '', leader: stat(pid)?.[3] === String(pid) });
  }
  return found;
}

/** Sends a signal to a process or (negative pid) group that may have ended. */
export function signal(pid: number, sig: NodeJS.Signals): void {
  try {
    process.kill(pid, sig);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'ESRCH') throw e;
  }
}

/** Resident bytes and processor seconds; null if the process has ended. */
export function usage(pid: number): { residentBytes: number; cpuSeconds: number } | null {
  const s = stat(pid);
  if (!s) return null;
  return {
    residentBytes: Number(s[21]) * BYTES_PER_PAGE,
    cpuSeconds: (Number(s[11]) + Number(s[12])) / TICKS_PER_SECOND,
  };
}
