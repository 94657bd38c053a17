import * as pulumi from '@pulumi/pulumi';
import { DnsRecord } from '@nxnw/migration/resources/dns-record';
import { seal } from './seal.js';
import type { DnsSettings } from './settings.js';

export interface DnsArgs {
  readonly dns: DnsSettings;
  /** Addresses of the platform's edges. */
  readonly addresses: pulumi.Input<string[]>;
  /** Texts that must not be shown. */
  readonly secrets: ReadonlySet<string>;
}

/** The clients' name of a platform. */
export class Dns extends pulumi.ComponentResource {
  readonly record: DnsRecord;

  constructor(name: string, args: DnsArgs, opts: pulumi.ComponentResourceOptions = {}) {
    super('nxnw:index:Dns', name, {}, opts);
    this.record = new DnsRecord(
      `${name}-record`,
      { dns: seal(args.dns, args.secrets), addresses: args.addresses },
      { parent: this, ...(opts.dependsOn === undefined ? {} : { dependsOn: opts.dependsOn }) },
    );
    this.registerOutputs({});
  }
}
