import { createHash } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NxnwError } from '@nxnw/platform/errors';
import { toolsDir } from '../paths.js';
import { say } from './run.js';

const POLL_MS = 250;

/** Short hash of what a result was made from; the stamp beside the result holds it. */
export function hashOf(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 16);
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    return e instanceof Error && 'code' in e && e.code === 'EPERM';
  }
}

/** Takes the lock by linking a complete file into place, so that nobody ever reads a half-written holder. */
function tryLock(path: string): boolean {
  const mine = `${path}.${String(process.pid)}`;
  writeFileSync(mine, String(process.pid));
  try {
    linkSync(mine, path);
    return true;
  } catch {
    const holder = Number(readOr(path, '0'));
    if (holder > 0 && !alive(holder)) rmSync(path, { force: true });
    return false;
  } finally {
    rmSync(mine, { force: true });
  }
}

export interface Step {
  readonly name: string;
  /** Hash of what the result is made from. */
  readonly key: string;
  /** Whether the result is there; a deleted result is made again though its stamp is still there. */
  readonly present: () => boolean;
  /** Longest wait for another process that makes the same. */
  readonly deadlineMs: number;
}

/**
 * Runs `make` unless the result is present and stamped with `key`; several processes at once wait for one.
 * The stamp is written last, so an interrupted set-up starts again.
 * @throws SETUP_TIMEOUT when another process holds the lock for longer than `deadlineMs`.
 */
export async function once(step: Step, make: () => Promise<void>): Promise<void> {
  const { name, key, deadlineMs } = step;
  const stamp = join(toolsDir, 'stamps', name);
  const done = () => readOr(stamp, '') === key && step.present();
  if (done()) return;
  mkdirSync(join(toolsDir, 'stamps'), { recursive: true });
  const lock = `${stamp}.lock`;
  const until = Date.now() + deadlineMs;
  for (let waits = 0; !tryLock(lock); waits++) {
    if (waits === 4) say(`${name}: waiting for process ${readOr(lock, '?')}, which is at it`);
    if (Date.now() > until)
      throw new NxnwError(
        'SETUP_TIMEOUT',
        `set-up of ${name} waits for process ${readOr(lock, '?')} for ${String(deadlineMs / 1000)} s. End that process or delete ${lock}, then run again.`,
        { name },
      );
    await sleep(POLL_MS);
  }
  try {
    if (done()) return;
    const began = Date.now();
    await make();
    writeFileSync(stamp, key);
    say(`${name}: ready (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } finally {
    rmSync(lock, { force: true });
  }
}
