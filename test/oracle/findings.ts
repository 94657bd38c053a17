/** What an oracle can find wrong with a history. */
export const KINDS = [
  'lost', // an acknowledged write is not there, or was not seen by what began later
  'torn', // a commit is there in part
  'resurrected', // something deleted is there again
  'duplicated', // a commit applied twice, or an entity there twice
  'duplicateIds', // an id or a sequence number given twice
  'stale', // a cached value older than a write acknowledged before the read began
  'phantom', // a state that nobody wrote, that was refused, or that was seen before it was written
  'version', // a version that fell
  'authority', // two owners whose answers both count
] as const;
export type Kind = (typeof KINDS)[number];

export interface Finding {
  readonly kind: Kind;
  /** `Place/123`, `Note/c1-4`, `shop/3`. */
  readonly key: string;
  /** Nonces of the operations concerned, the victim first. */
  readonly nonces: readonly string[];
  readonly text: string;
}

const MAX_KEPT = 200;

/** Counts every finding, and keeps the first ones with their words. */
export class Findings {
  readonly counts: Record<Kind, number> = {
    lost: 0,
    torn: 0,
    resurrected: 0,
    duplicated: 0,
    duplicateIds: 0,
    stale: 0,
    phantom: 0,
    version: 0,
    authority: 0,
  };
  readonly kept: Finding[] = [];
  private readonly seen = new Set<string>();

  /** The same kind with the same key and victim is one finding, however often it was observed. */
  add(kind: Kind, key: string, nonces: readonly string[], text: string): void {
    const id = `${kind} ${key} ${nonces[0] ?? ''}`;
    if (this.seen.has(id)) return;
    this.seen.add(id);
    this.counts[kind]++;
    if (this.kept.length < MAX_KEPT) this.kept.push({ kind, key, nonces, text });
  }

  get total(): number {
    return this.seen.size;
  }
}
