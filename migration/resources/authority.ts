import * as pulumi from '@pulumi/pulumi';

type Engine = typeof import('./engines/certificates.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/certificates');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ id: `authority/${inputs.platformId}`, outs: await engine.makeAuthority(inputs) }));
  },
  async diff(_id, olds, news) {
    const changes = olds.platformId !== news.platformId;
    return { changes, replaces: changes ? ['platformId'] : [] };
  },
};

export interface AuthorityArgs {
  readonly platformId: pulumi.Input<string>;
}

/** The platform's certificate authority. Its key is a secret of the stack's state and goes nowhere else. */
export class Authority extends pulumi.dynamic.Resource {
  declare readonly cert: pulumi.Output<string>;
  declare readonly key: pulumi.Output<string>;

  constructor(name: string, args: AuthorityArgs, opts: pulumi.CustomResourceOptions = {}) {
    const secret = pulumi.mergeOptions(opts, { additionalSecretOutputs: ['key'] });
    super(provider, name, { ...args, cert: undefined, key: undefined }, secret, 'nxnw', 'Authority');
  }
}
