/** Size class of a machine: what it is sized for. */
export type MachineGroup = 'data' | 'app' | 'edge';

/** A subnet that machines stand in; groups are spread over the list in turn. */
export interface SubnetSettings {
  /** IPv4, /16 to /27. */
  readonly cidr: string;
  /** Availability zone; '' where the cloud has none, or may choose. */
  readonly zone: string;
  /** Existing subnet; without it one is made. */
  readonly id?: string;
}

/** From where a platform may be reached, as lists of CIDRs. Nothing else is open from outside. */
export interface AccessSettings {
  /** Operators: the agents and the coordinator. */
  readonly operators: readonly string[];
  /** Operators' ssh; empty = closed. */
  readonly ssh: readonly string[];
  /** Clients of the edges. */
  readonly clients: readonly string[];
  /** Machines of the other platform of a migration. */
  readonly peers: readonly string[];
}

/** What every cloud of virtual machines is told. */
export interface VirtualSettings {
  readonly subnets: readonly SubnetSettings[];
  readonly access: AccessSettings;
  /** Machines that may be replaced: name to a number that is raised for each replacement. */
  readonly replace: Readonly<Record<string, number>>;
  /** GiB of each data machine's own disk for the store. */
  readonly diskGiB: number;
  /** The release's archive and its SHA-256, for an image that does not have it. */
  readonly package?: { readonly url: string; readonly sha256: string };
}

export interface LocalSettings {
  /** First three parts of the machines' addresses: `127.40.0`. */
  readonly network: string;
  /** Folder of the machines' folders, relative to the project. */
  readonly directory: string;
}

/** Flavours, image, key and network of an OpenStack project; the environment or clouds.yaml says where it is. */
export interface OpenstackSettings extends VirtualSettings {
  readonly flavors: Readonly<Record<MachineGroup, string>>;
  /** Name or id of the image. */
  readonly image: string;
  /** Existing key pair for ssh; '' = none. */
  readonly keyPair: string;
  /** Existing network; without it network, subnets and router are made. */
  readonly networkId?: string;
  /** Name of the network that floating addresses come from; '' = the edges have none. */
  readonly externalNetwork: string;
  /** Entry of clouds.yaml; '' = OS_* variables. */
  readonly cloud: string;
}

/** An EC2 region, or a Eucalyptus cloud that speaks its API. */
export interface Ec2Settings extends VirtualSettings {
  readonly region: string;
  readonly instanceTypes: Readonly<Record<MachineGroup, string>>;
  /** AMI; '' = the newest Debian 12 of the region. */
  readonly image: string;
  readonly keyPair: string;
  /** Existing VPC; without it one is made, with subnets, gateway and routes. */
  readonly vpcId?: string;
  /** CIDR of the VPC that is made. */
  readonly vpcCidr: string;
  /** Clients reach the edges by a network load balancer or by elastic addresses. */
  readonly edgeAddress: 'elastic' | 'balancer';
  /** Another address of the services, by service (`ec2`, `route53`), for tests and for Eucalyptus. */
  readonly endpoints: Readonly<Record<string, string>>;
}

/** Hosts with libvirt. */
export interface LibvirtSettings extends VirtualSettings {
  /** libvirt URIs of the hosts; machines of a group are spread over them in turn. */
  readonly hosts: readonly string[];
  /** Path of the base image on each host, qcow2 or raw. */
  readonly image: string;
  readonly sizes: Readonly<Record<MachineGroup, { readonly vcpus: number; readonly memoryMiB: number }>>;
  /** Existing libvirt network; without it one is made on each host. */
  readonly network?: string;
  readonly pool: string;
  /** Public ssh key for the machines; '' = none. */
  readonly sshKey: string;
  /**
   * How a network that is made leads out. `nat`: machines reach out, only the host reaches in. `route`: both ways,
   * where the routers know the subnets. A change makes the network anew: machines are cut off until they are restarted.
   * @default nat with one host, route with several
   */
  readonly forward?: 'nat' | 'route';
  /** Kernel that the machines start with, paths on each host. @default the boot loader of the image */
  readonly boot?: { readonly kernel: string; readonly initrd: string; readonly cmdline: string };
}

/** A machine that is there already. */
export interface HostSettings {
  readonly group: MachineGroup;
  /** Address inside the platform; the operator reaches it by ssh here, unless `ssh` says otherwise. */
  readonly address: string;
  readonly ssh?: string;
}

export interface HostsSettings {
  readonly hosts: readonly HostSettings[];
  readonly user: string;
  readonly port: number;
  /** PEM of the private key, a secret. */
  readonly privateKey: string;
  /** Folder of the platform on each host. */
  readonly directory: string;
  /** What a host must have free before the first machine of a group is installed on it. */
  readonly needs: Readonly<Record<MachineGroup, { readonly memoryMiB: number; readonly diskMiB: number }>>;
}

/** Where the machines are: a kind, and the block of that name. */
export interface CloudSettings {
  readonly kind: 'local' | 'ec2' | 'openstack' | 'kvm' | 'xen' | 'eucalyptus' | 'hosts';
  readonly local?: LocalSettings;
  readonly ec2?: Ec2Settings;
  readonly openstack?: OpenstackSettings;
  readonly kvm?: LibvirtSettings;
  readonly xen?: LibvirtSettings;
  readonly eucalyptus?: Ec2Settings;
  readonly hosts?: HostsSettings;
}
