import * as pulumi from '@pulumi/pulumi';
import { logUrn } from './log-urn.js';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/bundles.js');
type EngineLog = typeof import('./engines/engine-log.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/bundles');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: `bundle/${inputs.app}`,
      outs: await engine.uploadBundle(inputs, engineLog(inputs.logUrn)),
    }));
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/bundles');
    return { changes: engine.bundleDiffers(olds, news) };
  },
  async update(_id, _olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/bundles');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.uploadBundle(news, engineLog(news.logUrn)) }));
  },
};

export interface AppBundleArgs {
  readonly app: pulumi.Input<string>;
  /** SHA-256 of the archive, hex. */
  readonly digest: pulumi.Input<string>;
  /** Folder of the program, relative to the project; '' when it comes from a running platform. */
  readonly directory: pulumi.Input<string>;
  readonly from: pulumi.Input<{
    gateways: { machine: string; endpoint: string }[];
    agents: string[];
    tls: TlsInput;
  } | null>;
  /** Agents of the application's machines, host:port. */
  readonly to: pulumi.Input<pulumi.Input<string>[]>;
  /** One for each of them, changed when the machine is made anew: then it gets the bundle again. */
  readonly members: pulumi.Input<pulumi.Input<string>[]>;
  readonly operator: TlsInput;
}

/** An application's bundle on the machines that run it. Old bundles stay until the machine goes. */
export class AppBundle extends pulumi.dynamic.Resource {
  declare readonly digest: pulumi.Output<string>;

  constructor(name: string, args: AppBundleArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(
      provider,
      name,
      { ...args, operator: pulumi.secret(args.operator), logUrn: logUrn(name, 'AppBundle', opts.parent) },
      opts,
      'nxnw',
      'AppBundle',
    );
  }
}
