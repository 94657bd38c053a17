import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '@nxnw/platform/errors';
import { parseXml, type XmlElement } from './xml.js';
import { virsh, type Target } from './virsh.js';

const LOOK_MS = 500;

export type DomainState = 'running' | 'paused' | 'shut off' | 'absent';

/** The domain's persistent definition; null where there is none of the name. */
export async function findDomain(target: Target, name: string): Promise<XmlElement | null> {
  try {
    return parseXml(await virsh(target, ['dumpxml', '--inactive', '--security-info', name]));
  } catch (e) {
    if (hasCode(e, 'LIBVIRT_NOT_FOUND')) return null;
    throw e;
  }
}

const ENDED = new Set(['shut off', 'crashed']);
const PAUSED = new Set(['paused', 'pmsuspended']);

/** Xen's `idle` and `no state` are domains that run. */
export async function stateOf(target: Target, name: string): Promise<DomainState> {
  try {
    const said = (await virsh(target, ['domstate', name])).trim();
    if (ENDED.has(said)) return 'shut off';
    return PAUSED.has(said) ? 'paused' : 'running';
  } catch (e) {
    if (hasCode(e, 'LIBVIRT_NOT_FOUND')) return 'absent';
    throw e;
  }
}

/**
 * Asks the domain to shut down and waits for at most `graceMs`; then its power is cut.
 * @throws CANCELLED when the signal aborts; the domain may still run
 */
export async function stopDomain(target: Target, name: string, graceMs: number): Promise<void> {
  const until = Date.now() + graceMs;
  const off = async () => ['shut off', 'absent'].includes(await stateOf(target, name));
  if (await off()) return;
  if (graceMs > 0) await virsh(target, ['shutdown', name]);
  while (Date.now() < until) {
    await sleep(Math.min(LOOK_MS, graceMs));
    if (await off()) return;
  }
  try {
    await virsh(target, ['destroy', name]);
  } catch (e) {
    // it may have ended by itself just now
    if (!(await off())) throw e;
  }
}
