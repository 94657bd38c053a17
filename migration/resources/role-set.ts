import * as pulumi from '@pulumi/pulumi';
import { logUrn } from './log-urn.js';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/roles.js');
type EngineLog = typeof import('./engines/engine-log.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/roles');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: `roles/${inputs.machine}`,
      outs: await engine.applyRoles(inputs, engineLog(inputs.logUrn)),
    }));
  },
  async read(id, props) {
    const engine: Engine = require('@nxnw/migration/resources/engines/roles');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => {
      // Drift shows only when both inputs and outputs say what was found.
      const found = await engine.readRoles(props);
      return { id, props: found, inputs: found };
    });
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/roles');
    return { changes: engine.rolesDiffer(olds, news) };
  },
  async update(_id, _olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/roles');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.applyRoles(news, engineLog(news.logUrn)) }));
  },
  async delete(_id, props) {
    const engine: Engine = require('@nxnw/migration/resources/engines/roles');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.stopRoles(props, engineLog(props.logUrn)));
  },
};

export interface RoleSetArgs {
  readonly machine: pulumi.Input<string>;
  /** host:port of the machine's agent. */
  readonly agent: pulumi.Input<string>;
  /** Changes when the machine is made anew: then its roles are applied again. */
  readonly member: pulumi.Input<string>;
  readonly operator: TlsInput;
  /** Role specifications (platform/agent/spec), the machine's whole set; secrets inside are sealed. */
  readonly roles: pulumi.Input<unknown[]>;
}

/** What one machine runs. */
export class RoleSet extends pulumi.dynamic.Resource {
  /** Machine's name, known when its roles are healthy. */
  declare readonly machine: pulumi.Output<string>;

  constructor(name: string, args: RoleSetArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(
      provider,
      name,
      { ...args, operator: pulumi.secret(args.operator), logUrn: logUrn(name, 'RoleSet', opts.parent) },
      opts,
      'nxnw',
      'RoleSet',
    );
  }
}
