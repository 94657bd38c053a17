import { PolicyPack } from '@pulumi/policy';
import type { PolicyConfigSchema, ResourceValidationPolicy, StackValidationPolicy } from '@pulumi/policy';
import { edgeWithoutCertificate, openPlainPorts, stageJump, ttlOutOfBounds, unprotectedData } from './rules.js';
import type { Faults, TtlBounds } from './rules.js';
import type { Seen } from './values.js';

interface Given {
  readonly type: string;
  readonly name: string;
  readonly props: Record<string, unknown>;
  readonly opts: { readonly protect: boolean };
}

const seen = ({ type, name, props, opts }: Given): Seen => ({ type, name, props, protect: opts.protect });

interface Rule {
  readonly name: string;
  readonly description: string;
  readonly configSchema?: PolicyConfigSchema;
}

function onResource(rule: Rule, check: (r: Seen, config: TtlBounds) => Faults): ResourceValidationPolicy {
  return {
    ...rule,
    enforcementLevel: 'mandatory',
    validateResource: (args, report) => {
      for (const fault of check(seen(args), args.getConfig<TtlBounds>())) report(fault);
    },
  };
}

function onStack(rule: Rule, check: (all: readonly Seen[]) => Faults): StackValidationPolicy {
  return {
    ...rule,
    enforcementLevel: 'mandatory',
    validateStack: (args, report) => {
      for (const fault of check(args.resources.map(seen))) report(fault);
    },
  };
}

new PolicyPack('nxnw', {
  policies: [
    onStack(
      { name: 'data-protected', description: 'Machines with stores or locks are protected, outside the local cloud.' },
      unprotectedData,
    ),
    onResource(
      { name: 'edge-certificate', description: 'Edges have a certificate, outside the local cloud.' },
      edgeWithoutCertificate,
    ),
    onResource(
      { name: 'no-open-plain-ports', description: 'What listens without TLS listens on private addresses.' },
      openPlainPorts,
    ),
    onResource(
      {
        name: 'ttl-bounds',
        description: 'The TTL of the clients’ name is short enough to move it.',
        configSchema: {
          properties: {
            minSeconds: { type: 'number', minimum: 1, default: 5 },
            maxSeconds: { type: 'number', minimum: 1, default: 300 },
          },
        },
      },
      ttlOutOfBounds,
    ),
    onStack({ name: 'one-stage-at-a-time', description: 'A migration goes up one stage at a time.' }, stageJump),
  ],
});
