import { randomInt } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { decode, encode } from 'dns-packet';
import type { Message } from 'dns-packet';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { absoluteName, sameSet, showSet } from './dns.js';
import type { DnsChange, DnsDriver, RecordSet, RecordType } from './dns.js';
import { exchange, showServer } from './exchange.js';
import type { DnsServer } from './exchange.js';
import { checkAnswer, encodeUpdate, sign } from './update.js';
import type { TsigKey } from './update.js';

export interface Rfc2136Options {
  readonly zone: string;
  /** The zone's primary, which takes updates. */
  readonly server: DnsServer;
  readonly keyName: string;
  /** Base64, a secret; hmac-sha256. It stands in no program's arguments and in no message. */
  readonly keySecret: string;
  /** @default 250 */
  readonly pollEveryMs?: number;
}

/** Longest wait for one answer, so that a lost message is noticed well before the deadline. */
const ANSWER_MS = 5000;

/** Dynamic updates (RFC 2136), signed by TSIG, at a zone's primary; BIND, knot, PowerDNS and others take them. */
export class Rfc2136Driver implements DnsDriver {
  private readonly zone: string;
  private readonly key: TsigKey;

  constructor(private readonly options: Rfc2136Options) {
    this.zone = absoluteName(options.zone);
    this.key = { name: absoluteName(options.keyName), secret: Buffer.from(options.keySecret, 'base64') };
    if (this.key.secret.length < 16)
      throw new NxnwError('DNS_CONFIG', `the secret of key ${this.key.name} is not base64 of at least 16 bytes`);
  }

  read(name: string, type: RecordType, deadlineMs: number): Promise<RecordSet | null> {
    return this.readAt(this.options.server, absoluteName(name), type, deadlineMs);
  }

  private async readAt(at: DnsServer, name: string, type: RecordType, deadlineMs: number): Promise<RecordSet | null> {
    const m = await this.query(at, name, type, deadlineMs);
    const other = m.answers.find((a) => a.type === 'CNAME');
    if (other)
      throw new NxnwError('DNS_REFUSED', `${name} is an alias (CNAME); a hand-over changes address records only`);
    const found = m.answers.filter((a) => a.type === type && absoluteName(a.name) === name);
    const [first] = found;
    return first ? { name, type, ttlS: first.ttl, values: found.map((a) => String(a.data)).sort() } : null;
  }

  private async query(at: DnsServer, name: string, type: string, deadlineMs: number): Promise<Message> {
    const question = encode({ type: 'query', id: randomInt(65536), flags: 0, questions: [{ name, type }] });
    const answer = decode(await exchange(at, question, Math.min(deadlineMs, Date.now() + ANSWER_MS)));
    if (answer.rcode !== 'NOERROR' && answer.rcode !== 'NXDOMAIN')
      throw new NxnwError('DNS_REFUSED', `${showServer(at)} answers ${answer.rcode} for ${type} of ${name}`);
    if (!answer.flag_aa)
      throw new NxnwError('DNS_REFUSED', `${showServer(at)} is not authoritative for ${name} (zone ${this.zone})`);
    return answer;
  }

  async change(expected: RecordSet | null, wanted: RecordSet | null, deadlineMs: number): Promise<DnsChange> {
    const set = wanted ?? expected;
    if (!set) throw new NxnwError('DNS_CONFIG', 'a change from nothing to nothing names no record');
    const { name, type } = set;
    for (;;) {
      const found = await this.read(name, type, deadlineMs);
      const done = { name, type, wanted, token: '' };
      if (sameSet(found, wanted)) return done;
      if (!sameSet(found, expected)) throw conflict(name, expected, found);
      const outcome = await this.update(expected, wanted, name, type, deadlineMs).catch((e: unknown) => {
        // Unknown whether it was done: look, and send it again if not.
        if (hasCode(e, 'DNS_UNREACHABLE') && Date.now() < deadlineMs) return 'again';
        throw e;
      });
      if (outcome === 'done') return done;
    }
  }

