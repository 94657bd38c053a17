import type { Key, Partition, PathElement } from './keys.js';
import { fromBigInt, toBigInt } from './proto.js';
import type { Int64, KeyMessage, PathElementMessage, TimestampMessage } from './proto.js';

/** A complete, normalised key message (checked before: see checks.ts) as a Key. */
export function keyOf(m: KeyMessage): Key {
  return {
    project: m.partitionId?.projectId ?? '',
    database: m.partitionId?.databaseId ?? '',
    namespace: m.partitionId?.namespaceId ?? '',
    path: m.path.map(elementOf),
  };
}

/** A complete path element. */
export function elementOf(e: PathElementMessage): PathElement {
  return e.idType === 'name' ? { kind: e.kind, name: e.name } : { kind: e.kind, id: toBigInt(e.id) };
}

/** True if the element's id is one: not 0. */
export function hasId(e: PathElementMessage): boolean {
  return e.id.low !== 0 || e.id.high !== 0;
}

/** A key in the shape that protobufjs encodes. */
export function keyMessage(key: Key): object {
  return {
    partitionId: partitionMessage(key),
    path: key.path.map((e) =>
      e.id === undefined ? { kind: e.kind, name: e.name } : { kind: e.kind, id: fromBigInt(e.id) },
    ),
  };
}

/** Default parts are left out, as the public API does. */
export function partitionMessage(p: Partition): object {
  return {
    projectId: p.project,
    ...(p.database === '' ? {} : { databaseId: p.database }),
    ...(p.namespace === '' ? {} : { namespaceId: p.namespace }),
  };
}

/** Microseconds since 1970, rounded down. */
export function microsOf(t: TimestampMessage): bigint {
  return toBigInt(t.seconds) * 1_000_000n + BigInt(Math.floor(t.nanos / 1000));
}

export function timestampMessage(us: number): { seconds: Int64; nanos: number } {
  const seconds = Math.floor(us / 1_000_000);
  return { seconds: fromBigInt(BigInt(seconds)), nanos: (us - seconds * 1_000_000) * 1000 };
}
