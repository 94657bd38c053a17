/** Processes that a suite left behind: they work in its temporary folder, name it, or have it in their environment. */
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 200;

function read(get) {
  try {
    return get();
  } catch {
    return ''; // ended meanwhile, or somebody else's
  }
}

/** `{pid, command}` of every process that belongs to the folder. Linux only: elsewhere there is no /proc to ask. */
function belongingTo(dir) {
  if (!existsSync('/proc/self/cmdline')) return [];
  return readdirSync('/proc')
    .filter((p) => /^\d+$/.test(p) && Number(p) !== process.pid)
    .flatMap((pid) => {
      const command = read(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
      const known = [command, read(() => readlinkSync(`/proc/${pid}/cwd`)), read(() => readFileSync(`/proc/${pid}/environ`, 'utf8'))]; // prettier-ignore
      // a process that has ended and waits to be reaped has no command
      return command !== '' && known.some((k) => k.includes(dir)) ? [{ pid: Number(pid), command }] : [];
    });
}

/** Waits until none is left, at most graceMs, and kills what is left then; answers a line for each. */
export async function endLeftOver(dir, { graceMs }) {
  const until = Date.now() + graceMs;
  let left = belongingTo(dir);
  for (; left.length > 0 && Date.now() < until; left = belongingTo(dir)) await sleep(POLL_MS);
  for (const { pid } of left)
    try {
      process.kill(pid, 'SIGKILL');
    } catch (e) {
      if (e.code !== 'ESRCH') throw e;
    }
  return left.map(({ pid, command }) => `${pid} ${command.slice(0, 160)}`);
}
