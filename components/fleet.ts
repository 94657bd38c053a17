import { join } from 'node:path';
import * as pulumi from '@pulumi/pulumi';
import { Authority } from '@nxnw/migration/resources/authority';
import { Certificate } from '@nxnw/migration/resources/certificate';
import { LocalMachine } from '@nxnw/migration/resources/machine';
import type { CloudSettings } from './clouds/settings.js';
import type { Machine } from './plan/machines.js';
import { PORTS } from './plan/machines.js';

const YEARS_2 = 730;

export interface FleetArgs {
  readonly platformId: string;
  readonly machines: readonly Machine[];
  readonly cloud: CloudSettings;
  /** Whether the machines that hold data are protected from `destroy`. */
  readonly protect: boolean;
  /** What must be there before anything is made. */
  readonly after: readonly pulumi.Resource[];
}

/** The machines of a platform, each with its agent, and the authority whose certificates they all trust. */
export class Fleet extends pulumi.ComponentResource {
  readonly authority: Authority;
  /** Speaks for the operator: the agents do what it says. */
  readonly operator: Certificate;
  /** host:port of each machine's agent, once it serves. */
  readonly agents: ReadonlyMap<string, pulumi.Output<string>>;
  private readonly certificateOptions: pulumi.CustomResourceOptions;

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
    this.agents = new Map(args.machines.map((m) => [m.name, this.machine(m, args).agent]));
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

  private machine(m: Machine, args: FleetArgs): LocalMachine {
    const { local } = args.cloud;
    if (local === undefined) throw new Error(`the cloud ${args.cloud.kind} has no components yet`);
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
      { parent: this, protect: args.protect && m.group === 'data' },
    );
  }
}
