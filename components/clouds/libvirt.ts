import * as pulumi from '@pulumi/pulumi';
import { LibvirtDomain, LibvirtFilter, LibvirtNetwork, LibvirtVolume } from '@nxnw/migration/resources/libvirt';
import { dataVolume, domainName, filterName, networkName } from '@nxnw/migration/resources/engines/libvirt/names';
import { inGroup, type Machine } from '../plan/machines.js';
import { checkSettings, FIRST_BOOT, forwardOf, hostOf, rulesFor, subnetOf, subnetsOn } from './libvirt-plan.js';
import type { Cloud, CloudArgs, Server } from './port.js';
import type { LibvirtSettings, MachineGroup } from './settings.js';

const GROUPS: readonly MachineGroup[] = ['data', 'app', 'edge'];

export interface LibvirtCloudArgs extends CloudArgs<LibvirtSettings> {
  readonly kind: 'kvm' | 'xen';
}

/**
 * Machines as domains of hosts with libvirt. On each host: a network (unless one is named), a filter for each group,
 * disks for data, domains. Adding a host, or changing their order, places machines anew.
 *
 * kvm: a connection that `flows` does not name cannot be established. The filters are libvirt's, by iptables, and need
 * br_netfilter on each host with net.bridge.bridge-nf-call-iptables = 1; without it they only keep each machine to its
 * own addresses.
 * xen: libvirt filters nothing there; the flows are for the firewall of the control domain or of the guests to keep.
 */
export class LibvirtCloud extends pulumi.ComponentResource implements Cloud {
  readonly servers: ReadonlyMap<string, Server>;
  readonly edgeAddresses: pulumi.Output<string[]>;
  /** By URI of the host; empty where the network is there already. */
  private readonly networks = new Map<string, LibvirtNetwork>();
  /** By URI of the host and group; empty on Xen. */
  private readonly filters = new Map<string, LibvirtFilter>();

  constructor(
    private readonly label: string,
    private readonly args: LibvirtCloudArgs,
    opts: pulumi.ComponentResourceOptions = {},
  ) {
    super('nxnw:index:LibvirtCloud', label, {}, opts);
    const { settings, machines, kind } = args;
    checkSettings(kind, settings);
    settings.hosts.forEach((uri, i) => this.prepareHost(uri, i));
    this.servers = new Map(machines.map((m) => [m.name, this.server(m)]));
    if (kind === 'xen')
      void pulumi.log.warn(
        'libvirt filters nothing on Xen: let the firewall of the control domain or of the guests keep the ports closed',
        this,
      );
    this.edgeAddresses = pulumi.output(inGroup(machines, 'edge').map((m) => m.host));
    this.registerOutputs({});
  }

  private prepareHost(uri: string, index: number): void {
    const { settings, platformId, machines, flows, kind } = this.args;
    const here = machines.filter((m) => hostOf(settings, m) === uri);
    if (here.length === 0) return;
    const number = String(index + 1);
    if (settings.network === undefined)
      this.networks.set(
        uri,
        new LibvirtNetwork(
          `${this.label}-network-${number}`,
          {
            uri,
            platformId,
            name: networkName(platformId),
            forward: forwardOf(settings),
            subnets: subnetsOn(settings, index),
          },
          { parent: this },
        ),
      );
    if (kind === 'xen') return;
    for (const group of GROUPS.filter((g) => here.some((m) => m.group === g)))
      this.filters.set(
        `${uri} ${group}`,
        new LibvirtFilter(
          `${this.label}-filter-${number}-${group}`,
          { uri, name: filterName(platformId, group), rules: rulesFor(group, flows, machines, settings.access) },
          { parent: this },
        ),
      );
  }

  private server(m: Machine): Server {
    const { settings, platformId, kind, protect } = this.args;
    const uri = hostOf(settings, m);
    const holdsData = m.group === 'data';
    const mayGo = settings.replace[m.name] !== undefined;
    const disk = holdsData ? this.disk(m, uri) : undefined;
    const network = this.networks.get(uri);
    const filter = this.filters.get(`${uri} ${m.group}`);
    const { gateway, prefix } = subnetOf(settings, m.site);
    const domain = new LibvirtDomain(
      `${this.label}-${m.name}`,
      {
        uri,
        kind,
        platformId,
        machine: m.name,
        address: m.host,
        prefix,
        gateway,
        // the host looks names up for machines behind it
        dns: network !== undefined && forwardOf(settings) === 'nat' ? [gateway] : [],
        network: settings.network ?? networkName(platformId),
        pool: settings.pool,
        image: settings.image,
        boot: settings.boot ?? null,
        ...settings.sizes[m.group],
        dataVolume: disk === undefined ? '' : dataVolume(domainName(platformId, m.name)),
        filter: filter === undefined ? '' : filterName(platformId, m.group),
        userData: this.args.userData(m),
        sshKey: settings.sshKey,
        generation: settings.replace[m.name] ?? 0,
      },
      {
        parent: this,
        dependsOn: [...[network, filter, disk].filter((r) => r !== undefined), ...(this.args.before?.(m) ?? [])],
        protect: protect && holdsData && !mayGo,
        ignoreChanges: holdsData && !mayGo ? [...FIRST_BOOT] : [],
      },
    );
    return {
      serverId: domain.uuid,
      reach: domain.uuid.apply(() => m.host),
      console: pulumi.output(`virsh -c '${uri}' console ${domainName(platformId, m.name)}`),
      ready: [domain],
    };
  }

  private disk(m: Machine, uri: string): LibvirtVolume {
    const { settings, platformId, protect } = this.args;
    const name = dataVolume(domainName(platformId, m.name));
    return new LibvirtVolume(
      `${this.label}-${m.name}-disk`,
      { uri, pool: settings.pool, name, gib: settings.diskGiB },
      { parent: this, protect },
    );
  }
}
