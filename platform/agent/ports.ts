import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError } from '../errors.js';
import { allPids, commandLine } from './procfs.js';

export interface Listen {
  readonly host: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

const TCP_LISTEN = '0A';

/** `127.0.0.1` as /proc/net writes it: the bytes in reverse, in hex. */
function hexAddress(ipv4: string): string {
  return ipv4
    .split('.')
    .reverse()
    .map((b) => Number(b).toString(16).padStart(2, '0'))
    .join('')
    .toUpperCase();
}

/** Inodes of sockets that are bound where `l` wants to listen, wildcard addresses included. IPv4 only. */
function boundInodes(l: Listen): Set<string> {
  const suffix = ':' + l.port.toString(16).padStart(4, '0').toUpperCase();
  const v4 = [hexAddress(l.host) + suffix, '00000000' + suffix];
  const v6 = ['0'.repeat(32) + suffix, '0'.repeat(16) + '0000FFFF' + v4[0]];
  const inodes = new Set<string>();
  for (const [file, wanted] of [
    [`/proc/net/${l.protocol}`, v4],
    [`/proc/net/${l.protocol}6`, v6],
  ] as const) {
    let text = '';
    try {
      text = readFileSync(file, 'latin1');
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e; // no IPv6 here
    }
    for (const line of text.split('\n').slice(1)) {
      const f = line.trim().split(/\s+/);
      const listening = l.protocol === 'udp' || f[3] === TCP_LISTEN;
      if (listening && f[1] !== undefined && wanted.includes(f[1]) && f[9] !== undefined) inodes.add(f[9]);
    }
  }
  return inodes;
}

/** Who holds one of these sockets; null if it cannot be seen (another user's process). */
function holderOf(inodes: Set<string>): { pid: number; command: string } | null {
  for (const pid of allPids()) {
    let fds: string[];
    try {
      fds = readdirSync(`/proc/${pid}/fd`);
    } catch {
      continue; // ended, or another user's
    }
    for (const fd of fds) {
      try {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
        if (inode !== undefined && inodes.has(inode)) return { pid, command: commandLine(pid) };
      } catch {
        continue; // closed meanwhile
      }
    }
  }
  return null;
}

/** The sockets of a process that was just killed are seen for a moment without their holder. */
const DYING_MS = 2000;
const POLL_MS = 50;

/** Throws PORT_IN_USE, naming the process, if something listens where `l` wants to. */
export async function checkPortFree(l: Listen): Promise<void> {
  if (!isIPv4(l.host)) return;
  const deadline = Date.now() + DYING_MS;
  for (;;) {
    const inodes = boundInodes(l);
    if (inodes.size === 0) return;
    const holder = holderOf(inodes);
    if (!holder && Date.now() < deadline) {
      await delay(POLL_MS);
      continue;
    }
    const who = holder ? `process ${holder.pid} (${holder.command})` : 'a process of another user';
    throw new NxnwError(
      'PORT_IN_USE',
      `${l.protocol} port ${l.host}:${l.port} is in use by ${who}; end it, or give this role another address or port`,
      { host: l.host, port: l.port, pid: holder?.pid ?? 0 },
    );
  }
}
