import { NxnwError } from '../errors.js';
import type { LogRow } from './entry.js';
import { rowBytes, rowDigest } from './entry.js';
import type { Mutation, MutationAnswer, ReadSet, RowImage } from './types.js';
import type { RecentVersions } from './versions.js';

const k = (b: Buffer): string => b.toString('latin1');

/** Rows as they stand for the next commit of a batch: the store's, recent versions, and the batch's own writes. */
export class BatchView {
  private readonly own = new Map<string, LogRow>();
  /** Row that stood before the batch, by key, for the history window. */
  readonly bases = new Map<string, RowImage | null>();

  constructor(
    private readonly recent: RecentVersions,
    private readonly stored: ReadonlyMap<string, RowImage | null>,
  ) {}

  current(key: Buffer): RowImage | null {
    const id = k(key);
    const row = this.own.get(id) ?? this.recent.newest(key) ?? this.stored.get(id) ?? null;
    return row?.entity ? row : null;
  }

  /** Also a deleted entity's record, so that versions of a key only rise. */
  private versionFloor(key: Buffer): number {
    const id = k(key);
    return (this.own.get(id) ?? this.recent.newest(key) ?? this.stored.get(id))?.version ?? 0;
  }

  private base(key: Buffer): void {
    const id = k(key);
    if (!this.own.has(id) && !this.recent.newest(key)) this.bases.set(id, this.stored.get(id) ?? null);
  }

  /** Throws ABORTED when something that the transaction has read was written since. */
  validate(reads: ReadSet): void {
    for (const r of reads.keys)
      if (this.own.has(k(r.key)) || this.recent.writtenAfter(r.key, r.at))
        throw conflict('an entity that the transaction has read');
    for (const r of reads.ranges) {
      const mine = [...this.own.values()].some(
        (w) =>
          (r.group === null || w.key.subarray(0, w.groupBytes).equals(r.group)) &&
          (r.kind === null || w.kind === r.kind),
      );
      if (mine || this.recent.rangeWrittenAfter(r.group, r.kind, r.at))
        throw conflict('a range of entities that the transaction has queried');
    }
  }

  /** What the mutations make of the rows at `version`; nothing is kept until `accept`. */
  evaluate(mutations: readonly Mutation[], version: number): { rows: LogRow[]; answers: MutationAnswer[] } {
    const rows: LogRow[] = [];
    const answers: MutationAnswer[] = [];
    const mine = new Map<string, LogRow>();
    for (const m of mutations) {
      const id = k(m.key);
      const before = mine.get(id);
      const cur = before ? (before.entity ? before : null) : this.current(m.key);
      const now = cur?.version ?? 0;
      if (m.baseVersion !== null && m.baseVersion !== now) {
        if (m.onConflict === 'fail')
          throw conflict(`an entity has version ${now}, the mutation expects ${m.baseVersion}`);
        answers.push({
          version: now || version,
          createdUs: cur?.createdUs ?? 0,
          updatedUs: cur?.updatedUs ?? 0,
          conflictDetected: true,
        });
        continue;
      }
      if (m.op === 'insert' && cur)
        throw new NxnwError('ALREADY_EXISTS', 'entity already exists: insert is for a new key; use upsert or update');
      if (m.op === 'update' && !cur)
        throw new NxnwError('NOT_FOUND', 'no entity to update: update is for an existing key; use upsert or insert');
      const entity = m.op === 'delete' ? null : m.entity;
      const createdUs = cur?.createdUs ?? version;
      answers.push({ version, createdUs: entity ? createdUs : 0, updatedUs: version, conflictDetected: false });
      if (!entity && !cur) continue;
      if (this.versionFloor(m.key) >= version)
        throw new NxnwError('INTERNAL', `version ${version} does not lie above the key's ${this.versionFloor(m.key)}`);
      const row: LogRow = {
        key: m.key,
        version,
        createdUs,
        updatedUs: version,
        entity,
        groupBytes: m.group.length,
        kind: m.kind,
        was: cur ? rowDigest(cur) : null,
        wasBytes: cur ? rowBytes(cur) : 0,
      };
      if (before)
        rows.splice(
          rows.findIndex((r) => k(r.key) === id),
          1,
          { ...row, was: before.was, wasBytes: before.wasBytes },
        );
      else rows.push(row);
      mine.set(id, row);
    }
    return { rows, answers };
  }

  accept(rows: readonly LogRow[]): void {
    for (const r of rows) {
      this.base(r.key);
      this.own.set(k(r.key), r);
    }
  }
}

function conflict(what: string): NxnwError {
  return new NxnwError(
    'ABORTED',
    `transaction conflict: ${what} was changed by another one; nothing was committed, begin the transaction again`,
  );
}
