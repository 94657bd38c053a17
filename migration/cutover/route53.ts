import {
  ChangeResourceRecordSetsCommand,
  GetChangeCommand,
  InvalidChangeBatch,
  ListResourceRecordSetsCommand,
  NoSuchHostedZone,
  Route53Client,
} from '@aws-sdk/client-route-53';
import type { Change, ResourceRecordSet } from '@aws-sdk/client-route-53';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError, asError } from '@nxnw/platform/errors';
import { absoluteName, sameSet, showSet } from './dns.js';
import type { DnsChange, DnsDriver, RecordSet, RecordType } from './dns.js';
import { conflict } from './rfc2136.js';

export interface Route53Options {
  readonly hostedZoneId: string;
  readonly region: string;
  /** Another address of the service. */
  readonly endpoint?: string;
  /** Left out: the SDK's own chain (environment, profile, the machine's role). */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Route 53 allows five requests a second to an account. @default 2000 */
  readonly pollEveryMs?: number;
}

/** A question asked just before the deadline may take so long. */
const ANSWER_MS = 3000;

/** Amazon Route 53. INSYNC means that every one of its servers answers the change. */
export class Route53Driver implements DnsDriver {
  private readonly client: Route53Client;

  constructor(private readonly options: Route53Options) {
    this.client = new Route53Client({
      region: options.region,
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
      ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    });
  }

  async read(name: string, type: RecordType, deadlineMs: number): Promise<RecordSet | null> {
    const wanted = absoluteName(name);
    const list = new ListResourceRecordSetsCommand({
      ...{ HostedZoneId: this.options.hostedZoneId, StartRecordName: wanted, StartRecordType: type, MaxItems: 1 },
    });
    const { ResourceRecordSets } = await this.call(deadlineMs, (abortSignal) =>
      this.client.send(list, { abortSignal }),
    );
    const found = ResourceRecordSets?.[0];
    if (!found || absoluteName(found.Name ?? '') !== wanted || found.Type !== type) return null;
    if (found.AliasTarget || found.SetIdentifier !== undefined)
      throw new NxnwError('DNS_REFUSED', `${wanted} is an alias or has a routing policy in Route 53; a hand-over changes plain address records only`); // prettier-ignore
    const values = (found.ResourceRecords ?? []).map((r) => r.Value ?? '').sort();
    return { name: wanted, type, ttlS: found.TTL ?? 0, values };
  }

  /**
   * DELETE of what is expected and CREATE of what is wanted in one batch: Route 53 carries out both or, when the set is
   * not exactly as expected (values and TTL), neither.
   */
  async change(expected: RecordSet | null, wanted: RecordSet | null, deadlineMs: number): Promise<DnsChange> {
    const set = wanted ?? expected;
    if (!set) throw new NxnwError('DNS_CONFIG', 'a change from nothing to nothing names no record');
    const { name, type } = set;
    // A change that is done already (a repeated call, or an SDK's own retry) is made once more, for a token to wait by.
    for (const from of [expected, wanted]) {
      const Changes: Change[] = [];
      if (from) Changes.push({ Action: 'DELETE', ResourceRecordSet: toAws(from) });
      if (wanted) Changes.push({ Action: 'CREATE', ResourceRecordSet: toAws(wanted) });
      if (Changes.length === 0) return { name, type, wanted, token: '' };
      const command = new ChangeResourceRecordSetsCommand({
        ...{ HostedZoneId: this.options.hostedZoneId, ChangeBatch: { Comment: 'nxnw hand-over', Changes } },
      });
      try {
        const { ChangeInfo } = await this.call(deadlineMs, (abortSignal) => this.client.send(command, { abortSignal }));
        return { name, type, wanted, token: ChangeInfo?.Id ?? '' };
      } catch (e) {
        if (!(e instanceof InvalidChangeBatch)) throw e;
        const found = await this.read(name, type, deadlineMs);
        if (!sameSet(found, wanted)) throw conflict(name, expected, found);
      }
    }
    throw conflict(name, expected, await this.read(name, type, deadlineMs));
  }

  async awaitInSync(change: DnsChange, deadlineMs: number, signal: AbortSignal): Promise<void> {
    while (change.token !== '') {
      const command = new GetChangeCommand({ Id: change.token });
      const answerBy = Math.max(deadlineMs, Date.now() + ANSWER_MS);
      const { ChangeInfo } = await this.call(answerBy, (abortSignal) => this.client.send(command, { abortSignal }));
      if (ChangeInfo?.Status === 'INSYNC') return;
      if (Date.now() > deadlineMs)
        throw new NxnwError(
          'DNS_TIMEOUT',
          `Route 53 still says ${ChangeInfo?.Status ?? 'nothing'} to change ${change.token} ` +
            `("${showSet(change.wanted)}" for ${change.name}). It goes on by itself; try again later.`,
          { name: change.name },
        );
      await delay(this.options.pollEveryMs ?? 2000, undefined, { signal });
    }
  }

  private async call<T>(deadlineMs: number, send: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(Math.max(1, deadlineMs - Date.now()));
    try {
      return await send(signal);
    } catch (e) {
      if (e instanceof InvalidChangeBatch) throw e;
      const { name, message } = asError(e);
      if (e instanceof NoSuchHostedZone || /AccessDenied|InvalidClientToken|Signature|Credentials/.test(name))
        throw new NxnwError('DNS_REFUSED', `Route 53, zone ${this.options.hostedZoneId}: ${name}: ${message}. Check the zone's id and the credentials.`, {}, e); // prettier-ignore
      throw new NxnwError('DNS_UNREACHABLE', `Route 53, zone ${this.options.hostedZoneId}: ${signal.aborted ? 'no answer in time' : message}`, {}, e); // prettier-ignore
    }
  }

  close(): void {
    this.client.destroy();
  }
}

function toAws(s: RecordSet): ResourceRecordSet {
  return { Name: `${s.name}.`, Type: s.type, TTL: s.ttlS, ResourceRecords: s.values.map((Value) => ({ Value })) };
}
