import * as pulumi from '@pulumi/pulumi';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/machines.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/machines');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: `machine/${inputs.platformId}/${inputs.machine}`,
      outs: { ...(await engine.makeMachine(inputs)), made: new Date().toISOString() },
    }));
  },
  async read(id, props) {
    const engine: Engine = require('@nxnw/migration/resources/engines/machines');
    const found = await engine.readMachine(props);
    if (!found.there) return { id: '', props: {} };
    if (found.running) return { id, props };
    // Drift shows only when both inputs and outputs say what was found.
    const ended = { ...props, running: false };
    return { id, props: ended, inputs: ended };
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/machines');
    return { ...engine.machineDiffers(olds, news), deleteBeforeReplace: true };
  },
  async update(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/machines');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: { ...(await engine.makeMachine(news)), made: olds.made ?? '' } }));
  },
  async delete(_id, props) {
    const engine: Engine = require('@nxnw/migration/resources/engines/machines');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => engine.removeMachine(props));
  },
};

export interface LocalMachineArgs {
  readonly platformId: pulumi.Input<string>;
  readonly machine: pulumi.Input<string>;
  /** 127.x.y.z */
  readonly host: pulumi.Input<string>;
  readonly port: pulumi.Input<number>;
  /** Relative to the project. */
  readonly directory: pulumi.Input<string>;
  /** The machine's own certificate. */
  readonly tls: TlsInput;
  readonly operator: TlsInput;
}

/** A machine of the local cloud with its agent, which outlives the run that made it. */
export class LocalMachine extends pulumi.dynamic.Resource {
  /** host:port of the agent, once it serves. */
  declare readonly agent: pulumi.Output<string>;
  /** When it was made, ISO 8601; another time is another machine. */
  declare readonly made: pulumi.Output<string>;

  constructor(name: string, args: LocalMachineArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(
      provider,
      name,
      {
        ...args,
        operator: pulumi.secret(args.operator),
        tls: pulumi.secret(args.tls),
        running: true,
        agent: undefined,
        made: undefined,
      },
      opts,
      'nxnw',
      'LocalMachine',
    );
  }
}
