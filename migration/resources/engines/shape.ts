import { NxnwError } from '@nxnw/platform/errors';
import { canonical } from './canonical.js';

export interface ShapeInputs {
  readonly platformId: string;
  readonly shape: {
    readonly store: string;
    readonly storeNodes: number;
    readonly replication: number;
    readonly lockNodes: number;
    /** By application. */
    readonly shards: Readonly<Record<string, number>>;
    /** How often each machine was asked to be made anew. */
    readonly replace: Readonly<Record<string, number>>;
  };
}

const MIGRATE =
  'stand up another stack with it, with migrateFrom naming this one: the data moves there while applications serve';

/** What is fixed for a platform's life, where the configuration says it, and why. */
const FIXED = [
  ['store', 'nxnw:store.kind', 'the data lies in it'],
  ['storeNodes', 'nxnw:store.nodes', 'its nodes cannot hand their data over to others here'],
  ['replication', 'nxnw:store.replication', 'rows that are there would not be copied'],
  ['lockNodes', 'nxnw:locks.nodes', 'ZooKeeper servers without data could outvote the one that has it'],
] as const;

/**
 * Refuses what a running platform cannot take on.
 * @param old as it was made; {} for a platform that is new
 * @throws CANNOT_CHANGE with every fault
 */
export function checkShape(old: Partial<ShapeInputs>, wanted: ShapeInputs): void {
  if (old.shape === undefined || old.platformId !== wanted.platformId) return;
  const before = old.shape;
  const faults: string[] = FIXED.filter(([key]) => before[key] !== wanted.shape[key]).map(
    ([key, path, why]) =>
      `${path}: is ${String(before[key])} and stays so (given: ${String(wanted.shape[key])}): ${why}`,
  );
  for (const [app, shards] of Object.entries(wanted.shape.shards)) {
    const has = before.shards[app] ?? shards;
    if (has !== shards)
      faults.push(
        `nxnw:datastore.shards: application ${app} has ${String(has)} and keeps them (given: ${String(shards)})`,
      );
  }
  if (faults.length > 0)
    throw new NxnwError(
      'CANNOT_CHANGE',
      `platform ${wanted.platformId} runs and cannot be changed so:\n${faults.map((f) => `  ${f}`).join('\n')}\nNothing was changed. Take the change back; to have it all the same, ${MIGRATE}.`,
      { faults },
    );
  refuseSeveral(before.replace, wanted);
}

/** Machines that hold data or take the clients' requests are replaced one at a time. */
function refuseSeveral(before: ShapeInputs['shape']['replace'], { platformId, shape }: ShapeInputs): void {
  const raised = Object.entries(shape.replace).filter(([m, n]) => n > (before[m] ?? 0) && !m.startsWith('app-'));
  if (raised.length <= 1) return;
  const names = raised.map(([m]) => m);
  throw new NxnwError(
    'CANNOT_CHANGE',
    `platform ${platformId} runs, and the configuration asks to replace ${names.join(' and ')} at the same time. Nothing was changed. Name one in \`replace\`, run \`nxnw up\`, wait until \`nxnw doctor\` finds all well, and then name the next.`,
    { machines: names },
  );
}

export function shapeDiffers(old: ShapeInputs, wanted: ShapeInputs): boolean {
  return canonical(old.shape) !== canonical(wanted.shape);
}
