/**
 * What an endpoint that speaks the EC2 API can do. EC2 has everything; Eucalyptus (5.1, API 2016-11-15) lacks what
 * came later. The code asks these fields and never which cloud it is.
 */
export interface Ec2Dialect {
  /** Key of the settings in `nxnw:cloud`, for error texts. */
  readonly kind: 'ec2' | 'eucalyptus';
  /** A rule of a security group is an object with an id (DescribeSecurityGroupRules). */
  readonly ruleIds: boolean;
  /** Elastic addresses can be read with their attributes (DescribeAddressesAttribute). */
  readonly elasticAddresses: boolean;
  /** Network load balancers. */
  readonly balancers: boolean;
  /** Instances can be made to answer metadata requests only with a session token (IMDSv2). */
  readonly metadataOptions: boolean;
  /** Volumes have the type gp3 and are encrypted by a key of the service. */
  readonly encryptedGp3: boolean;
  /** Every instance can be stopped, so that it writes its disk out before the disk is taken away. */
  readonly stops: boolean;
  /** Instances get a role of IAM, so that the account's default one is not theirs. */
  readonly instanceProfiles: boolean;
  /** Debian publishes its images there. */
  readonly debianImages: boolean;
  /** A zone's name begins with that of its region. */
  readonly zonesNamedByRegion: boolean;
  /** Flags for the provider; empty where it needs none. */
  readonly providerFlags: {
    readonly skipCredentialsValidation?: true;
    readonly skipMetadataApiCheck?: true;
    readonly skipRequestingAccountId?: true;
    readonly skipRegionValidation?: true;
  };
}

export const EC2: Ec2Dialect = {
  kind: 'ec2',
  ruleIds: true,
  elasticAddresses: true,
  balancers: true,
  metadataOptions: true,
  encryptedGp3: true,
  stops: true,
  instanceProfiles: true,
  debianImages: true,
  zonesNamedByRegion: true,
  providerFlags: {},
};

/**
 * One line for each thing that is otherwise on Eucalyptus, with the reason. `disableApiStop` is on no line: the code
 * sets it nowhere. The provider reads it all the same, and takes a refusal only where the region's name is not one of
 * AWS's own; so a Eucalyptus region is best called `eucalyptus`, as its tools do.
 */
export const EUCALYPTUS_DIFFERENCES = {
  /**
   * No DescribeSecurityGroupRules, by which the provider reads every rule that is a resource of its own, and fails. The
   * security groups hold their rules themselves, from the machines' addresses.
   */
  ruleIds: false,
  /**
   * No DescribeAddressesAttribute, which the provider calls on every read of an elastic address, and fails. The edges
   * have the public address that their subnet gives them; it changes when an edge is replaced.
   */
  elasticAddresses: false,
  /** Classic load balancers only, which take no part in a VPC's elastic addresses. */
  balancers: false,
  /** RunInstances has no MetadataOptions. */
  metadataOptions: false,
  /**
   * CreateVolume's only type is `standard`, its default, and it names no key: type and encryption are left out, because
   * the provider would replace a volume that does not come back as it was asked for. The storage below encrypts, or not.
   */
  encryptedGp3: false,
  /** Instances from the instance store cannot be stopped; what the image is, is not known here. */
  stops: false,
  /** Instances have no role unless they are given one. */
  instanceProfiles: false,
  /** Debian's account does not exist there: the image is named in the settings. */
  debianImages: false,
  /** Zones have names of the operator's choice. */
  zonesNamedByRegion: false,
  /** No STS that the provider knows, no metadata service where Pulumi runs, no account in ARNs, no known region. */
  providerFlags: {
    skipCredentialsValidation: true,
    skipMetadataApiCheck: true,
    skipRequestingAccountId: true,
    skipRegionValidation: true,
  },
} as const satisfies Omit<Ec2Dialect, 'kind'>;

export const EUCALYPTUS: Ec2Dialect = { kind: 'eucalyptus', ...EUCALYPTUS_DIFFERENCES };
