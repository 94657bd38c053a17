import * as pulumi from '@pulumi/pulumi';
import { logUrn } from './log-urn.js';

type Engine = typeof import('./engines/dns-records.js');
type EngineLog = typeof import('./engines/engine-log.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/dns-records');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: `dns/${inputs.dns.name}`,
      outs: await engine.makeDnsRecord(inputs, null, engineLog(inputs.logUrn)),
    }));
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/dns-records');
    return { changes: engine.dnsRecordDiffers(olds, news) };
  },
  async update(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/dns-records');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.makeDnsRecord(news, olds, engineLog(news.logUrn)) }));
  },
  async delete(_id, props) {
    const engine: Engine = require('@nxnw/migration/resources/engines/dns-records');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.removeDnsRecord(props, engineLog(props.logUrn)));
  },
};

export interface DnsRecordArgs {
  /** `nxnw:dns`, its secrets sealed. */
  readonly dns: pulumi.Input<unknown>;
  /** Addresses of the platform's edges. */
  readonly addresses: pulumi.Input<string[]>;
}

/** The clients' name, where it leads nowhere yet; a name that leads to another platform moves by a migration only. */
export class DnsRecord extends pulumi.dynamic.Resource {
  constructor(name: string, args: DnsRecordArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(provider, name, { ...args, logUrn: logUrn(name, 'DnsRecord', opts.parent) }, opts, 'nxnw', 'DnsRecord');
  }
}
