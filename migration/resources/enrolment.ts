import * as pulumi from '@pulumi/pulumi';
import { logUrn } from './log-urn.js';
import type { TlsInput } from './tls.js';

type Engine = typeof import('./engines/enrolment.js');
type EngineLog = typeof import('./engines/engine-log.js');
type Targets = typeof import('./engines/targets.js');
type TokenEngine = typeof import('./engines/enrolment-token.js');

const tokens: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: TokenEngine = require('@nxnw/migration/resources/engines/enrolment-token');
    return { id: `enrolment-token/${inputs.platformId}/${inputs.machine}`, outs: engine.makeToken(inputs) };
  },
  async read(id, props) {
    const engine: TokenEngine = require('@nxnw/migration/resources/engines/enrolment-token');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => {
      const found = await engine.readToken(props);
      // Drift shows only when both inputs and outputs say what was found.
      return found.live ? { id, props } : { id, props: found, inputs: found };
    });
  },
  async diff(_id, olds, news) {
    const engine: TokenEngine = require('@nxnw/migration/resources/engines/enrolment-token');
    return { changes: engine.tokenDiffers(olds, news) };
  },
  async update(_id, _olds, news) {
    const engine: TokenEngine = require('@nxnw/migration/resources/engines/enrolment-token');
    return { outs: engine.makeToken(news) };
  },
};

export interface EnrolmentTokenArgs {
  readonly platformId: pulumi.Input<string>;
  readonly machine: pulumi.Input<string>;
  /** Raised to make the machine anew. */
  readonly generation: pulumi.Input<number>;
  /** host:port at which the operator reaches the agent, if it is known before the machine is made; otherwise ''. */
  readonly agent: pulumi.Input<string>;
  readonly authorityCert: pulumi.Input<string>;
}

/** What a machine is made with to prove that it is the one: a token that serves once. A fresh one is another machine. */
export class EnrolmentToken extends pulumi.dynamic.Resource {
  declare readonly token: pulumi.Output<string>;

  constructor(name: string, args: EnrolmentTokenArgs, opts: pulumi.CustomResourceOptions = {}) {
    const secret = pulumi.mergeOptions(opts, { additionalSecretOutputs: ['token'] });
    super(tokens, name, { ...args, live: true, token: undefined }, secret, 'nxnw', 'EnrolmentToken');
  }
}

const enrolments: pulumi.dynamic.ResourceProvider = {
  async create(inputs) {
    const engine: Engine = require('@nxnw/migration/resources/engines/enrolment');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({
      id: `enrolment/${inputs.platformId}/${inputs.machine}`,
      outs: await engine.enrol(inputs, null, engineLog(inputs.logUrn)),
    }));
  },
  async diff(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/enrolment');
    return { changes: engine.enrolmentDiffers(olds, news, Date.now()) };
  },
  async update(_id, olds, news) {
    const engine: Engine = require('@nxnw/migration/resources/engines/enrolment');
    const { engineLog }: EngineLog = require('@nxnw/migration/resources/engines/engine-log');
    const { guarded }: Targets = require('@nxnw/migration/resources/engines/targets');
    return guarded(async () => ({ outs: await engine.enrol(news, olds, engineLog(news.logUrn)) }));
  },
};

export interface EnrolmentArgs {
  readonly authorityCert: pulumi.Input<string>;
  readonly authorityKey: pulumi.Input<string>;
  readonly platformId: pulumi.Input<string>;
  readonly machine: pulumi.Input<string>;
  /** Addresses and names that the machine's certificate is for. */
  readonly hosts: pulumi.Input<pulumi.Input<string>[]>;
  /** host:port at which the operator reaches the agent. */
  readonly agent: pulumi.Input<string>;
  /** Changes when the machine is replaced. */
  readonly serverId: pulumi.Input<string>;
  readonly token: pulumi.Input<string>;
  readonly operator: TlsInput;
  readonly days: pulumi.Input<number>;
  /** Longest wait for the machine to come up. */
  readonly waitMinutes: pulumi.Input<number>;
  /** Kind of the cloud, and the command that shows the machine's console there, for the error of one that does not boot. */
  readonly cloud: pulumi.Input<string>;
  readonly console: pulumi.Input<string>;
}

/** A machine as a member of its platform: it has made its key itself, and has a certificate for it. */
export class Enrolment extends pulumi.dynamic.Resource {
  /** host:port of the agent, once it serves. */
  declare readonly agent: pulumi.Output<string>;
  /** SHA-256 of the machine's public key, hex. */
  declare readonly fingerprint: pulumi.Output<string>;
  declare readonly expiresAtMs: pulumi.Output<number>;
  /** SHA-256 of the token that the machine was enrolled with, hex. */
  declare readonly usedToken: pulumi.Output<string>;

  constructor(name: string, args: EnrolmentArgs, opts: pulumi.CustomResourceOptions = {}) {
    super(
      enrolments,
      name,
      {
        ...args,
        authorityKey: pulumi.secret(args.authorityKey),
        token: pulumi.secret(args.token),
        operator: pulumi.secret(args.operator),
        logUrn: logUrn(name, 'Enrolment', opts.parent),
        fingerprint: undefined,
        expiresAtMs: undefined,
        usedToken: undefined,
      },
      opts,
      'nxnw',
      'Enrolment',
    );
  }
}
