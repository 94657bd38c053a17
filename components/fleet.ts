import { join } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import { Authority } from '@nxnw/migration/resources/authority';
import { Certificate } from '@nxnw/migration/resources/certificate';
import { Enrolment, EnrolmentToken } from '@nxnw/migration/resources/enrolment';
import { LocalMachine } from '@nxnw/migration/resources/machine';
import { standUp } from './clouds/index.js';
import type { ReleaseFile } from './clouds/hosts.js';
import type { Cloud } from './clouds/port.js';
import type { CloudSettings, LocalSettings } from './clouds/settings.js';
import { enrolFile, userData, type UserDataArgs } from './clouds/user-data.js';
import type { Machine } from './plan/machines.js';
import { reachedAt } from './plan/addresses.js';
import { beforeOf, PORTS } from './plan/machines.js';
import type { Flow } from './plan/traffic.js';

const YEARS_2 = 730;
/** Longest wait for a machine to boot and its agent to answer. */
const BOOT_MINUTES = 20;

export interface FleetArgs {
  readonly platformId: string;
  readonly machines: readonly Machine[];
  readonly cloud: CloudSettings;
  readonly flows: readonly Flow[];
  /** Built from this checkout, for machines whose image does not have it. */
  readonly release: ReleaseFile | undefined;
  /** Whether the machines that hold data are protected from `destroy`. */
  readonly protect: boolean;
  /** What must be there before anything is made. */
  readonly after: readonly pulumi.Resource[];
}

/** A machine as a member of the platform. */
export interface Member {
  /** host:port of its agent, once it serves. */
  readonly agent: pulumi.Output<string>;
  /** Changes when the machine is made anew; known to change before it does. */
  readonly server: pulumi.Output<string>;
  /** Changes when the machine is made anew, or has a new key. */
  readonly member: pulumi.Output<string>;
}

/** A cloud's machines, with the token that each was started with. */
interface MadeCloud extends Pick<Cloud, 'servers' | 'edgeAddresses'> {
  readonly tokenOf: (m: Machine) => pulumi.Output<string>;
}

interface Serving {
  readonly promise: Promise<pulumi.Resource>;
  readonly resolve: (r: pulumi.Resource) => void;
}

/** The machines of a platform, each with its agent, and the authority whose certificates they all trust. */
export class Fleet extends pulumi.ComponentResource {
  readonly authority: Authority;
  /** Speaks for the operator: the agents do what it says. */
  readonly operator: Certificate;
  /** By the machine's name. */
  readonly members: ReadonlyMap<string, Member>;
  /** Addresses at which clients reach the edges, in the edges' order. */
  readonly edgeAddresses: pulumi.Output<string[]>;
  private readonly certificateOptions: pulumi.CustomResourceOptions;
  private readonly serving = new Map<string, Serving>();

  constructor(
    private readonly label: string,
    args: FleetArgs,
    opts: pulumi.ComponentResourceOptions = {},
  ) {
    super('nxnw:index:Fleet', label, {}, opts);
    // Everything of the fleet needs the authority, so this is where it waits.
    this.authority = new Authority(
      `${label}-authority`,
      { platformId: args.platformId },
      { parent: this, dependsOn: [...args.after] },
    );
    this.certificateOptions = { parent: this };
    this.operator = this.certificate('operator', 'operator', [], YEARS_2);
    for (const m of args.machines) {
      let resolve: Serving['resolve'] = () => undefined;
      const promise = new Promise<pulumi.Resource>((ok) => (resolve = ok));
      this.serving.set(m.name, { promise, resolve });
    }
    if (args.cloud.local !== undefined && args.cloud.kind === 'local') {
      this.members = this.localMachines(args, args.cloud.local);
      this.edgeAddresses = pulumi.output(args.machines.filter((m) => m.group === 'edge').map((m) => m.host));
    } else {
      const cloud = this.cloudMachines(args);
      this.members = this.enrolled(args, cloud);
      this.edgeAddresses = edgesArePlanned(args.cloud)
        ? pulumi.output(args.machines.filter((m) => m.group === 'edge').map((m) => m.host))
        : cloud.edgeAddresses;
    }
    this.registerOutputs({});
  }

  /** A certificate of the platform for `subject`; `hosts` are the addresses at which it serves. */
  certificate(name: string, subject: string, hosts: readonly string[], days: number): Certificate {
    return new Certificate(
      `${this.label}-cert-${name}`,
      {
        authorityCert: this.authority.cert,
        authorityKey: this.authority.key,
        name: subject,
        hosts: [...hosts],
        days,
      },
      this.certificateOptions,
    );
  }

  /** Says what a machine serves by: others of its group are made or replaced after that. To be told of every machine. */
  serves(machine: string, by: pulumi.Resource): void {
    this.serving.get(machine)?.resolve(by);
  }

