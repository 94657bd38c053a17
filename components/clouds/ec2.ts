import * as pulumi from '@pulumi/pulumi';
import { Provider } from '@pulumi/aws/provider';
import type { Machine } from '../plan/machines.js';
import { checkEc2, isRegion } from './ec2-check.js';
import { EC2, EUCALYPTUS, type Ec2Dialect } from './ec2-dialect.js';
import { balance, giveAddresses, takeAddresses, type Edges } from './ec2-edges.js';
import { makeMachines, type MadeMachine } from './ec2-machines.js';
import { makeNetwork, type Network, type Site } from './ec2-network.js';
import { makeGuards, type Guard, type Guarded } from './ec2-rules.js';
import type { Ec2Scope } from './ec2-scope.js';
import type { Cloud, CloudArgs, Server } from './port.js';
import type { Ec2Settings } from './settings.js';

type Ec2Args = CloudArgs<Ec2Settings>;

/** What both components offer. */
interface StoodUp {
  readonly servers: ReadonlyMap<string, Server>;
  readonly edgeAddresses: pulumi.Output<string[]>;
}

/**
 * Machines of a platform on EC2.
 *
 * An operator reaches a machine at its public address where this component made the subnet, which then maps public
 * addresses; in an existing VPC at its private one, because only its owner knows how it is reached (a VPN, a peering).
 * @throws BAD_CONFIG with every fault of the settings, before anything is made
 */
export class Ec2Cloud extends pulumi.ComponentResource implements Cloud {
  readonly servers: ReadonlyMap<string, Server>;
  readonly edgeAddresses: pulumi.Output<string[]>;

  constructor(name: string, args: Ec2Args, opts: pulumi.ComponentResourceOptions = {}) {
    super('nxnw:index:Ec2Cloud', name, {}, opts);
    const made = standUp(this, name, args, EC2);
    this.servers = made.servers;
    this.edgeAddresses = made.edgeAddresses;
    this.registerOutputs({ edgeAddresses: this.edgeAddresses });
  }
}

/** The same on a Eucalyptus cloud; what is otherwise there is listed in EUCALYPTUS_DIFFERENCES. */
export class EucalyptusCloud extends pulumi.ComponentResource implements Cloud {
  readonly servers: ReadonlyMap<string, Server>;
  readonly edgeAddresses: pulumi.Output<string[]>;

  constructor(name: string, args: Ec2Args, opts: pulumi.ComponentResourceOptions = {}) {
    super('nxnw:index:EucalyptusCloud', name, {}, opts);
    const made = standUp(this, name, args, EUCALYPTUS);
    this.servers = made.servers;
    this.edgeAddresses = made.edgeAddresses;
    this.registerOutputs({ edgeAddresses: this.edgeAddresses });
  }
}

function standUp(parent: pulumi.ComponentResource, name: string, args: Ec2Args, dialect: Ec2Dialect): StoodUp {
  const { settings, platformId, machines, flows, protect, userData, before } = args;
  checkEc2(dialect, settings, machines);
  const provider = makeProvider(parent, name, settings, dialect);
  const scope: Ec2Scope = { name, platformId, settings, dialect, options: { parent, provider } };
  const network = makeNetwork(scope);
  const guards = makeGuards(scope, network.vpcId, flows, machines);
  const guardOf = (g: Guarded): Guard => {
    const guard = guards.get(g);
    if (guard === undefined) throw new Error(`the group ${g} has a security group`);
    return guard;
  };
  const made = makeMachines(scope, {
    machines,
    guardOf: (m) => guardOf(m.group),
    siteOf: (m) => siteOf(network, m),
    userData,
    before,
    protect,
  });
  const edgeMachines = made.filter((m) => m.machine.group === 'edge');
  const edges =
    settings.edgeAddress === 'balancer'
      ? balance(scope, network, guardOf('balancer'), flows, edgeMachines)
      : dialect.elasticAddresses
        ? giveAddresses(scope, edgeMachines)
        : takeAddresses(edgeMachines);
  return {
    servers: new Map(made.map((m) => [m.machine.name, serverOf(scope, m, guardOf(m.machine.group), edges)])),
    edgeAddresses: edges.addresses,
  };
}

/** The settings name a region, so they have a provider of their own; credentials come from the environment. */
function makeProvider(
  parent: pulumi.ComponentResource,
  name: string,
  settings: Ec2Settings,
  dialect: Ec2Dialect,
): Provider {
  const { region, endpoints } = settings;
  if (!isRegion(region)) throw new Error('the region has been checked');
  return new Provider(
    `${name}-provider`,
    {
      region,
      ...(Object.keys(endpoints).length === 0 ? {} : { endpoints: [{ ...endpoints }] }),
      ...dialect.providerFlags,
    },
    { parent },
  );
}

function siteOf(network: Network, m: Machine): Site {
  const site = network.sites[m.site];
  if (site === undefined) throw new Error(`the machine ${m.name} has a subnet`);
  return site;
}

function serverOf({ settings }: Ec2Scope, made: MadeMachine, guard: Guard, edges: Edges): Server {
  const { machine, instance, site, attachments } = made;
  const endpoint = settings.endpoints['ec2'] === undefined ? '' : ` --endpoint-url ${settings.endpoints['ec2']}`;
  return {
    serverId: instance.id,
    reach: site.isPublic ? (edges.own.get(machine.name) ?? instance.publicIp) : instance.privateIp,
    console: pulumi.interpolate`aws ec2 get-console-output --region ${settings.region}${endpoint} --output text --instance-id ${instance.id}`,
    ready: [...attachments, ...guard.rules, ...site.routes, ...(edges.ready.get(machine.name) ?? [])],
  };
}
