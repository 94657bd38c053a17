import { NxnwError } from '@nxnw/platform/errors';
import { overlap, parseCidr, rangeOf } from '../plan/ranges.js';
import { GROUPS } from './openstack-fence.js';
import { poolOf } from './openstack-network.js';
import type { CloudArgs } from './port.js';
import type { AccessSettings, OpenstackSettings } from './settings.js';

const SPEAKERS: readonly (keyof AccessSettings)[] = ['operators', 'ssh', 'clients', 'peers'];

/** What is wrong, what is allowed and what to do next: a line each. */
type Faults = readonly string[];

const at = (path: string): string => `nxnw:cloud.openstack.${path}`;

/**
 * Checks what the configuration's schema cannot see, before anything is asked of the cloud.
 * @throws BAD_CONFIG with every fault and its path
 */
export function checkOpenstack(args: CloudArgs<OpenstackSettings>): void {
  const { settings } = args;
  const faults = [
    ...imageAndFlavors(args),
    ...subnets(settings),
    ...sites(args),
    ...access(settings.access),
    ...replace(args),
    ...(Number.isInteger(settings.diskGiB) && settings.diskGiB >= 1
      ? []
      : [`${at('diskGiB')}: must be a whole number of GiB, at least 1 (given: ${String(settings.diskGiB)})`]),
  ];
  if (faults.length > 0)
    throw new NxnwError('BAD_CONFIG', `the cloud "openstack" has ${String(faults.length)} faults:\n  ${faults.join('\n  ')}`, { faults }); // prettier-ignore
}

function imageAndFlavors({ settings, machines }: CloudArgs<OpenstackSettings>): Faults {
  const needed = GROUPS.filter((g) => settings.flavors[g] === '' && machines.some((m) => m.group === g));
  return [
    ...(settings.image === ''
      ? [`${at('image')}: must be the name or the id of an image (given: ""); "openstack image list" shows them`]
      : []),
    ...needed.map((g) => `${at(`flavors.${g}`)}: must be the name of a flavour (given: ""); "openstack flavor list" shows them`), // prettier-ignore
  ];
}

/** A network is made with all its subnets, or given with all of them. */
function subnets({ networkId, subnets: list }: OpenstackSettings): Faults {
  if (list.length === 0) return [`${at('subnets')}: must name at least one subnet (given: none); give its cidr`];
  const faults = list.flatMap(({ cidr, id }, i) => {
    const path = at(`subnets[${String(i)}]`);
    if (networkId !== undefined)
      return id === undefined
        ? [`${path}.id: is missing, and networkId names an existing network: give the id of its subnet ${cidr}, or leave networkId out to have both made`] // prettier-ignore
        : [];
    if (id !== undefined)
      return [`${path}.id: names an existing subnet (given: "${id}"), and networkId is missing: give the id of its network, or leave the subnet's out to have both made`]; // prettier-ignore
    return poolOf(cidr).size < 2
      ? [`${path}.cidr: a subnet that is made must be /26 or larger (given: "${cidr}"): a smaller one has no room for Neutron's own addresses below the machines'`] // prettier-ignore
      : [];
  });
  const spans = list.map(({ cidr }) => ({ cidr, ...parseCidr(cidr) }));
  const overlaps = spans.flatMap(
    (a, i) =>
    spans
      .slice(0, i)
      .filter((b) => overlap(a, b))
      .map((b) => `${at(`subnets[${String(i)}].cidr`)}: overlaps with another subnet (given: "${a.cidr}" and "${b.cidr}"); give networks apart from each other`), // prettier-ignore
  );
  return [...faults, ...overlaps];
}

function sites({ settings, machines }: CloudArgs<OpenstackSettings>): Faults {
  const most = settings.subnets.length;
  const lost = machines.find((m) => settings.subnets[m.site] === undefined);
  return lost === undefined || most === 0
    ? []
    : [`${at('subnets')}: machine ${lost.name} stands in subnet ${String(lost.site + 1)}, and there are ${String(most)}; list more of them`]; // prettier-ignore
}

function access(given: AccessSettings): Faults {
  return SPEAKERS.flatMap((who) =>
    given[who].flatMap((cidr, i) => {
      const path = at(`access.${who}[${String(i)}]`);
      if (rangeOf(cidr) === undefined)
        return [`${path}: must be an IPv4 network as 203.0.113.0/24, no bit set beyond its mask (given: "${cidr}"); write a single address with /32`]; // prettier-ignore
      if (who !== 'clients' && cidr.endsWith('/0'))
        return [`${path}: must not be the whole internet (given: "${cidr}"), which only clients may be; list the networks that the ${who} come from`]; // prettier-ignore
      return [];
    }),
  );
}

function replace({ settings, machines }: CloudArgs<OpenstackSettings>): Faults {
  return Object.entries(settings.replace).flatMap(([name, count]) => {
    const path = at(`replace.${name}`);
    if (!machines.some((m) => m.name === name))
      return [`${path}: the platform has no machine of this name; it has ${short(machines.map((m) => m.name))}: correct the name, or take it out`]; // prettier-ignore
    return Number.isInteger(count) && count >= 1
      ? []
      : [`${path}: must be a whole number, at least 1 (given: ${String(count)}); raise it by one for each replacement`];
  });
}

/** The first names of a list that may be long. */
function short(names: readonly string[]): string {
  const MOST = 12;
  return names.length <= MOST ? names.join(', ') : `${names.slice(0, MOST).join(', ')} and ${String(names.length - MOST)} more`; // prettier-ignore
}
