import { encodeKey, groupOf } from '@nxnw/platform/datastore/keys';
import type { Key, PathElement } from '@nxnw/platform/datastore/keys';
import { keyMessage } from '@nxnw/platform/datastore/messages';
import { entityCodec, fromBigInt } from '@nxnw/platform/datastore/proto';
import { shardOf } from '@nxnw/platform/datastore/token';
import type { Mutation, ShardWrites } from '@nxnw/platform/shards/types';

export const PROJECT = 'shop';

export function key(namespace: string, ...path: PathElement[]): Key {
  return { project: PROJECT, database: '', namespace, path };
}

/** Value messages in the shape that protobufjs encodes. */
export const value = {
  null: (): object => ({ nullValue: 0 }),
  int: (n: number): object => ({ integerValue: fromBigInt(BigInt(n)) }),
  text: (s: string): object => ({ stringValue: s }),
  bool: (b: boolean): object => ({ booleanValue: b }),
  double: (n: number): object => ({ doubleValue: n }),
  key: (k: Key): object => ({ keyValue: keyMessage(k) }),
  list: (...values: object[]): object => ({ arrayValue: { values } }),
  entity: (properties: Record<string, object>): object => ({ entityValue: { properties } }),
};

export function entityBytes(k: Key, properties: Record<string, object>): Buffer {
  return entityCodec.encode({ key: keyMessage(k), properties });
}

/** Mutation of one entity: upsert, or delete without properties. */
export function mutation(k: Key, properties: Record<string, object> | null): Mutation {
  const bytes = encodeKey(k);
  return {
    op: properties ? 'upsert' : 'delete',
    key: bytes,
    group: groupOf(bytes),
    kind: k.path.at(-1)?.kind ?? '',
    entity: properties && entityBytes(k, properties),
    baseVersion: null,
    onConflict: 'server',
  };
}

/** Shard after shard, without reads. */
export function writesOf(mutations: readonly Mutation[], shards: number): ShardWrites[] {
  const byShard = new Map<number, Mutation[]>();
  for (const m of mutations) {
    const index = shardOf(m.group, shards);
    byShard.set(index, [...(byShard.get(index) ?? []), m]);
  }
  return [...byShard].map(([index, ms]) => ({
    shard: { app: PROJECT, index },
    mutations: ms,
    reads: { keys: [], ranges: [] },
  }));
}
