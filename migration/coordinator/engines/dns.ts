import { NxnwError } from '@nxnw/platform/errors';
import type { CoordinatorConfig } from '../config.js';
import type { JoinBundle } from '../join.js';
import type { DnsPort } from '../ports.js';

export function openDns(config: CoordinatorConfig, _join: JoinBundle): DnsPort | null {
  if (config.dns === undefined || config.dns === null) return null;
  throw new NxnwError('BAD_CONFIG', 'no DNS driver is built in yet');
}
