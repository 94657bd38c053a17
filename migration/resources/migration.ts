import * as pulumi from '@pulumi/pulumi';
import type { MigrationOptions, Stage } from '../coordinator/api.js';
import { logUrn } from './log-urn.js';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/migrations.js');
type EngineLog = typeof import('./engines/engine-log.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/migrations');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: 'migration',
      outs: await engine.wantMigration(inputs, engineLog(inputs.logUrn)),
    }));
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/migrations');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    return { changes: await engine.migrationDiffers(olds, news, engineLog(news.logUrn, 'warning')) };
  },
  async update(_id, _olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/migrations');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.wantMigration(news, engineLog(news.logUrn)) }));
  },
  async delete(_id, props) {
    const engine: Engine = require('@nxnw/migration/resources/engines/migrations');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.endMigration(props, engineLog(props.logUrn)));
  },
};

export interface WantedMigrationArgs {
  /** host:port of the coordinator. */
  readonly coordinator: pulumi.Input<string>;
  readonly operator: TlsInput;
  readonly stage: pulumi.Input<Stage>;
  readonly attempt: pulumi.Input<number>;
  readonly apps: pulumi.Input<string[]>;
  readonly options: pulumi.Input<MigrationOptions>;
  /** The source's join bundle, JSON text; a secret. */
  readonly join: pulumi.Input<string>;
}

/** The operator's intent: the wanted stage and the options. The only resource that starts the coordinator's work. */
export class WantedMigration extends pulumi.dynamic.Resource {
  declare readonly stage: pulumi.Output<Stage>;
  declare readonly source: pulumi.Output<string>;

  constructor(name: string, args: WantedMigrationArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(
      provider,
      name,
      {
        ...args,
        operator: pulumi.secret(args.operator),
        join: pulumi.secret(args.join),
        source: undefined,
        logUrn: logUrn(name, 'Migration', opts.parent),
      },
      opts,
      'nxnw',
      'Migration',
    );
  }
}
