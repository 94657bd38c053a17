import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  openSync,
  readSync,
  readdirSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { renameSync } from 'node:fs';
import { join } from 'node:path';

/** A log is cut at this size; two older pieces are kept. */
const MAX_LOG_BYTES = 16 << 20;
const KEPT_PIECES = 2;
const MAX_LINES = 10_000;
const TAIL_BYTES = 1 << 20;

export function logPath(machineDir: string, process: string): string {
  return join(machineDir, 'logs', `${process}.log`);
}

/**
 * Cuts every log that has grown too large. Processes hold their log open for appending and outlive the agent, so the
 * file is copied and emptied, not renamed; lines written between the two (well under a millisecond) are lost.
 */
export function rotateLogs(machineDir: string, maxBytes = MAX_LOG_BYTES): void {
  const dir = join(machineDir, 'logs');
  if (!existsSync(dir)) return;
  for (const name of readdirSync(dir).filter((n) => n.endsWith('.log'))) {
    const path = join(dir, name);
    if (statSync(path).size < maxBytes) continue;
    for (let i = KEPT_PIECES - 1; i >= 1; i--)
      if (existsSync(`${path}.${i}`)) renameSync(`${path}.${i}`, `${path}.${i + 1}`);
    copyFileSync(path, `${path}.1`);
    truncateSync(path, 0);
  }
}

/** The last `lines` lines of a log, of at most its last MiB; empty if there is none. */
export function tailLog(path: string, lines: number): string[] {
  if (!existsSync(path)) return [];
  const fd = openSync(path, 'r');
  try {
    const size = fstatSync(fd).size;
    const buffer = Buffer.alloc(Math.min(size, TAIL_BYTES));
    const read = readSync(fd, buffer, 0, buffer.length, size - buffer.length);
    const all = buffer.toString('utf8', 0, read).split('\n');
    if (all.at(-1) === '') all.pop();
    return all.slice(-Math.min(lines, MAX_LINES));
  } finally {
    closeSync(fd);
  }
}
