import { z } from 'zod';

/** What a provider says, most special first, and what an operator does about it. */
interface Known {
  readonly code: string;
  /** Of the provider's message. */
  readonly words: RegExp;
  readonly cause: string;
  readonly next: string;
}

const KNOWN: readonly Known[] = [
  {
    code: 'CLOUD_NOT_CONFIGURED',
    words: /no valid credential sources|one of '?auth_url'? or '?cloud'? must be specified|missing (one of )?(the )?required.*(auth|credential)|unable to load .*clouds\.yaml/i, // prettier-ignore
    cause: 'no credentials were found in the environment',
    next: 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (ec2, eucalyptus), or OS_* variables or clouds.yaml (openstack)',
  },
  {
    code: 'CLOUD_QUOTA',
    words:
      /\b\w*(LimitExceeded|QuotaExceeded)\w*\b|ExceedsAvailableQuota|quota exceeded|overquota|exceed(s|ed)? (the |your )?(quota|limit)/i,
    cause: "the account's or project's limit is reached",
    next: 'ask the cloud for a higher limit, free what is not needed, or ask for fewer or smaller machines',
  },
  {
    code: 'CLOUD_DENIED',
    words: /AuthFailure|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClient|ExpiredToken|InvalidAccessKeyId|UnauthorizedOperation|AccessDenied|authentication failed|requires authentication|unable to authenticate|authentication methods failed|permission denied|status ?code:? 40[13]|\b40[13] (Unauthorized|Forbidden)/i, // prettier-ignore
    cause: 'the cloud refuses the credentials, or they may not do this',
    next: 'check the user, its key or password, its rights and the clock of this computer',
  },
  {
    code: 'CLOUD_NO_IMAGE',
    words: /InvalidAMIID|query returned no (results|images)|no images? (was |were )?found|image .*not found|(could|can) not find .*image/i, // prettier-ignore
    cause: 'the cloud has no such image for this account',
    next: "check `image` of the cloud's settings, and that the image is in this region or project and shared with it",
  },
  {
    code: 'CLOUD_NAME_TAKEN',
    words: /InvalidGroup\.Duplicate|EntityAlreadyExists|\w*AlreadyExists\w*|already exists|already in use|already associated|IpAddress(AlreadyAllocated|InUse)|InvalidIPAddress\.InUse|DuplicateLoadBalancer/i, // prettier-ignore
    cause: 'something else has the name or the address already',
    next: 'remove or rename that, or choose another `nxnw:platform.name`, stack name or subnet',
  },
  {
    code: 'CLOUD_NO_CAPACITY',
    words:
      /InsufficientInstanceCapacity|InsufficientAddressCapacity|No valid host was found|not enough hosts available/i,
    cause: 'the cloud has no room for the machine now',
    next: 'choose another size or zone, or wait',
  },
  {
    code: 'CLOUD_UNREACHABLE',
    words: /connection refused|no such host|no route to host|i\/o timeout|network is unreachable|connection timed out|context deadline exceeded|ECONNREFUSED|request send failed|TLS handshake timeout/i, // prettier-ignore
    cause: 'the endpoint does not answer',
    next: 'check its address in the settings or the environment (`endpoints`, OS_AUTH_URL, `hosts`), and the way to it',
  },
  {
    code: 'CLOUD_GAVE_UP',
    words: /unexpected state 'ERROR'/,
    cause: 'Nova gave up on the machine: a quota, or no host with room',
    next: '`openstack server show` tells why under "fault"; remedy that, then `openstack server delete` and `nxnw refresh`',
  },
  {
    code: 'CLOUD_FAILED',
    words: /ERROR state|StateReason|unexpected state|couldn't find resource|waiting for .*(state|completion)/i,
    cause: "the cloud took the request, and what it made is not as it should be: see the cloud's own message above",
    next: 'look at it in the cloud; `nxnw refresh` brings the state in line with what is there',
  },
];

/** A failed resource of a run, as the engine's event log tells it. */
export interface Failure {
  /** '' = of the program itself, such as a look-up. */
  readonly urn: string;
  readonly message: string;
}

const Event = z.looseObject({
  diagnosticEvent: z.looseObject({ urn: z.string().default(''), message: z.string(), severity: z.string() }).optional(),
});

/** Failures of a text of events, one JSON object a line; lines that are none are left out. */
export function failuresIn(events: string): Failure[] {
  const found: Failure[] = [];
  for (const text of events.split('\n').filter((l) => l.includes('"severity":"error"'))) {
    const d = Event.safeParse(JSON.parse(text)).data?.diagnosticEvent;
    if (d?.severity === 'error') found.push({ urn: d.urn, message: d.message });
  }
  return found;
}

/** Most resources that a line names. */
const MOST_NAMED = 6;

/**
 * A line for each kind of failure of a cloud's provider that is known: code, cloud, resources, cause and next step.
 * Failures of our own resources say that themselves (`[nxnw:CODE]`).
 */
export function explained(failures: readonly Failure[], cloud: string): string[] {
  const found = failures
    .filter((f) => !f.message.includes('[nxnw:'))
    .flatMap((f) => KNOWN.filter((k) => k.words.test(f.message)).slice(0, 1).map((known) => ({ ...f, known }))); // prettier-ignore
  return KNOWN.filter((k) => found.some((f) => f.known === k)).map((known) => {
    const of = found.filter((f) => f.known === known);
    const named = [...new Set(of.map((f) => resourceOf(f.urn)).filter((r) => r !== ''))];
    const more = named.length > MOST_NAMED ? ` and ${String(named.length - MOST_NAMED)} more` : '';
    const where =
      named.length === 0 ? 'a look-up or the provider itself' : named.slice(0, MOST_NAMED).join(', ') + more;
    const [said = ''] = of.map((f) => saidBy(f.message, known.words)).sort((a, b) => a.length - b.length);
    return `${known.code}: cloud ${cloud}, ${where}: ${known.cause} (${said}). Next: ${known.next}; then run \`nxnw up\` again, which goes on from here`;
  });
}

/** `aws:ec2:Instance platform-fleet-data-1 (machine data-1)`; '' for the program itself */
function resourceOf(urn: string): string {
  const [, , types = '', name = ''] = urn.split('::');
  const type = (types.split('$').at(-1) ?? '').replace(/\/\w+:/, ':');
  if (type === '' || type.startsWith('pulumi:')) return '';
  const machine = /\b(data|app|edge)-\d+\b/.exec(name)?.[0];
  return `${type} ${name}${machine === undefined ? '' : ` (machine ${machine})`}`;
}

const SAID_CHARS = 200;

/** The part of the message that says why, on one line, without colours. */
function saidBy(message: string, words: RegExp): string {
  const plain = message.replace(/\u001b\[[0-9;]*m|<\{%[^%]*%\}>/g, '');
  const line = plain.split('\n').find((l) => words.test(l)) ?? plain;
  const at = Math.max(0, line.search(words) - SAID_CHARS / 2);
  const part = line.slice(at, at + 2 * SAID_CHARS).replace(/\s+/g, ' ').replace(/^[ *]+/, '').trim(); // prettier-ignore
  return at > 0 ? `…${part}` : part;
}
