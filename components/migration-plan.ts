import * as pulumi from '@pulumi/pulumi';
import {
  STAGE_OF,
  stageRank,
  type MigrationFacts,
  type MigrationOptions,
  type PhaseName,
  type Stage,
} from '@nxnw/migration/coordinator/api';
import { WantedMigration } from '@nxnw/migration/resources/migration';
import { Phase } from '@nxnw/migration/resources/phase';
import type { TlsInput } from '@nxnw/migration/resources/tls';

/** Each phase and those that must be reached before it is waited for. */
export const PHASE_ORDER: readonly (readonly [PhaseName, readonly PhaseName[]])[] = [
  ['AppSync', []],
  ['LockSync', ['AppSync']],
  ['CacheWarmup', ['AppSync']],
  ['DataFollow', ['AppSync']],
  ['SnapshotLoad', ['DataFollow']],
  ['Verification', ['SnapshotLoad', 'LockSync', 'CacheWarmup']],
  ['Cutover', ['Verification']],
  ['DnsHandoff', ['Cutover']],
  ['Finalize', ['DnsHandoff']],
];

/** The phases that lead to `stage`, in their order. */
export function phasesTo(stage: Stage): readonly PhaseName[] {
  return PHASE_ORDER.map(([phase]) => phase).filter((p) => stageRank(STAGE_OF[p]) <= stageRank(stage));
}

export interface MigrationArgs {
  readonly coordinator: pulumi.Input<string>;
  readonly operator: TlsInput;
  /** The source's join bundle, JSON text. */
  readonly join: pulumi.Input<string>;
  readonly stage: Stage;
  readonly attempt: number;
  readonly apps: readonly string[];
  readonly options: MigrationOptions;
  /** Longest wait of each phase; 0 = no limit. */
  readonly waitMinutes: number;
  /** Name of the stack, for the commands that the outputs name. */
  readonly stack: string;
}

/**
 * The move of a running platform to the one of this stack: the wanted stage, and the phases that lead there, each
 * waited for. Outputs are facts fixed when the last of them was reached.
 */
export class Migration extends pulumi.ComponentResource {
  readonly stage: pulumi.Output<Stage | null>;
  readonly serving: pulumi.Output<MigrationFacts['serving']>;
  readonly entities: pulumi.Output<number>;
  readonly bytes: pulumi.Output<number>;
  readonly digest: pulumi.Output<string>;
  readonly stallMs: pulumi.Output<number | null>;
  readonly switchedAt: pulumi.Output<string | null>;
  readonly movedAt: pulumi.Output<string | null>;
  readonly report: pulumi.Output<MigrationFacts['report']>;
  readonly statusCommand: pulumi.Output<string>;
  readonly backCommand: pulumi.Output<string>;

  constructor(name: string, args: MigrationArgs, opts: pulumi.ComponentResourceOptions = {}) {
    super('nxnw:index:Migration', name, {}, opts);
    const { coordinator, operator, attempt, waitMinutes } = args;
    const wanted = new WantedMigration(
      `${name}-intent`,
      {
        coordinator,
        operator,
        stage: args.stage,
        attempt,
        apps: [...args.apps],
        options: args.options,
        join: pulumi.secret(args.join),
      },
      { parent: this },
    );
    const made = new Map<PhaseName, Phase>();
    let last: Phase | undefined;
    for (const phase of phasesTo(args.stage)) {
      const before = PHASE_ORDER.find(([p]) => p === phase)?.[1] ?? [];
      last = new Phase(
        phase,
        `${name}-${phase.toLowerCase()}`,
        { coordinator, operator, attempt, waitMinutes },
        { parent: this, dependsOn: [wanted, ...before.flatMap((b) => made.get(b) ?? [])] },
      );
      made.set(phase, last);
    }
    if (last === undefined) throw new Error('every stage has at least one phase');
    const facts = last.facts;
    this.stage = facts.apply((f) => f.stage);
    this.serving = facts.apply((f) => f.serving);
    this.entities = facts.apply((f) => f.entities);
    this.bytes = facts.apply((f) => f.bytes);
    this.digest = facts.apply((f) => f.digest);
    this.stallMs = facts.apply((f) => f.stallMs);
    this.switchedAt = facts.apply((f) => f.switchedAt);
    this.movedAt = facts.apply((f) => f.movedAt);
    this.report = facts.apply((f) => f.report);
    this.statusCommand = pulumi.output(`nxnw status --stack ${args.stack}`);
    this.backCommand = facts.apply((f) =>
      f.stage === 'switched' || f.stage === 'moved' ? `nxnw back --stack ${args.stack} --reason "…"` : '',
    );
    this.registerOutputs(this.outputs());
  }

  outputs(): Record<string, unknown> {
    const { stage, serving, entities, bytes, digest, stallMs, switchedAt, movedAt, report } = this;
    const { statusCommand, backCommand } = this;
    const facts = { stage, serving, entities, bytes, digest, stallMs, switchedAt, movedAt, report };
    return { ...facts, statusCommand, backCommand };
  }
}
