import * as pulumi from '@pulumi/pulumi';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/certificates.js');
type Targets = typeof import('./engines/targets.js');

const provider: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/certificates');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ id: `certificate/${inputs.name}`, outs: await engine.makeCertificate(inputs) }));
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/certificates');
    return { changes: engine.certificateDiffers(olds, news, Date.now()) };
  },
  async update(_id, _olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/certificates');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.makeCertificate(news) }));
  },
};

export interface CertificateArgs {
  readonly authorityCert: pulumi.Input<string>;
  readonly authorityKey: pulumi.Input<string>;
  /** Common name: the machine, process or person. */
  readonly name: pulumi.Input<string>;
  /** Addresses and names at which it serves. */
  readonly hosts: pulumi.Input<pulumi.Input<string>[]>;
  readonly days: pulumi.Input<number>;
}

/** A certificate of the platform with its key (a secret); made anew in the last fifth of its time. */
export class Certificate extends pulumi.dynamic.Resource {
  declare readonly ca: pulumi.Output<string>;
  declare readonly cert: pulumi.Output<string>;
  declare readonly key: pulumi.Output<string>;
  declare readonly expiresAtMs: pulumi.Output<number>;

  constructor(name: string, args: CertificateArgs, opts: pulumi.CustomResourceOptions = {}) {
    const secret = pulumi.mergeOptions(opts, { additionalSecretOutputs: ['key', 'authorityKey'] });
    const outputs = { ca: undefined, cert: undefined, key: undefined, expiresAtMs: undefined };
    super(provider, name, { ...args, ...outputs }, secret, 'nxnw', 'Certificate');
  }

  get tls(): TlsInput {
    return { ca: this.ca, cert: this.cert, key: this.key };
  }
}
