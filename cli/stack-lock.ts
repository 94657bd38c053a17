import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const LockFile = z.looseObject({ pid: z.int(), username: z.string(), hostname: z.string(), timestamp: z.string() });

export interface StackLock {
  readonly path: string;
  readonly pid: number;
  readonly user: string;
  readonly host: string;
  readonly since: string;
  /** `dead`: its process was on this machine and is gone. `elsewhere`: on a machine that cannot be asked. */
  readonly holder: 'alive' | 'dead' | 'elsewhere';
}

/** Locks of a stack on a folder backend (`file://`); other backends keep theirs themselves: none are seen. */
export function stackLocks(backendUrl: string, stack: string, thisHost = hostname()): readonly StackLock[] {
  if (!backendUrl.startsWith('file://')) return [];
  const root = join(backendFolder(backendUrl), '.pulumi', 'locks');
  if (!existsSync(root)) return [];
  const locks: StackLock[] = [];
  for (const entry of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    const parts = entry.split('/');
    if (!entry.endsWith('.json') || parts[parts.length - 2] !== stack) continue;
    const path = join(root, entry);
    const parsed = LockFile.safeParse(JSON.parse(readFileSync(path, 'utf8')));
    if (!parsed.success) continue;
    const { pid, username, hostname: host, timestamp } = parsed.data;
    const holder = host !== thisHost ? 'elsewhere' : isAlive(pid) ? 'alive' : 'dead';
    locks.push({ path, pid, user: username, host, since: timestamp, holder });
  }
  return locks;
}

function backendFolder(url: string): string {
  // Pulumi takes file://~ and file://./relative too, which are no URLs.
  const rest = url.slice('file://'.length);
  if (rest.startsWith('~')) return join(process.env['HOME'] ?? '', rest.slice(1));
  return rest.startsWith('/') ? fileURLToPath(url) : rest;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (e) {
    return e instanceof Error && 'code' in e && e.code === 'EPERM';
  }
}

/** What to say about a stack's locks; null when there is nothing in the way. */
export function explainLocks(locks: readonly StackLock[], stack: string): string | null {
  const l = locks[0];
  if (l === undefined) return null;
  const by = `stack ${stack} is locked by process ${l.pid} of ${l.user} on ${l.host} since ${l.since}`;
  if (l.holder === 'alive') return `${by}, which is running: wait for it, or end it first`;
  const clear = `\`nxnw cancel --stack ${stack}\` (the migration itself goes on in any case; \`nxnw status\` and \`nxnw back\` need no lock)`;
  return l.holder === 'dead'
    ? `${by}, which is gone (killed or lost). Clear the lock with ${clear}, then run this again`
    : `${by}; if that process is gone, clear the lock with ${clear}`;
}
