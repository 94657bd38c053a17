import type { IndexKey, Indexer } from './types.js';

/** Index keys of entities that are not applied yet, made once for all queries that meet them. */
export class IndexMemo {
  private readonly made = new WeakMap<Buffer, IndexKey[]>();

  constructor(private readonly indexer: Indexer) {}

  of(entity: Buffer): IndexKey[] {
    let keys = this.made.get(entity);
    if (!keys) this.made.set(entity, (keys = this.indexer(entity)));
    return keys;
  }

  /** For the last time: the entity is being applied, and queries find its index rows in the store. */
  take(entity: Buffer): IndexKey[] {
    const keys = this.made.get(entity) ?? this.indexer(entity);
    this.made.delete(entity);
    return keys;
  }
}
