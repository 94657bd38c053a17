import * as pulumi from '@pulumi/pulumi';
import type { ShapeInputs } from './engines/shape.js';

type Engine = typeof import('./engines/shape.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async check(olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/shape');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(() => {
      engine.checkShape(olds, news);
      return Promise.resolve({ inputs: news });
    });
  },
  async create(inputs) {
    return { id: `shape/${inputs.platformId}`, outs: inputs };
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/shape');
    return { changes: engine.shapeDiffers(olds, news) };
  },
  async update(_id, _olds, news) {
    return { outs: news };
  },
};

export interface ShapeArgs {
  readonly platformId: pulumi.Input<string>;
  readonly shape: pulumi.Input<ShapeInputs['shape']>;
}

/**
 * What the platform consists of, as it was made. It stands before everything else: a change that a running platform
 * cannot take on is refused by preview and by `up`, and nothing is touched.
 */
export class Shape extends pulumi.dynamic.Resource {
  constructor(name: string, args: ShapeArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(provider, name, { ...args }, opts, 'nxnw', 'Shape');
  }
}
