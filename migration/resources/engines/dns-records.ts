import { isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '@nxnw/platform/errors';
import {
  RECORD_TYPES,
  absoluteName,
  sameValues,
  showSet,
  type DnsDriver,
  type RecordSet,
  type RecordType,
} from '../../cutover/dns.js';
import { openDnsDriver, parseDnsSettings } from '../../cutover/settings.js';
import { canonical } from './canonical.js';
import type { Log } from './engine-log.js';

const CHANGE_MS = 60_000;
const SYNC_MS = 5 * 60_000;

export interface DnsRecordInputs {
  /** `nxnw:dns`; holds a secret. */
  readonly dns: unknown;
  /** Addresses of the platform's edges. */
  readonly addresses: readonly string[];
  readonly logUrn: string;
}

function wantedSet(inputs: DnsRecordInputs, name: string, ttlS: number, type: RecordType): RecordSet | null {
  const values = inputs.addresses.filter((a) => isIPv6(a) === (type === 'AAAA')).sort();
  return values.length === 0 ? null : { name, type, ttlS, values };
}

/** Runs `work` for each type of address record. */
async function eachType(
  inputs: DnsRecordInputs,
  work: (driver: DnsDriver, found: RecordSet | null, wanted: RecordSet | null, type: RecordType) => Promise<void>,
): Promise<void> {
  const settings = parseDnsSettings(inputs.dns);
  const driver = openDnsDriver(settings);
  const name = absoluteName(settings.name);
  try {
    for (const type of RECORD_TYPES) {
      const found = await driver.read(name, type, Date.now() + CHANGE_MS);
      await work(driver, found, wantedSet(inputs, name, settings.restoreTtlSeconds, type), type);
    }
  } finally {
    driver.close();
  }
}

/** Whether the change was made. */
async function replace(
  driver: DnsDriver,
  found: RecordSet | null,
  wanted: RecordSet | null,
  log: Log,
): Promise<boolean> {
  try {
    const change = await driver.change(found, wanted, Date.now() + CHANGE_MS);
    await driver.awaitInSync(change, Date.now() + SYNC_MS, AbortSignal.timeout(SYNC_MS));
    return true;
  } catch (e) {
    if (!hasCode(e, 'DNS_CONFLICT')) throw e;
    log(`somebody else changed the name meanwhile; left as it is: ${e.message}`);
    return false;
  }
}

/** Resolvers keep an address that the name has lost for its TTL: so long its edge must stay. */
async function awaitForgotten(found: RecordSet, wanted: RecordSet, log: Log): Promise<void> {
  const lost = found.values.filter((v) => !wanted.values.includes(v));
  if (lost.length === 0) return;
  log(`waits the TTL of ${String(found.ttlS)} s until no resolver leads to ${lost.join(', ')} any more`);
  await sleep(found.ttlS * 1000);
}

/**
 * Makes the clients' name lead to the platform's edges where it leads nowhere yet, or to the edges that the platform
 * had before (`old`). A name that leads elsewhere is left alone: moving it is a migration's business.
 * Answers when the edges that it leads to no more may go.
 */
export async function makeDnsRecord(
  inputs: DnsRecordInputs,
  old: DnsRecordInputs | null,
  log: Log,
): Promise<DnsRecordInputs> {
  await eachType(inputs, async (driver, found, wanted) => {
    if (wanted === null || (found !== null && sameValues(found.values, wanted.values))) return;
    const own = found === null || (old !== null && isOnly(found, old.addresses));
    if (own) {
      const made = await replace(driver, found, { ...wanted, ttlS: found?.ttlS ?? wanted.ttlS }, log);
      if (made && found !== null) await awaitForgotten(found, wanted, log);
    } else log(`the name is ${showSet(found)} and stays so`);
  });
  return inputs;
}

/** Removes the name if it leads to this platform's edges only. */
export async function removeDnsRecord(inputs: DnsRecordInputs, log: Log): Promise<void> {
  await eachType(inputs, async (driver, found) => {
    if (found !== null && isOnly(found, inputs.addresses)) await replace(driver, found, null, log);
  });
}

function isOnly(set: RecordSet, addresses: readonly string[]): boolean {
  return set.values.every((v) => addresses.includes(v));
}

export function dnsRecordDiffers(old: DnsRecordInputs, wanted: DnsRecordInputs): boolean {
  return canonical([old.dns, old.addresses]) !== canonical([wanted.dns, wanted.addresses]);
}
