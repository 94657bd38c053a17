import * as pulumi from '@pulumi/pulumi';
import { SecurityGroup, type SecurityGroupArgs } from '@pulumi/aws/ec2/securityGroup';
import { SecurityGroupEgressRule } from '@pulumi/aws/vpc/securityGroupEgressRule';
import { SecurityGroupIngressRule } from '@pulumi/aws/vpc/securityGroupIngressRule';
import type { Machine } from '../plan/machines.js';
import type { Flow } from '../plan/traffic.js';
import { type Ec2Scope, tagsOf } from './ec2-scope.js';
import type { AccessSettings, Ec2Settings, MachineGroup } from './settings.js';

/** Members of one security group: a group of machines, or the balancer before the edges. */
export type Guarded = MachineGroup | 'balancer';

const EVERYWHERE = '0.0.0.0/0';

/** A rule that lets TCP in; `source` is a security group or a CIDR. */
export interface Ingress {
  /** Stable: made of what the rule is for and of its source, never of ports or positions. */
  readonly key: string;
  readonly to: Guarded;
  readonly source: { readonly group: Guarded } | { readonly cidr: string };
  readonly first: number;
  readonly last: number;
  readonly what: string;
}

/**
 * The rules that flows and access make: one for each flow and source, none for a source without a CIDR. Two speakers
 * with the same CIDR share a rule, because EC2 refuses the same permission twice. With a balancer clients reach it and
 * not the edges. Pure.
 */
export function ingressOf(
  flows: readonly Flow[],
  access: AccessSettings,
  edgeAddress: Ec2Settings['edgeAddress'],
): readonly Ingress[] {
  const rules = flows.flatMap((flow): Ingress[] => {
    switch (flow.from) {
      case 'data':
      case 'app':
      case 'edge':
        return [fromGroup(flow, flow.to, flow.from)];
      case 'operators':
      case 'ssh':
      case 'peers':
        return access[flow.from].map((cidr) => fromCidr(flow, flow.to, cidr));
      case 'clients':
        return edgeAddress === 'elastic'
          ? access.clients.map((cidr) => fromCidr(flow, flow.to, cidr))
          : [...access.clients.map((cidr) => fromCidr(flow, 'balancer', cidr)), fromGroup(flow, flow.to, 'balancer')];
    }
  });
  const permissions = rules.map((r) => JSON.stringify([r.to, r.source, r.first, r.last]));
  return rules.filter((_r, i) => permissions.indexOf(permissions[i] ?? '') === i);
}

const slug = (text: string) => text.replace(/[^A-Za-z0-9.]+/g, '-');

function fromGroup(flow: Flow, to: Guarded, group: Guarded): Ingress {
  const { first, last, what } = flow;
  return { key: `${to}-${slug(what)}-from-${group}`, to, source: { group }, first, last, what };
}

function fromCidr(flow: Flow, to: Guarded, cidr: string): Ingress {
  const { first, last, what } = flow;
  return { key: `${to}-${slug(what)}-from-${slug(cidr)}`, to, source: { cidr }, first, last, what };
}

/** A security group, and the rules that must be in force before its members can be used. */
export interface Guard {
  readonly id: pulumi.Output<string>;
  /** Lets its members out; a machine needs it when it starts. */
  readonly out: pulumi.Resource;
  readonly rules: readonly pulumi.Resource[];
}

/** A security group for each group of machines (and for the balancer), with the rules of the flows and nothing else. */
export function makeGuards(
  scope: Ec2Scope,
  vpcId: pulumi.Input<string>,
  flows: readonly Flow[],
  machines: readonly Machine[],
): ReadonlyMap<Guarded, Guard> {
  if (!scope.dialect.ruleIds) return wholeGuards(scope, vpcId, flows, machines);
  const { access, edgeAddress } = scope.settings;
  const guarded: Guarded[] = ['data', 'app', 'edge', ...(edgeAddress === 'balancer' ? ['balancer' as const] : [])];
  const groups = new Map(guarded.map((g) => [g, makeGroup(scope, vpcId, g)]));
  const idOf = (g: Guarded): pulumi.Output<string> => {
    const group = groups.get(g);
    if (group === undefined) throw new Error(`the security group ${g} is made`);
    return group.id;
  };
  const ingress = ingressOf(flows, access, edgeAddress);
  return new Map(
    guarded.map((g) => {
      const out = makeEgress(scope, g, idOf(g));
      const rules = ingress.filter((r) => r.to === g).map((r) => makeIngress(scope, r, idOf));
      return [g, { id: idOf(g), out, rules: [out, ...rules] }];
    }),
  );
}

