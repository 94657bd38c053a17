import * as pulumi from '@pulumi/pulumi';
import type { Access } from './engines/access.js';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/access.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/access');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => Promise.resolve({ id: `access/${inputs.access.stack}`, outs: engine.writeAccess(inputs) }));
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/access');
    return { changes: engine.accessDiffers(olds, news) };
  },
  async update(_id, _olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/access');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => Promise.resolve({ outs: engine.writeAccess(news) }));
  },
  async delete(_id, props) {
    const engine: Engine = require('@nxnw/migration/resources/engines/access');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.removeAccess(props));
  },
};

export interface OperatorAccessArgs {
  readonly path: pulumi.Input<string>;
  readonly access: Omit<Access, 'operator' | 'agents' | 'coordinator'> & {
    readonly operator: TlsInput;
    readonly agents: readonly (Omit<Access['agents'][number], 'endpoint'> & {
      readonly endpoint: pulumi.Input<string>;
    })[];
    readonly coordinator: pulumi.Input<string> | null;
  };
}

/** The file by which `nxnw` reaches the platform without Pulumi. */
export class OperatorAccess extends pulumi.dynamic.Resource {
  constructor(name: string, args: OperatorAccessArgs, opts: pulumi.CustomResourceOptions = {}) {
    const access = { ...args.access, operator: pulumi.secret(args.access.operator) };
    super(provider, name, { ...args, access }, opts, 'nxnw', 'OperatorAccess');
  }
}
