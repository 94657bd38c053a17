import type { Region } from '@pulumi/aws';
import { NxnwError } from '@nxnw/platform/errors';
import type { Machine } from '../plan/machines.js';
import { inside, overlap, rangeOf } from '../plan/ranges.js';
import type { Ec2Dialect } from './ec2-dialect.js';
import type { AccessSettings, Ec2Settings } from './settings.js';

/** A /27 has room for eight data machines only, clear of the four addresses that EC2 keeps: too small to grow in. */
const LARGEST_BITS = 26;
/** GiB of the largest gp3 volume. */
const LARGEST_DISK_GIB = 16_384;

/** The provider's type lists the regions of its day; every name of the right form is let through. */
export function isRegion(text: string): text is Region {
  return /^[a-z0-9][a-z0-9.-]*$/.test(text);
}

/**
 * Checks what the cloud is told against what it can do, before anything is made.
 * @throws BAD_CONFIG with every fault and its path
 */
export function checkEc2(dialect: Ec2Dialect, s: Ec2Settings, machines: readonly Machine[]): void {
  const path = `nxnw:cloud.${dialect.kind}`;
  const faults = [
    ...serviceFaults(dialect, s),
    ...networkFaults(dialect, s),
    ...accessFaults(s.access),
    ...machineFaults(dialect, s, machines),
  ].map((f) => `${path}.${f}`);
  if (faults.length === 0) return;
  throw new NxnwError(
    'BAD_CONFIG',
    `the settings of the cloud ${dialect.kind} have ${faults.length === 1 ? 'a fault' : `${String(faults.length)} faults`}:\n${faults.map((f) => `  ${f}`).join('\n')}\nNothing was made; correct the values and run \`up\` again.`,
    { faults },
  );
}

function serviceFaults(dialect: Ec2Dialect, s: Ec2Settings): string[] {
  const faults: string[] = [];
  if (!isRegion(s.region)) faults.push(`region: "${s.region}" is not the name of a region, such as eu-central-1`);
  for (const [service, url] of Object.entries(s.endpoints))
    if (!/^https?:\/\/[^/\s]+/.test(url))
      faults.push(`endpoints.${service}: "${url}" is not an address such as https://${service}.example.com:8773/`);
  if (dialect.kind === 'eucalyptus' && s.endpoints['ec2'] === undefined)
    faults.push('endpoints.ec2: is missing; name the compute service, such as https://ec2.cloud.example.com:8773/');
  return faults;
}

function networkFaults(dialect: Ec2Dialect, s: Ec2Settings): string[] {
  const faults: string[] = [];
  const vpc = rangeOf(s.vpcCidr);
  if (s.vpcId === undefined && (vpc === undefined || vpc.bits < 16 || vpc.bits > LARGEST_BITS))
    faults.push(`vpcCidr: "${s.vpcCidr}" is not an IPv4 network from /16 to /${String(LARGEST_BITS)}`);
  if (s.vpcId !== undefined && !/^vpc-[0-9a-z]+$/.test(s.vpcId)) faults.push(`vpcId: "${s.vpcId}" is not vpc-…`);
  if (s.subnets.length === 0) faults.push('subnets: is empty; give one for each zone that machines shall stand in');
  const ranges = s.subnets.map((n) => rangeOf(n.cidr));
  for (const [i, subnet] of s.subnets.entries()) {
    const at = `subnets[${String(i)}]`;
    const range = ranges[i];
    if (range === undefined || range.bits < 16 || range.bits > LARGEST_BITS)
      faults.push(`${at}.cidr: "${subnet.cidr}" is not an IPv4 network from /16 to /${String(LARGEST_BITS)}`);
    else {
      if (s.vpcId === undefined && vpc !== undefined && !inside(range, vpc))
        faults.push(`${at}.cidr: ${subnet.cidr} does not lie in vpcCidr ${s.vpcCidr}`);
      const other = ranges.findIndex((r, j) => j < i && r !== undefined && overlap(r, range));
      if (other >= 0) faults.push(`${at}.cidr: ${subnet.cidr} overlaps subnets[${String(other)}].cidr`);
    }
    if (subnet.id !== undefined && s.vpcId === undefined)
      faults.push(`${at}.id: an existing subnet needs vpcId, the VPC that it lies in`);
    if (subnet.id !== undefined && !/^subnet-[0-9a-z]+$/.test(subnet.id))
      faults.push(`${at}.id: "${subnet.id}" is not subnet-…`);
    if (subnet.zone === '' && subnet.id === undefined && s.subnets.length > 1)
      faults.push(`${at}.zone: is missing; with several subnets each names its zone, or they may all share one`);
    if (subnet.zone !== '' && dialect.zonesNamedByRegion && !subnet.zone.startsWith(s.region))
      faults.push(`${at}.zone: "${subnet.zone}" is not a zone of the region ${s.region}, such as ${s.region}a`);
  }
  return [...faults, ...balancerFaults(dialect, s)];
}

function balancerFaults(dialect: Ec2Dialect, s: Ec2Settings): string[] {
  if (s.edgeAddress !== 'balancer') return [];
  if (!dialect.balancers) return [`edgeAddress: ${dialect.kind} has no network load balancers; use "elastic"`];
  const zones = s.subnets.map((n) => n.zone);
  return zones.flatMap((zone, i) =>
    zone !== '' && zones.indexOf(zone) < i
      ? [`subnets[${String(i)}].zone: a balancer takes one subnet of each zone, and ${zone} has two`]
      : [],
  );
}

function accessFaults(access: AccessSettings): string[] {
  const lists = {
    operators: access.operators,
    ssh: access.ssh,
    clients: access.clients,
    peers: access.peers,
  };
  return Object.entries(lists).flatMap(([who, cidrs]) =>
    cidrs.flatMap((cidr, i) => {
      const range = rangeOf(cidr);
      const at = `access.${who}[${String(i)}]`;
      if (range === undefined) return [`${at}: "${cidr}" is not an IPv4 network such as 203.0.113.0/24`];
      if (range.bits === 0 && who !== 'clients') return [`${at}: only clients may come from everywhere (${cidr})`];
      return [];
    }),
  );
}

function machineFaults(dialect: Ec2Dialect, s: Ec2Settings, machines: readonly Machine[]): string[] {
  const faults: string[] = [];
  if (s.image === '' && !dialect.debianImages)
    faults.push(`image: is missing; ${dialect.kind} has no images of Debian's own, so name one (emi-…)`);
  if (s.image !== '' && !/^[ae]mi-[0-9a-z]+$/.test(s.image))
    faults.push(`image: "${s.image}" is not the id of an image (ami-…, on Eucalyptus emi-…)`);
  for (const [group, type] of Object.entries(s.instanceTypes))
    if (!/^[a-z0-9-]+\.[a-z0-9-]+$/.test(type))
      faults.push(`instanceTypes.${group}: "${type}" is not an instance type such as m6i.large`);
  if (!Number.isInteger(s.diskGiB) || s.diskGiB < 1 || s.diskGiB > LARGEST_DISK_GIB)
    faults.push(`diskGiB: ${String(s.diskGiB)} is not a whole number from 1 to ${String(LARGEST_DISK_GIB)}`);
  for (const name of Object.keys(s.replace))
    if (!machines.some((m) => m.name === name))
      faults.push(`replace.${name}: is no machine of this platform; there are ${machines.map((m) => m.name).join(', ')}`); // prettier-ignore
  return faults;
}