/** A rule as a part of its security group. */
export interface WholeRule {
  readonly first: number;
  readonly last: number;
  readonly what: string;
  /** CIDRs; machines of a group by their own addresses. */
  readonly from: readonly string[];
}

/** The rules of one security group, one for each range of ports and purpose. Pure. */
export function wholeRules(
  ingress: readonly Ingress[],
  to: Guarded,
  machines: readonly Pick<Machine, 'group' | 'host'>[],
): readonly WholeRule[] {
  const rules = new Map<string, WholeRule>();
  for (const { source, first, last, what } of ingress.filter((r) => r.to === to)) {
    const key = JSON.stringify([first, last, what]);
    const more =
      'cidr' in source ? [source.cidr] : machines.filter((m) => m.group === source.group).map((m) => `${m.host}/32`);
    const from = [...new Set([...(rules.get(key)?.from ?? []), ...more])].sort();
    rules.set(key, { first, last, what, from });
  }
  return [...rules.values()].filter((r) => r.from.length > 0);
}

/**
 * Security groups that hold their rules themselves. They cannot name each other, since each would wait for the other,
 * so they name the machines' addresses.
 */
function wholeGuards(
  scope: Ec2Scope,
  vpcId: pulumi.Input<string>,
  flows: readonly Flow[],
  machines: readonly Machine[],
): ReadonlyMap<Guarded, Guard> {
  const ingress = ingressOf(flows, scope.settings.access, 'elastic');
  return new Map(
    (['data', 'app', 'edge'] as const).map((g) => {
      const group = makeGroup(scope, vpcId, g, {
        egress: [{ protocol: '-1', fromPort: 0, toPort: 0, cidrBlocks: [EVERYWHERE] }],
        ingress: wholeRules(ingress, g, machines).map((r) => ({
          protocol: 'tcp',
          ...{ fromPort: r.first, toPort: r.last, description: r.what, cidrBlocks: [...r.from] },
        })),
      });
      return [g, { id: group.id, out: group, rules: [group] }];
    }),
  );
}

function makeGroup(
  scope: Ec2Scope,
  vpcId: pulumi.Input<string>,
  g: Guarded,
  rules: Pick<SecurityGroupArgs, 'ingress' | 'egress'> = {},
): SecurityGroup {
  return new SecurityGroup(
    `${scope.name}-${g}`,
    // the description cannot change without a replacement
    { vpcId, description: `nxnw ${g}`, ...rules, tags: tagsOf(scope, g, g === 'balancer' ? {} : { group: g }) },
    scope.options,
  );
}

function makeEgress(scope: Ec2Scope, g: Guarded, securityGroupId: pulumi.Output<string>): pulumi.Resource {
  return new SecurityGroupEgressRule(
    `${scope.name}-${g}-out`,
    { securityGroupId, ipProtocol: '-1', cidrIpv4: EVERYWHERE, description: 'out', tags: tagsOf(scope, `${g}-out`) },
    scope.options,
  );
}

function makeIngress(scope: Ec2Scope, r: Ingress, idOf: (g: Guarded) => pulumi.Output<string>): pulumi.Resource {
  return new SecurityGroupIngressRule(
    `${scope.name}-${r.key}`,
    {
      securityGroupId: idOf(r.to),
      ipProtocol: 'tcp',
      ...{ fromPort: r.first, toPort: r.last, description: r.what },
      ...('cidr' in r.source ? { cidrIpv4: r.source.cidr } : { referencedSecurityGroupId: idOf(r.source.group) }),
      tags: tagsOf(scope, r.key),
    },
    scope.options,
  );
}
