import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { failureOf } from './failures.js';

const CALL_MS = 180_000;
const OUTPUT_BYTES = 16 * 1024 * 1024;

/** A host, and what was wanted of it, for messages. */
export interface Target {
  /** libvirt URI of the host. */
  readonly uri: string;
  /** `machine data-1 of shop-blue` */
  readonly resource: string;
  readonly signal?: AbortSignal;
}

const QUERY = String.raw`(\?[A-Za-z0-9_.~/:@%&=+-]*)?`;
// A host that began with a dash would be an option to ssh.
const SSH_HOST = String.raw`([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?`;
const URIS = [
  new RegExp(`^qemu(\\+unix)?:///system${QUERY}$`),
  new RegExp(`^qemu\\+ssh://${SSH_HOST}/system${QUERY}$`),
  new RegExp(`^xen:///(system)?${QUERY}$`),
  new RegExp(`^xen\\+ssh://${SSH_HOST}/(system)?${QUERY}$`),
  /^test:\/\/\/[A-Za-z0-9_./-]+$/,
];

/** Throws BAD_CONFIG unless `uri` is one that machines can be made at. */
export function checkUri(uri: string): void {
  if (URIS.some((u) => u.test(uri))) return;
  throw new NxnwError(
    'BAD_CONFIG',
    `"${uri}" is no libvirt URI that machines can be made at; allowed: qemu:///system, qemu+ssh://[USER@]HOST/system, ` +
      'qemu+unix:///system?socket=PATH, xen:///system, xen+ssh://[USER@]HOST/system, test:///default',
    { uri },
  );
}

/** The URI as virsh gets it: ssh must not ask for a password at a terminal that nobody watches. */
function withoutTty(uri: string): string {
  if (!/^[a-z]+\+ssh:/.test(uri) || /[?&]no_tty=/.test(uri)) return uri;
  return `${uri}${uri.includes('?') ? '&' : '?'}no_tty=1`;
}

/**
 * Runs `virsh -c URI ARGS` and answers what it prints, at most 16 MiB.
 * @throws LIBVIRT_UNREACHABLE, LIBVIRT_DENIED, LIBVIRT_TIMEOUT (one call has 3 minutes unless `timeoutMs` says otherwise),
 * PROGRAM_MISSING, CANCELLED when the signal aborts, and what failures.ts makes of the host's answer
 */
export function virsh(target: Target, args: readonly string[], timeoutMs = CALL_MS): Promise<string> {
  checkUri(target.uri);
  // without libvirt's own limit of half a minute of silence: a busy host is late, and the call has its time
  const given = ['-q', '-k', '0', '-c', withoutTty(target.uri), ...args];
  const { signal } = target;
  return new Promise((done, fail) => {
    const options = {
      timeout: timeoutMs,
      killSignal: 'SIGKILL' as const,
      maxBuffer: OUTPUT_BYTES,
      encoding: 'utf8' as const,
      // Answers are told apart by their English words.
      env: { ...process.env, LC_ALL: 'C', LANGUAGE: 'C' },
      ...(signal === undefined ? {} : { signal }),
    };
    const child = execFile('virsh', given, options, (error, out, err) => {
      if (error === null) done(out);
      else fail(failureOf(target, args, { error, stderr: err, timeoutMs, cancelled: signal?.aborted === true }));
    });
    child.stdin?.end();
  });
}

/** As `virsh`, with `text` in a file that only this user can read; `FILE` in the arguments stands for its path. */
export async function virshWithFile(
  target: Target,
  text: string,
  args: readonly string[],
  timeoutMs = CALL_MS,
): Promise<string> {
  return inFolder(async (folder) => {
    const path = join(folder, 'given.xml');
    await writeFile(path, text, { mode: 0o600 });
    return virsh(
      target,
      args.map((a) => (a === 'FILE' ? path : a)),
      timeoutMs,
    );
  });
}

/** A folder of this user's own, removed when the work ends. */
export async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'nxnw-libvirt-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const lines = new Map<string, Promise<unknown>>();

/** Runs works for the same host and matter one after another within this process: what one finds, the next must not undo. */
export async function inTurn<T>(uri: string, matter: string, work: () => Promise<T>): Promise<T> {
  const key = `${matter} ${uri}`;
  const before = lines.get(key) ?? Promise.resolve();
  const mine = before.then(work, work);
  lines.set(key, mine);
  try {
    return await mine;
  } finally {
    if (lines.get(key) === mine) lines.delete(key);
  }
}