  /** `again`: the prerequisite did not hold. */
  private async update(
    expected: RecordSet | null,
    wanted: RecordSet | null,
    name: string,
    type: RecordType,
    deadlineMs: number,
  ): Promise<'done' | 'again'> {
    const { server } = this.options;
    const message = encodeUpdate({ id: randomInt(65536), zone: this.zone, name, type, expected, wanted });
    const signed = sign(message, this.key, Math.floor(Date.now() / 1000));
    const bytes = await exchange(server, signed.message, Math.min(deadlineMs, Date.now() + ANSWER_MS));
    const answer = decode(bytes);
    if (answer.rcode === 'REFUSED')
      throw new NxnwError('DNS_REFUSED', `${showServer(server)} refuses updates of ${this.zone} by key ${this.key.name} from this machine; allow them there`); // prettier-ignore
    checkAnswer(bytes, answer.additionals.find((a) => a.type === 'TSIG')?.data, this.key, signed.mac);
    if (answer.rcode === 'NOERROR') return 'done';
    if (answer.rcode === 'NXRRSET' || answer.rcode === 'YXRRSET') return 'again';
    throw new NxnwError('DNS_REFUSED', `${showServer(server)} answers ${answer.rcode} to an update of ${name} in ${this.zone}`); // prettier-ignore
  }

  async awaitInSync(change: DnsChange, deadlineMs: number, signal: AbortSignal): Promise<void> {
    for (let before: ReadonlyMap<string, string> | undefined; ;) {
      const behind = await this.behind(change, deadlineMs);
      if (behind.size === 0) return;
      // The deadline cuts a round short, which says nothing of the servers: then the round before it tells.
      if (Date.now() > deadlineMs)
        throw new NxnwError(
          'DNS_TIMEOUT',
          `not every server of ${this.zone} answers "${showSet(change.wanted)}" for ${change.name}: ` +
            [...(before ?? behind)].map(([at, what]) => `${at}: ${what}`).join('; ') +
            '. Check the zone transfers, then try again.',
          { name: change.name },
        );
      before = behind;
      await delay(this.options.pollEveryMs ?? 250, undefined, { signal });
    }
  }

  /** The servers that do not answer what was wanted, with what they say instead. */
  private async behind(change: DnsChange, deadlineMs: number): Promise<ReadonlyMap<string, string>> {
    const behind = new Map<string, string>();
    const noting = async (at: DnsServer, ask: () => Promise<void>): Promise<void> => {
      try {
        await ask();
      } catch (e) {
        if (!hasCode(e, 'DNS_UNREACHABLE', 'DNS_REFUSED')) throw e;
        behind.set(showServer(at), e.message);
      }
    };
    await noting(this.options.server, async () => {
      const check = async (at: DnsServer): Promise<void> => {
        const found = await this.readAt(at, change.name, change.type, deadlineMs);
        if (!sameSet(found, change.wanted)) behind.set(showServer(at), showSet(found));
      };
      const servers = await this.servers(deadlineMs);
      await Promise.all(servers.map((at) => noting(at, () => check(at))));
    });
    return behind;
  }

  /** The zone's authoritative servers, by its NS records; they listen on the primary's port. */
  private async servers(deadlineMs: number): Promise<DnsServer[]> {
    const { server } = this.options;
    const names = (await this.query(server, this.zone, 'NS', deadlineMs)).answers
      .filter((a) => a.type === 'NS')
      .map((a) => absoluteName(String(a.data)));
    const hosts = await Promise.all(names.map((n) => this.addressesOf(n, deadlineMs)));
    const all = new Map([[server.host, server], ...hosts.flat().map((h) => [h, { ...server, host: h }] as const)]);
    return [...all.values()];
  }

  private async addressesOf(name: string, deadlineMs: number): Promise<string[]> {
    if (isIP(name) !== 0) return [name];
    if (name !== this.zone && !name.endsWith(`.${this.zone}`)) {
      const resolver = new Resolver({ timeout: ANSWER_MS, tries: 1 });
      return resolver.resolve4(name).catch((e: unknown) => {
        throw new NxnwError('DNS_UNREACHABLE', `the name server ${name} of ${this.zone} has no address here`, { name }, e); // prettier-ignore
      });
    }
    const { server } = this.options;
    const sets = await Promise.all((['A', 'AAAA'] as const).map((t) => this.readAt(server, name, t, deadlineMs)));
    return sets.flatMap((s) => s?.values ?? []);
  }

  close(): void {
    // Each message has a connection of its own.
  }
}

export function conflict(name: string, expected: RecordSet | null, found: RecordSet | null): NxnwError {
  return new NxnwError(
    'DNS_CONFLICT',
    `${name} was changed by somebody else: expected "${showSet(expected)}", found "${showSet(found)}". Nothing was ` +
      `changed. Decide which is right, then try again.`,
    { name, expected: showSet(expected), found: showSet(found) },
  );
}
