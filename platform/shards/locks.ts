import type { PreparedTx } from './entry.js';
import type { Mutation, ReadSet, TxId } from './types.js';

type Reads = Pick<PreparedTx, 'readKeys' | 'readRanges'>;

const k = (b: Buffer): string => b.toString('latin1');

function inRange(r: { group: Buffer | null; kind: string | null }, group: Buffer, kind: string): boolean {
  return (r.group === null || r.group.equals(group)) && (r.kind === null || r.kind === kind);
}

/**
 * Keys of undecided PREPAREs (C13): nobody writes or reads what a prepared transaction writes, and nobody writes what it
 * has read, until it is decided. Built anew from the prepares; there are few.
 */
export class PrepareLocks {
  private readonly written = new Map<string, TxId>();
  private readonly read = new Map<string, TxId>();
  private readonly rows: { group: Buffer; kind: string; tx: TxId }[] = [];
  private readonly ranges: { tx: TxId; range: Reads['readRanges'][number] }[] = [];

  constructor(prepares: Iterable<PreparedTx>) {
    for (const p of prepares) {
      for (const r of p.rows) {
        this.written.set(k(r.key), p.tx);
        this.rows.push({ group: r.key.subarray(0, r.groupBytes), kind: r.kind, tx: p.tx });
      }
      for (const key of p.readKeys) this.read.set(k(key), p.tx);
      for (const range of p.readRanges) this.ranges.push({ tx: p.tx, range });
    }
  }

  get empty(): boolean {
    return this.written.size === 0 && this.read.size === 0 && this.ranges.length === 0;
  }

  /** The transaction that a reader of the key must wait for, or null. */
  blocksRead(key: Buffer): TxId | null {
    return this.written.get(k(key)) ?? null;
  }

  /** The transaction that a commit with these mutations and reads must wait for, or null. */
  blocksCommit(mutations: readonly Mutation[], reads: ReadSet): TxId | null {
    if (this.empty) return null;
    for (const m of mutations) {
      const tx =
        this.written.get(k(m.key)) ??
        this.read.get(k(m.key)) ??
        this.ranges.find((r) => inRange(r.range, m.group, m.kind))?.tx;
      if (tx !== undefined) return tx;
    }
    for (const r of reads.keys) {
      const tx = this.written.get(k(r.key));
      if (tx !== undefined) return tx;
    }
    for (const range of reads.ranges) {
      const row = this.rows.find((r) => inRange(range, r.group, r.kind));
      if (row) return row.tx;
    }
    return null;
  }
}
