import * as pulumi from '@pulumi/pulumi';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/sources.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/sources');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ id: `source/${inputs.platformId}`, outs: await engine.meetSource(inputs) }));
  },
  async diff(_id, olds, news) {
    return { changes: olds.platformId !== news.platformId };
  },
  async update(_id, _olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/sources');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.meetSource(news) }));
  },
};

export interface SourceArgs {
  readonly platformId: pulumi.Input<string>;
  readonly protocols: pulumi.Input<number[]>;
  /** Join ports of the running platform. */
  readonly gateways: pulumi.Input<{ machine: string; endpoint: string }[]>;
  /** Its agents, host:port, behind them. */
  readonly agents: pulumi.Input<string[]>;
  readonly tls: TlsInput;
  /** Id of the platform that takes over. */
  readonly target: pulumi.Input<string>;
}

/** The running platform, met before anything of the new one is made. */
export class Source extends pulumi.dynamic.Resource {
  declare readonly protocol: pulumi.Output<number>;

  constructor(name: string, args: SourceArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(provider, name, { ...args, tls: pulumi.secret(args.tls), protocol: undefined }, opts, 'nxnw', 'Source');
  }
}
