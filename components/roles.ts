import * as pulumi from '@pulumi/pulumi';
import type { RoleSpecInput } from '@nxnw/platform/agent/spec';
import { AppBundle } from '@nxnw/migration/resources/app-bundle';
import { RoleSet } from '@nxnw/migration/resources/role-set';
import type { Fleet, Member } from './fleet.js';
import type { MachineGroup } from './clouds/settings.js';
import { reachedAt } from './plan/addresses.js';
import { agentOf, EDGE_ROLE, planPlatform, topologyOf, type MachinePlan } from './plan/roles.js';
import { seal, secretsOf } from './seal.js';
import type { AppSettings, PlatformSettings } from './settings.js';

const COORDINATOR_DAYS = 730;

export interface RolesArgs {
  readonly settings: PlatformSettings;
  readonly fleet: Fleet;
}

/**
 * What the machines run: first the data machines, then the applications (with their bundles), then the edges, so that
 * each finds what it needs; the other way round when the platform goes.
 */
export class Roles extends pulumi.ComponentResource {
  readonly roleSets: readonly RoleSet[];

  constructor(name: string, args: RolesArgs, opts: pulumi.ComponentResourceOptions = {}) {
    super('nxnw:index:Roles', name, {}, opts);
    const { settings, fleet } = args;
    const plans = planPlatform(settings);
    const secrets = secretsOf(settings);
    const coordinator =
      settings.source === undefined
        ? undefined
        : fleet.certificate('coordinator', 'coordinator', [topologyOf(settings).first.host], COORDINATOR_DAYS);

    const group = (g: MachineGroup, dependsOn: pulumi.Resource[]) =>
      plans.filter((m) => m.group === g).map((m) => this.roleSet(name, m, args, secrets, coordinator?.tls, dependsOn));
    const data = group('data', []);
    const apps = group('app', data);
    const edges = group('edge', apps);
    this.roleSets = [...data, ...apps, ...edges];
    this.registerOutputs({});
  }

  private memberOf(fleet: Fleet, machine: string): Member {
    const found = fleet.members.get(machine);
    if (found === undefined) throw new Error(`the fleet has no machine ${machine}`);
    return found;
  }

  private roleSet(
    name: string,
    m: MachinePlan,
    args: RolesArgs,
    secrets: ReadonlySet<string>,
    coordinatorTls: unknown,
    dependsOn: pulumi.Resource[],
  ): RoleSet {
    const { settings, fleet } = args;
    const roles = m.roles.map((r: RoleSpecInput) => {
      const sealed = seal(r, secrets);
      if (r.kind !== 'coordinator') return sealed;
      const config = placedEdges(Object(sealed).config, fleet.edgeAddresses);
      return { ...Object(sealed), config, tls: coordinatorTls };
    });
    const { agent, server, member } = this.memberOf(fleet, m.name);
    const bundles = settings.apps
      .filter((app) => m.roles.some((r) => r.kind === 'app' && r.app === app.id))
      .map((app) => this.bundle(name, app, m, args));
    const edges = m.group === 'app' ? this.edgesOf(args) : [];
    // machines of the other groups wait for each other before they are made or replaced (Fleet)
    const turn = m.group === 'data' ? `${settings.platformId}/data` : '';
    const made = new RoleSet(
      `${name}-${m.name}`,
      { machine: m.name, agent, server, member, operator: fleet.operator.tls, roles, edges, turn },
      { parent: this, dependsOn: [...dependsOn, ...bundles] },
    );
    fleet.serves(m.name, made);
    return made;
  }

  /** The edges' agents: at the planned address where there is one, so that an edge may wait for the app machines. */
  private edgesOf({ settings, fleet }: RolesArgs): { agent: pulumi.Input<string>; role: string }[] {
    return topologyOf(settings).edges.map((m) => ({
      agent: reachedAt(settings.cloud, m) === '' ? this.memberOf(fleet, m.name).agent : agentOf(m),
      role: EDGE_ROLE,
    }));
  }

  /** A machine has its bundle before its roles, and so after the machines that it waits for. */
  private bundle(name: string, app: AppSettings, m: MachinePlan, { settings, fleet }: RolesArgs): AppBundle {
    const { source } = settings;
    const runs = source?.apps.find((a) => a.id === app.id)?.roles.map((r) => r.machine) ?? [];
    const to = [this.memberOf(fleet, m.name)];
    const fromSource = source !== undefined && app.directory === '';
    return new AppBundle(
      `${name}-bundle-${app.id}-${m.name}`,
      {
        app: app.id,
        digest: app.bundle,
        directory: app.directory,
        from: fromSource
          ? {
              gateways: source.gateways.map(({ machine, endpoint }) => ({ machine, endpoint })),
              agents: source.agents.filter((a) => runs.includes(a.machine)).map((a) => a.endpoint),
              tls: { ca: source.tls.ca, cert: source.tls.cert, key: pulumi.secret(source.tls.key) },
            }
          : null,
        to: to.map((m) => m.agent),
        members: to.map((m) => m.member),
        operator: fleet.operator.tls,
      },
      { parent: this },
    );
  }
}

/** The coordinator's configuration with the addresses at which clients reach the edges; they may be known only then. */
function placedEdges(config: Record<string, unknown>, addresses: pulumi.Output<string[]>): Record<string, unknown> {
  const edges = Array.isArray(config['edges']) ? config['edges'] : [];
  return {
    ...config,
    edges: edges.map((e: object, i) => ({ ...e, address: addresses.apply((list) => list[i] ?? '') })),
  };
}
