import { isLoopback, isOpen } from './addresses.js';
import type { Seen } from './values.js';
import { at, isKind, list, text } from './values.js';

/** What is wrong, what is allowed, and what to do: one sentence each. Empty: nothing. */
export type Faults = readonly string[];

const rolesOf = (r: Seen): readonly unknown[] => (isKind(r, 'RoleSet') ? list(at(r.props, 'roles')) : []);
const DATA = ['lmdb', 'cassandra', 'locks'];

/** Machines that hold a store or a lock tree are protected from deletion, outside the local cloud. */
export function unprotectedData(all: readonly Seen[]): Faults {
  const holding = new Set(
    all
      .filter((r) => rolesOf(r).some((role) => DATA.includes(text(at(role, 'kind')))))
      .map((r) => text(at(r.props, 'machine'))),
  );
  return all
    .filter((r) => /:nxnw:\w*Machine$|\/nxnw:\w*Machine$/.test(r.type) && holding.has(text(at(r.props, 'machine'))))
    .filter((r) => !r.protect && !isLoopback(text(at(r.props, 'host'))))
    .map((r) => `machine ${text(at(r.props, 'machine'))} holds a store or locks and is not protected: a destroy would take the data; set nxnw:platform protect to true`); // prettier-ignore
}

/** Every edge has a certificate, outside the local cloud. */
export function edgeWithoutCertificate(r: Seen): Faults {
  return rolesOf(r)
    .filter((role) => text(at(role, 'kind')) === 'edge' && at(role, 'https') === undefined)
    .filter((role) => !isLoopback(text(at(at(role, 'http'), 'host'))))
    .map((role) => `the edge on ${text(at(at(role, 'http'), 'host'))} has no certificate: what clients send can be read on the way; give one in nxnw:edge certificate`); // prettier-ignore
}

/** Addresses at which a role listens without TLS. An edge and a DNS server are there for everybody. */
function plainHosts(role: unknown): readonly string[] {
  const host = (v: unknown): string => text(at(v, 'host'));
  switch (text(at(role, 'kind'))) {
    case 'locks':
    case 'cassandra':
    case 'cache':
      return [host(role)];
    case 'datastore':
      return list(at(role, 'apps')).flatMap((app) => list(at(app, 'doors')).map(host));
    case 'app':
      return list(at(role, 'instances')).map(host);
    case 'relay':
      return at(role, 'tlsSide') === 'targets' ? [host(at(role, 'listen'))] : [];
    default:
      return [];
  }
}

/** Servers without TLS listen on addresses of the platform's own network only. Names are not looked up. */
export function openPlainPorts(r: Seen): Faults {
  return rolesOf(r).flatMap(
    (role) =>
    [...new Set(plainHosts(role).filter(isOpen))].map((host) => `role ${text(at(role, 'id'))} (${text(at(role, 'kind'))}) listens without TLS on ${host}, which others can reach; allowed are loopback and private addresses: give the machine one`), // prettier-ignore
  );
}

export interface TtlBounds {
  readonly minSeconds: number;
  readonly maxSeconds: number;
}

/** The TTL of a name that may move: short enough for a quick drain, long enough for the resolvers. */
export function ttlOutOfBounds(r: Seen, { minSeconds, maxSeconds }: TtlBounds): Faults {
  if (!isKind(r, 'DnsRecord')) return [];
  const dns = at(r.props, 'dns');
  const [ttl, restore] = [at(dns, 'ttlSeconds'), at(dns, 'restoreTtlSeconds')];
  const faults: string[] = [];
  if (typeof ttl === 'number' && (ttl < minSeconds || ttl > maxSeconds))
    faults.push(`nxnw:dns ttlSeconds is ${ttl}; allowed are ${minSeconds} to ${maxSeconds}: a move waits for it to run out`); // prettier-ignore
  if (typeof ttl === 'number' && typeof restore === 'number' && restore < ttl)
    faults.push(`nxnw:dns restoreTtlSeconds is ${restore}, less than ttlSeconds (${ttl}); it is the longer one, for quiet times`); // prettier-ignore
  return faults;
}

export const STAGES: readonly string[] = ['built', 'synced', 'switched', 'moved', 'finalized'];
/** The last phase of each stage. */
export const LAST_PHASE: Readonly<Record<string, string>> = {
  Verification: 'synced',
  Cutover: 'switched',
  DnsHandoff: 'moved',
  Finalize: 'finalized',
};

/** A migration goes up one stage at a time: up to `synced` at once, then what the phases have reached and one more. */
export function stageJump(all: readonly Seen[]): Faults {
  const synced = STAGES.indexOf('synced');
  return all
    .filter((r) => isKind(r, 'Migration'))
    .flatMap((r) => {
      const wanted = text(at(r.props, 'stage'));
      let reached = -1;
      for (const [phase, stage] of Object.entries(LAST_PHASE))
        if (all.some((p) => isKind(p, phase) && at(p.props, 'reached') === true))
          reached = Math.max(reached, STAGES.indexOf(stage));
      const most = Math.max(synced, reached + 1);
      if (STAGES.indexOf(wanted) <= most) return [];
      return [`nxnw:stage is ${wanted}, and ${STAGES[reached] ?? 'nothing'} is reached; the next stage is ${STAGES[most]}: take it first, and look at what it did`]; // prettier-ignore
    });
}
