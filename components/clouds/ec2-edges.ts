import { createHash } from 'node:crypto';
import * as pulumi from '@pulumi/pulumi';
import { Eip } from '@pulumi/aws/ec2/eip';
import { EipAssociation } from '@pulumi/aws/ec2/eipAssociation';
import { Listener } from '@pulumi/aws/lb/listener';
import { LoadBalancer } from '@pulumi/aws/lb/loadBalancer';
import { TargetGroup } from '@pulumi/aws/lb/targetGroup';
import { TargetGroupAttachment } from '@pulumi/aws/lb/targetGroupAttachment';
import type { Flow } from '../plan/traffic.js';
import type { MadeMachine } from './ec2-machines.js';
import type { Network } from './ec2-network.js';
import type { Guard } from './ec2-rules.js';
import { type Ec2Scope, tagsOf } from './ec2-scope.js';

/** How clients reach the edges. */
export interface Edges {
  /** Addresses for the clients' DNS name; they stay while edges come and go. */
  readonly addresses: pulumi.Output<string[]>;
  /** Public address of an edge that has one of its own, by machine. */
  readonly own: ReadonlyMap<string, pulumi.Output<string>>;
  /** What an edge needs to be reached, by machine. */
  readonly ready: ReadonlyMap<string, readonly pulumi.Resource[]>;
}

const NAME_LENGTH = 32;

/** Names of load balancers and target groups are short; a long one ends in a digest of the whole. */
function shortName(text: string): string {
  if (text.length <= NAME_LENGTH) return text;
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return `${text.slice(0, NAME_LENGTH - 9)}-${digest}`;
}

/** An elastic address for each edge. It is a resource apart from its edge, so that it outlives it. */
export function giveAddresses(scope: Ec2Scope, edges: readonly MadeMachine[]): Edges {
  const { name, options } = scope;
  const given = edges.map(({ machine, instance, site }) => {
    const tags = tagsOf(scope, machine.name, { machine: machine.name, group: machine.group });
    const address = new Eip(`${name}-${machine.name}-address`, { domain: 'vpc', tags }, options);
    const association = new EipAssociation(
      `${name}-${machine.name}-address-association`,
      { allocationId: address.id, instanceId: instance.id },
      // an address is on one machine at a time
      { ...options, deleteBeforeReplace: true, dependsOn: [...site.routes] },
    );
    return { edge: machine.name, address: address.publicIp, association };
  });
  return {
    addresses: pulumi.all(given.map((g) => g.address)),
    own: new Map(given.map((g) => [g.edge, g.address])),
    ready: new Map(given.map((g) => [g.edge, [g.association]])),
  };
}

/** The public addresses that the edges' subnet gives them, where there are no elastic ones. */
export function takeAddresses(edges: readonly MadeMachine[]): Edges {
  const addressOf = ({ instance, site }: MadeMachine) => (site.isPublic ? instance.publicIp : instance.privateIp);
  return { addresses: pulumi.all(edges.map(addressOf)), own: new Map(), ready: new Map() };
}

/**
 * A network load balancer before the edges: an elastic address in each subnet, and a TCP listener for each port of the
 * clients. It has a security group of its own, so the edges themselves are not open to clients.
 */
export function balance(
  scope: Ec2Scope,
  network: Network,
  guard: Guard,
  flows: readonly Flow[],
  edges: readonly MadeMachine[],
): Edges {
  const { name, options } = scope;
  const addresses = network.sites.map((_site, i) => {
    const what = `balancer-address-${String(i + 1)}`;
    return new Eip(`${name}-${what}`, { domain: 'vpc', tags: tagsOf(scope, what) }, options);
  });
  const balancer = new LoadBalancer(
    `${name}-balancer`,
    {
      name: shortName(`${scope.platformId}-edge`),
      loadBalancerType: 'network',
      internal: false,
      securityGroups: [guard.id],
      subnetMappings: network.sites.map((site, i) => {
        const address = addresses[i];
        if (address === undefined) throw new Error('each subnet has an address');
        return { subnetId: site.subnetId, allocationId: address.id };
      }),
      // a zone without an edge has an address all the same
      enableCrossZoneLoadBalancing: true,
      tags: tagsOf(scope, 'balancer'),
    },
    { ...options, deleteBeforeReplace: true, dependsOn: network.sites.flatMap((s) => [...s.routes]) },
  );
  const ports = flows.filter((f) => f.from === 'clients').flatMap((f) => portsOf(f));
  const doors = ports.map((port) => listen(scope, network, balancer, port, edges));
  return {
    addresses: pulumi.all(addresses.map((a) => a.publicIp)),
    own: new Map(),
    ready: new Map(edges.map((e) => [e.machine.name, doors.flatMap((d) => d.get(e.machine.name) ?? [])])),
  };
}

function portsOf(f: Flow): { readonly port: number; readonly what: string }[] {
  return Array.from({ length: f.last - f.first + 1 }, (_, i) => ({
    port: f.first + i,
    what: f.last === f.first ? f.what : `${f.what}-${String(f.first + i)}`,
  }));
}

/** A listener and its targets; answers what each edge waits for. */
function listen(
  scope: Ec2Scope,
  network: Network,
  balancer: LoadBalancer,
  { port, what }: { readonly port: number; readonly what: string },
  edges: readonly MadeMachine[],
): ReadonlyMap<string, readonly pulumi.Resource[]> {
  const { name, options } = scope;
  const targets = new TargetGroup(
    `${name}-balancer-${what}-targets`,
    {
      name: shortName(`${scope.platformId}-${what}-${String(port)}`),
      port,
      protocol: 'TCP',
      targetType: 'instance',
      vpcId: network.vpcId,
      healthCheck: { protocol: 'TCP' },
      tags: tagsOf(scope, `balancer-${what}`),
    },
    { ...options, deleteBeforeReplace: true },
  );
  const listener = new Listener(
    `${name}-balancer-${what}`,
    {
      loadBalancerArn: balancer.arn,
      port,
      protocol: 'TCP',
      defaultActions: [{ type: 'forward', targetGroupArn: targets.arn }],
      tags: tagsOf(scope, `balancer-${what}`),
    },
    options,
  );
  return new Map(
    edges.map((e) => [
      e.machine.name,
      [
        listener,
        new TargetGroupAttachment(
          `${name}-balancer-${what}-${e.machine.name}`,
          { targetGroupArn: targets.arn, targetId: e.instance.id, port },
          { ...options, deleteBeforeReplace: true },
        ),
      ],
    ]),
  );
}
