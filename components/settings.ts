import type { JoinBundle } from '@nxnw/migration/coordinator/join';
import type { CloudSettings } from './clouds/settings.js';

/** An application as the platform runs it. */
export interface AppSettings {
  /** Project id. */
  readonly id: string;
  /** Digest of the bundle's archive. */
  readonly bundle: string;
  /** Folder of the program, relative to the project; '' when the source of a migration gives the bundle. */
  readonly directory: string;
  readonly instances: number;
  readonly env: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
  /** Path that answers 200 when an instance can serve. */
  readonly health: string;
  /** Host names of its requests, at least one. */
  readonly domains: readonly string[];
  /** A power of two. */
  readonly shards: number;
}

export interface DnsSettings {
  readonly driver: 'rfc2136' | 'route53';
  readonly zone: string;
  /** The clients' name, inside the zone. */
  readonly name: string;
  readonly ttlSeconds: number;
  readonly restoreTtlSeconds: number;
  /** `server` is host:port; `keySecret` base64, a secret. */
  readonly rfc2136?: { readonly server: string; readonly keyName: string; readonly keySecret: string };
  readonly route53?: {
    readonly hostedZoneId: string;
    readonly region: string;
    readonly endpoint?: string;
    /** The second is a secret. @default the SDK's own chain where the coordinator runs */
    readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  };
}

/** PEM texts; the key is a secret. */
export interface EdgeCertificate {
  readonly certPem: string;
  readonly keyPem: string;
}

/** Everything that decides what a platform consists of. Plain values: secrets are sealed where Pulumi takes over. */
export interface PlatformSettings {
  readonly platformId: string;
  readonly cloud: CloudSettings;
  /** Machines for applications and caches. */
  readonly appMachines: number;
  readonly store: { readonly kind: 'lmdb' | 'cassandra'; readonly nodes: number; readonly replication: number };
  readonly datastore: { readonly processes: number };
  /** `nodes`: app machines with memcached, the first ones. @default all */
  readonly cache: { readonly memoryMiB: number; readonly nodes?: number };
  readonly locks: { readonly nodes: number };
  readonly edge: {
    readonly nodes: number;
    readonly httpPort: number;
    readonly httpsPort: number;
    readonly certificate?: EdgeCertificate;
  };
  readonly apps: readonly AppSettings[];
  readonly dns?: DnsSettings;
  /** The port by which another platform takes over from this one. */
  readonly join?: {
    /** Address at which the join ports listen. @default each machine's own */
    readonly listen?: string;
    /** Name or address by which other platforms reach them. @default where they listen */
    readonly address?: string;
  };
  /** The running platform that this one takes over from. */
  readonly source?: JoinBundle;
}
