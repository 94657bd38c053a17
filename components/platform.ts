import * as pulumi from '@pulumi/pulumi';
import { OperatorAccess } from '@nxnw/migration/resources/access';
import { PROTOCOLS } from '@nxnw/migration/coordinator/join';
import { Shape } from '@nxnw/migration/resources/shape';
import { JOIN_SUBJECT } from '@nxnw/platform/wire/gateway-stream';
import { Source } from '@nxnw/migration/resources/source';
import type { TlsInput } from '@nxnw/migration/resources/tls';
import { Fleet } from './fleet.js';
import { Dns } from './dns.js';
import type { ReleaseFile } from './clouds/hosts.js';
import { PORTS } from './plan/machines.js';
import { planJoin, VERSION, withEdges } from './plan/join.js';
import { doorOf, memcachedOf, show, topologyOf } from './plan/roles.js';
import { shapeOf } from './plan/shape.js';
import { flowsOf } from './plan/traffic.js';
import { Roles } from './roles.js';
import { secretsOf } from './seal.js';
import type { PlatformSettings } from './settings.js';

/** A stack's join bundle speaks for a new platform this long; it is made anew in the last fifth. */
const JOIN_DAYS = 30;

export interface PlatformArgs extends PlatformSettings {
  /** Name of the stack, for the operator's access file. */
  readonly stack: string;
  /** Where the operator's access file lies. */
  readonly accessPath: string;
  /** Whether the machines that hold data are protected from `destroy`. */
  readonly protect: boolean;
  /** Built from this checkout, for machines whose image does not have it. @default none */
  readonly release?: ReleaseFile;
}

export interface AppOutputs {
  readonly url: string;
  readonly datastoreHost: string;
  readonly memcacheServers: string;
}

/** A private App-Engine-style platform: machines, servers, applications, edge. */
export class Platform extends pulumi.ComponentResource {
  readonly platformId: pulumi.Output<string>;
  readonly version: pulumi.Output<string>;
  readonly protocol: pulumi.Output<number>;
  readonly edgeUrl: pulumi.Output<string>;
  /** Name of the clients; '' without DNS. */
  readonly dnsName: pulumi.Output<string>;
  readonly apps: pulumi.Output<Record<string, AppOutputs>>;
  /** ZooKeeper servers, host:port. */
  readonly locks: pulumi.Output<string[]>;
  readonly store: pulumi.Output<{ kind: string; machines: string[] }>;
  readonly machines: pulumi.Output<{ name: string; host: string }[]>;
  /** Shards by application. */
  readonly shards: pulumi.Output<Record<string, number>>;
  /** Join bundle, JSON text; a secret. */
  readonly join: pulumi.Output<string>;
  /** host:port of the coordinator, where there is one. */
  readonly coordinator: pulumi.Output<string>;
  readonly operator: TlsInput;

  constructor(name: string, args: PlatformArgs, opts: pulumi.ComponentResourceOptions = {}) {
    super('nxnw:index:Platform', name, {}, opts);
    const t = topologyOf(args);
    const join = planJoin(args);
    const { platformId, cloud, protect, source } = args;
    const shape = new Shape(`${name}-shape`, { platformId, shape: shapeOf(args) }, { parent: this });
    const after: pulumi.Resource[] =
      source === undefined
        ? [shape]
        : [
            shape,
            new Source(
              `${name}-source`,
              {
                platformId: source.platformId,
                protocols: source.protocols,
                gateways: source.gateways.map(({ machine, endpoint }) => ({ machine, endpoint })),
                agents: source.agents.map((a) => a.endpoint),
                tls: source.tls,
                target: platformId,
              },
              { parent: this },
            ),
          ];
    const fleet = new Fleet(
      `${name}-fleet`,
      { platformId, machines: t.machines, cloud, flows: flowsOf(args), release: args.release, protect, after },
      { parent: this },
    );
    const { roleSets } = new Roles(`${name}-role`, { settings: args, fleet }, { parent: this });
    const dns =
      args.dns === undefined
        ? []
        : [
            new Dns(
              `${name}-dns`,
              { dns: args.dns, addresses: fleet.edgeAddresses, secrets: secretsOf(args) },
              { parent: this, dependsOn: [...roleSets] },
            ),
          ];
    const joinCertificate = fleet.certificate('join', JOIN_SUBJECT, [], JOIN_DAYS);
    this.operator = fleet.operator.tls;

    // Facts wait for the machines' roles, so that an output never names what is not there.
    const ready = pulumi.all(roleSets.map((r) => r.machine));
    const fact = <T>(value: T): pulumi.Output<T> => ready.apply<T>(() => value);
    // as the operator reaches them, which is not always how the machines reach each other
    const reachOf = (machine: string): pulumi.Output<string> => {
      const member = fleet.members.get(machine);
      if (member === undefined) throw new Error(`the machine ${machine} is a member`);
      return member.agent;
    };
    const coordinator = reachOf(t.first.name).apply((a) => `${a.slice(0, a.lastIndexOf(':'))}:${String(PORTS.coordinator)}`); // prettier-ignore
    const access = new OperatorAccess(
      `${name}-access`,
      {
        path: args.accessPath,
        access: {
          platformId: args.platformId,
          stack: args.stack,
          operator: this.operator,
          agents: join.agents.map((a) => ({ ...a, endpoint: reachOf(a.machine) })),
          coordinator: args.source === undefined ? null : coordinator,
        },
      },
      { parent: this, dependsOn: [...roleSets, ...dns] },
    );

    const edgeHost = args.dns?.name ?? t.edges[0]?.host ?? '';
    const url = (host: string) => `http://${host}:${String(args.edge.httpPort)}`;
    this.platformId = fact(args.platformId);
    this.version = fact(VERSION);
    this.protocol = fact(Math.max(...PROTOCOLS));
    this.edgeUrl = fact(url(edgeHost));
    this.dnsName = fact(args.dns?.name ?? '');
    this.apps = fact(
      Object.fromEntries(
        args.apps.map((a) => [
          a.id,
          {
            url: url(a.domains[0] ?? edgeHost),
            datastoreHost: t.appMachines[0] === undefined ? '' : show(doorOf(args, a, t.appMachines[0])),
            memcacheServers: memcachedOf(t, args, a).map(show).join(','),
          },
        ]),
      ),
    );
    this.locks = fact([...t.zookeeper]);
    this.store = fact({
      kind: args.store.kind,
      machines: t.data.slice(0, args.store.nodes).map((m) => m.name),
    });
    this.machines = fact(t.machines.map((m) => ({ name: m.name, host: m.host })));
    this.shards = fact(Object.fromEntries(args.apps.map((a) => [a.id, a.shards])));
    this.coordinator = pulumi.all([coordinator, access.id]).apply(([endpoint]) => endpoint);
    this.join = pulumi.secret(
      pulumi
        .all([
          fleet.edgeAddresses,
          joinCertificate.ca,
          joinCertificate.cert,
          joinCertificate.key,
          joinCertificate.expiresAtMs,
          ready,
        ])
        .apply(([addresses, ca, cert, key, expiresAtMs]) =>
          JSON.stringify({ ...withEdges(join, addresses), tls: { ca, cert, key }, expiresAtMs }),
        ),
    );
    this.registerOutputs(this.outputs());
  }

  /** The stack outputs of the interface. */
  outputs(): Record<string, unknown> {
    const { platformId, version, protocol, edgeUrl, dnsName, apps, locks, store, machines, shards, join } = this;
    return { platformId, version, protocol, edgeUrl, dnsName, apps, locks, store, machines, shards, join };
  }
}
