import type { ExecFileException } from 'node:child_process';
import { NxnwError } from '@nxnw/platform/errors';
import type { Target } from './virsh.js';

interface Ended {
  readonly error: ExecFileException;
  readonly stderr: string;
  readonly timeoutMs: number;
  /** Whether the caller's signal had aborted. */
  readonly cancelled: boolean;
}

interface Known {
  readonly code: string;
  readonly words: RegExp;
  readonly next: string;
}

/** What virsh and libvirt say, most special first. */
const KNOWN: readonly Known[] = [
  {
    code: 'LIBVIRT_DENIED',
    words:
      /permission denied|authentication (failed|unavailable)|host key verification failed|access denied|authentication cancelled|no polkit agent/i,
    next: "use a user of the host's group libvirt, and for ssh a key that is in the agent and a host key that is known",
  },
  {
    code: 'LIBVIRT_UNREACHABLE',
    words:
      /failed to connect|cannot recv data|connection refused|no connection driver|could not resolve|no route to host|connection timed out|end of file while reading|client socket is closed|hypervisor is not running/i,
    next: 'check with `virsh -c URI version` that libvirtd runs there and that the way to it is open',
  },
  {
    code: 'NO_MEMORY_ON_HOST',
    words:
      /cannot allocate memory|cannot set up guest memory|not enough (free )?memory|memory allocation failed|xc_dom_boot_mem_init|out of memory/i,
    next: 'stop domains there, give the machines less memory, or list another host',
  },
  {
    code: 'NO_SPACE_ON_HOST',
    words: /no space left|not enough (free )?space|disk quota exceeded/i,
    next: 'free space in the pool, or name another pool',
  },
  {
    code: 'NO_POOL',
    words:
      /storage pool not found|pool with (matching )?(name|uuid)|no storage pool|failed to get pool|storage pool .* is not active/i,
    next: 'check `virsh pool-list --all` on the host and the setting `pool`',
  },
  {
    code: 'NO_NETWORK',
    words: /network not found|no network with matching|network '[^']*' is not active/i,
    next: 'check `virsh net-list --all` on the host and the setting `network`',
  },
  {
    code: 'NETWORK_OVERLAPS',
    words: /network is already in use by interface|bridge name .* already in use|address already in use/i,
    next: 'another network of the host has these addresses: give other subnets, or name that network',
  },
  {
    code: 'NO_LIBVIRT_FOLDER',
    words: /failed to create file '[^']*\/dnsmasq\/[^']*': no such file/i,
    next: 'libvirt makes that folder with the first network that has names or leases, and the host has had none: make it there by `mkdir -p`',
  },
  {
    code: 'LIBVIRT_BUSY',
    words: /has asynchronous jobs running/i,
    next: 'a disk is being made there: run again when that is done',
  },
  {
    code: 'LIBVIRT_NOT_FOUND',
    words:
      /domain not found|failed to get (domain|vol|network|nwfilter)|(no|storage vol(ume)?).*(matching|not found)|filter not found|no nwfilter/i,
    next: '`pulumi refresh` brings the state up to what is there',
  },
  {
    code: 'LIBVIRT_EXISTS',
    words: /already exists|already defined|is already active|already running|already in use|exists already/i,
    next: 'remove or rename what has the name',
  },
];

/** What a call of virsh that failed means: the host, the resource, what it said and the next step are in the message. */
export function failureOf(target: Target, args: readonly string[], ended: Ended): NxnwError {
  const { uri, resource } = target;
  const { error, stderr, timeoutMs } = ended;
  const fields = { uri, resource, command: args[0] ?? '' };
  if (error.code === 'ENOENT')
    return new NxnwError(
      'PROGRAM_MISSING',
      `${resource}: virsh is not on this machine, which speaks to ${uri}; install it: apt-get install libvirt-clients`,
      fields,
      error,
    );
  if (ended.cancelled) return new NxnwError('CANCELLED', `${resource} at ${uri}: given up on request`, fields, error);
  if (error.killed === true)
    return new NxnwError(
      'LIBVIRT_TIMEOUT',
      `${resource}: \`virsh ${fields.command}\` at ${uri} did not end in ${String(timeoutMs / 1000)} s; what it began may still be done; look there, then run again`,
      fields,
      error,
    );
  const said = stderr
    .replace(/^error: /gm, '')
    .trim()
    .replace(/\s*\n\s*/g, ': ');
  const known = KNOWN.find((k) => k.words.test(said));
  const what = `${resource}: \`virsh ${fields.command}\` at ${uri} failed: ${said === '' ? error.message : said}`;
  if (known === undefined)
    return new NxnwError('LIBVIRT_FAILED', `${what}; the host's libvirt log says more`, fields, error);
  return new NxnwError(known.code, `${what}; ${known.next}`, fields, error);
}