  /**
   * What must serve before the machine is made or replaced. Edges wait for each other only where their addresses are
   * known beforehand: the other machines, which edges come after, are told them.
   */
  private before({ machines, cloud }: FleetArgs, m: Machine): pulumi.Input<pulumi.Resource>[] {
    if (m.group === 'edge' && !edgesArePlanned(cloud)) return [];
    const before = beforeOf(machines, m);
    const serves = before === undefined ? undefined : this.serving.get(before.name);
    return serves === undefined ? [] : [serves.promise];
  }

  /** Machines of the local cloud are made with their keys. */
  private localMachines(args: FleetArgs, local: LocalSettings): Fleet['members'] {
    return new Map(
      args.machines.map((m) => {
        const { agent, made } = this.localMachine(m, args, local);
        return [m.name, { agent, server: made, member: made }];
      }),
    );
  }

  /** Other machines make their keys themselves: they are started with a token by which they are enrolled. */
  private cloudMachines(args: FleetArgs): MadeCloud {
    const { platformId, machines, cloud, flows, protect, release } = args;
    const { authority } = this;
    const tokens = new Map(machines.map((m) => [m.name, this.token(m, args).token]));
    const tokenOf = (m: Machine): pulumi.Output<string> => tokens.get(m.name) ?? pulumi.output('');
    const start = (m: Machine, make: (file: UserDataArgs) => string): pulumi.Output<string> =>
      pulumi.secret(
        pulumi.all([authority.cert, tokenOf(m)]).apply(([ca, token]) =>
          make({
            platformId,
            machine: m.name,
            host: m.host,
            port: PORTS.agent,
            token,
            ca,
            dataDisk: m.group === 'data' ? 'own' : 'none',
            ...packageOf(cloud),
          }),
        ),
      );
    const { servers, edgeAddresses } = standUp(
      this.label,
      {
        platformId,
        machines,
        cloud,
        flows,
        protect,
        release,
        userData: (m) => start(m, userData),
        enrolment: (m) => start(m, enrolFile),
        before: (m) => this.before(args, m),
      },
      { parent: this },
    );
    return { servers, edgeAddresses, tokenOf };
  }

  private enrolled({ platformId, machines, cloud }: FleetArgs, made: MadeCloud): Fleet['members'] {
    const { authority } = this;
    return new Map(
      machines.map((m) => {
        const server = made.servers.get(m.name);
        if (server === undefined) throw new Error(`the cloud ${cloud.kind} has not made ${m.name}`);
        const enrolled = new Enrolment(
          `${this.label}-enrolment-${m.name}`,
          {
            authorityCert: authority.cert,
            authorityKey: authority.key,
            platformId,
            machine: m.name,
            hosts: [m.host],
            agent: pulumi.interpolate`${server.reach}:${String(PORTS.agent)}`,
            serverId: server.serverId,
            token: made.tokenOf(m),
            operator: this.operator.tls,
            days: YEARS_2,
            waitMinutes: BOOT_MINUTES,
            cloud: cloud.kind,
            console: server.console,
          },
          { parent: this, dependsOn: [...server.ready] },
        );
        return [m.name, { agent: enrolled.agent, server: server.serverId, member: enrolled.fingerprint }];
      }),
    );
  }

  private token(m: Machine, { platformId, cloud }: FleetArgs): EnrolmentToken {
    const reached = reachedAt(cloud, m);
    return new EnrolmentToken(
      `${this.label}-token-${m.name}`,
      {
        platformId,
        machine: m.name,
        generation: generationOf(cloud, m.name),
        agent: reached === '' ? '' : `${reached}:${String(PORTS.agent)}`,
        authorityCert: this.authority.cert,
      },
      { parent: this },
    );
  }

  private localMachine(m: Machine, args: FleetArgs, local: LocalSettings): LocalMachine {
    return new LocalMachine(
      `${this.label}-${m.name}`,
      {
        platformId: args.platformId,
        machine: m.name,
        host: m.host,
        port: PORTS.agent,
        directory: join(local.directory, m.name),
        tls: this.certificate(m.name, m.name, [m.host], YEARS_2).tls,
        operator: this.operator.tls,
      },
      {
        parent: this,
        protect: args.protect && m.group === 'data',
        // also where `--replace` asks for it
        deleteBeforeReplace: true,
        dependsOn: this.before(args, m),
      },
    );
  }
}

/** Whether operators and clients reach the edges at the planned addresses. */
function edgesArePlanned({ kind }: CloudSettings): boolean {
  return kind === 'local' || kind === 'kvm' || kind === 'xen' || kind === 'hosts';
}

/** How often a machine has been asked to be made anew. */
function generationOf(cloud: CloudSettings, machine: string): number {
  if (cloud.kind === 'local' || cloud.kind === 'hosts') return 1;
  return 1 + (cloud[cloud.kind]?.replace[machine] ?? 0);
}

function packageOf(cloud: CloudSettings): Pick<UserDataArgs, 'package'> {
  const block = cloud.kind === 'local' || cloud.kind === 'hosts' ? undefined : cloud[cloud.kind];
  return block?.package === undefined ? {} : { package: block.package };
}
