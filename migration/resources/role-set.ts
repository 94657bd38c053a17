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
      outs: await engine.makeRoles(inputs, engineLog(inputs.logUrn)),
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
    // The machine's own replacement asks this too, before it goes: then this is deleted first.
    return { ...engine.rolesDiffer(olds, news), deleteBeforeReplace: true };
  },
  async update(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/roles');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.changeRoles(olds, news, engineLog(news.logUrn)) }));
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
  /** Changes when the machine is made anew: what runs on the old one is ended before it goes. */
  readonly server: pulumi.Input<string>;
  /** Changes when the machine has a new key: then its roles are applied again. */
  readonly member: pulumi.Input<string>;
  readonly operator: TlsInput;
  /** Role specifications (platform/agent/spec), the machine's whole set; secrets inside are sealed. */
  readonly roles: pulumi.Input<unknown[]>;
  /** Agents of the edges that give requests to this machine's instances, with their roles. @default none */
  readonly edges?: pulumi.Input<pulumi.Input<{ agent: pulumi.Input<string>; role: pulumi.Input<string> }>[]>;
  /** Changes of the same turn are made one after another. @default '' = at once */
  readonly turn?: pulumi.Input<string>;
}

/** What one machine runs. */
export class RoleSet extends pulumi.dynamic.Resource {
  /** Machine's name, known when its roles are healthy. */
  declare readonly machine: pulumi.Output<string>;

  constructor(name: string, args: RoleSetArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(
      provider,
      name,
      {
        edges: [],
        turn: '',
        ...args,
        operator: pulumi.secret(args.operator),
        logUrn: logUrn(name, 'RoleSet', opts.parent),
      },
      opts,
      'nxnw',
      'RoleSet',
    );
  }
}
