import * as pulumi from '@pulumi/pulumi';
import type { MigrationFacts, PhaseName } from '../coordinator/api.js';
import { logUrn } from './log-urn.js';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/phases.js');
type EngineLog = typeof import('./engines/engine-log.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/phases');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: engine.phaseId(inputs),
      outs: await engine.reachPhase(inputs, engineLog(inputs.logUrn)),
    }));
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/phases');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    return { changes: await engine.phaseDiffers(olds, news, engineLog(news.logUrn, 'warning')) };
  },
  async update(_id, _olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/phases');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.reachPhase(news, engineLog(news.logUrn)) }));
  },
  async delete(_id, props) {
    const engine: Engine = require('@nxnw/migration/resources/engines/phases');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.leavePhase(props, engineLog(props.logUrn)));
  },
};

export interface PhaseArgs {
  /** host:port of the coordinator. */
  readonly coordinator: pulumi.Input<string>;
  readonly operator: TlsInput;
  readonly attempt: pulumi.Input<number>;
  /** Longest wait; 0 = no limit. */
  readonly waitMinutes: pulumi.Input<number>;
}

/**
 * One phase of a migration, waited for. Its existence is not intent: deleting it asks the coordinator, which undoes the
 * phase only if the wanted stage is lower.
 */
export class Phase extends pulumi.dynamic.Resource {
  declare readonly facts: pulumi.Output<MigrationFacts>;
  declare readonly reached: pulumi.Output<boolean>;

  constructor(phase: PhaseName, name: string, args: PhaseArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(
      provider,
      name,
      {
        ...args,
        operator: pulumi.secret(args.operator),
        phase,
        facts: undefined,
        reached: undefined,
        logUrn: logUrn(name, phase, opts.parent),
      },
      opts,
      'nxnw',
      phase,
    );
  }
}
