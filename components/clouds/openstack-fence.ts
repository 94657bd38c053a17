import type * as pulumi from '@pulumi/pulumi';
import { SecGroup } from '@pulumi/openstack/networking/secGroup';
import { SecGroupRule } from '@pulumi/openstack/networking/secGroupRule';
import type { Flow } from '../plan/traffic.js';
import { tagsOf, type Scope } from './openstack-scope.js';
import type { AccessSettings, MachineGroup } from './settings.js';

export const GROUPS: readonly MachineGroup[] = ['data', 'app', 'edge'];

/** The security group of a machine group. */
export interface Fence {
  readonly id: pulumi.Output<string>;
  /** The way out: a machine needs it from its first boot on. */
  readonly egress: pulumi.Resource;
  /** What lets others in. */
  readonly ingress: readonly pulumi.Resource[];
}

/** TCP ports of a group that one remote may reach: machines of another group, or a CIDR. */
export interface Opening {
  readonly to: MachineGroup;
  readonly remote: { readonly group: MachineGroup } | { readonly cidr: string };
  readonly first: number;
  readonly last: number;
  readonly what: string;
}

function isGroup(from: Flow['from']): from is MachineGroup {
  return GROUPS.some((g) => g === from);
}

/**
 * What the flows open, each by group, first port and remote. Neutron refuses a second rule that says the same, and
 * speakers can share a CIDR, so flows that agree in these three become one opening, as wide as the widest. A speaker
 * without a CIDR opens nothing.
 */
export function openingsOf(flows: readonly Flow[], access: AccessSettings): ReadonlyMap<string, Opening> {
  const openings = new Map<string, Opening>();
  for (const { from, to, first, last, what } of flows) {
    const remotes = isGroup(from) ? [{ group: from }] : access[from].map((cidr) => ({ cidr }));
    for (const remote of remotes) {
      const key = `${to}-${String(first)}-from-${'group' in remote ? remote.group : remote.cidr}`;
      const known = openings.get(key);
      if (known === undefined) openings.set(key, { to, remote, first, last, what });
      else openings.set(key, { ...known, last: Math.max(known.last, last) });
    }
  }
  return openings;
}

/**
 * A security group for each machine group, with the rules that the flows ask for and nothing else.
 * A rule's name comes from what Neutron tells rules apart by, but for the last port: with an application more a range
 * grows, its new rule is made first and the old one taken away after it, and no other rule is touched.
 */
export function fencesOf(
  scope: Scope,
  flows: readonly Flow[],
  access: AccessSettings,
): ReadonlyMap<MachineGroup, Fence> {
  const { label, platformId, options } = scope;
  const made = new Map(
    GROUPS.map((group) => {
      // A cloud may put rules of its own into new groups, ingress too: they go, and the way out is a rule of ours.
      const args = {
        name: `${platformId}-${group}`,
        description: `${group} machines of ${platformId}`,
        deleteDefaultRules: true,
        tags: tagsOf(scope),
      };
      return [group, new SecGroup(`${label}-group-${group}`, args, options)];
    }),
  );
  const idOf = (group: MachineGroup): pulumi.Output<string> => {
    const secGroup = made.get(group);
    if (secGroup === undefined) throw new Error(`the group ${group} has a security group`);
    return secGroup.id;
  };
  const rules = [...openingsOf(flows, access)].map(([key, o]) => {
    const remote = 'group' in o.remote ? { remoteGroupId: idOf(o.remote.group) } : { remoteIpPrefix: o.remote.cidr };
    const rule = new SecGroupRule(
      `${label}-allow-${key}`,
      {
        securityGroupId: idOf(o.to),
        direction: 'ingress',
        ethertype: 'IPv4',
        protocol: 'tcp',
        portRangeMin: o.first,
        portRangeMax: o.last,
        description: o.what,
        ...remote,
      },
      options,
    );
    return { to: o.to, rule };
  });
  return new Map(
    GROUPS.map((group): [MachineGroup, Fence] => [
      group,
      {
        id: idOf(group),
        egress: new SecGroupRule(
          `${label}-out-${group}`,
          { securityGroupId: idOf(group), direction: 'egress', ethertype: 'IPv4', description: 'out' },
          options,
        ),
        ingress: rules.filter((r) => r.to === group).map((r) => r.rule),
      },
    ]),
  );
}
