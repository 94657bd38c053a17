import type { ShardClient, ShardId } from '../shards/types.js';
import { NxnwError } from '../errors.js';
import type { CheckContext } from './checks.js';
import { encodeKey, groupOf } from './keys.js';
import type { Key } from './keys.js';
import type { DoorLimits } from './limits.js';
import { shardOf } from './token.js';
import type { TransactionTable } from './transactions.js';

export interface DoorClock {
  /** Microseconds since 1970; slewed, never jumping. */
  nowUs(): number;
}

/** The time at which reads over several shards look: above every version that this process has seen. */
export class ReadTime {
  private floorUs = 0;

  constructor(
    private readonly clock: DoorClock,
    private readonly clockSkewUs: number,
  ) {}

  now(): number {
    this.floorUs = Math.max(this.floorUs, this.clock.nowUs() + this.clockSkewUs);
    return this.floorUs;
  }

  saw(versionUs: number): void {
    if (versionUs > this.floorUs) this.floorUs = versionUs;
  }
}

/** What every method of the API works with: one project's shards, limits, time and transactions. */
export interface Service extends CheckContext {
  readonly client: ShardClient;
  readonly limits: DoorLimits;
  readonly readTime: ReadTime;
  readonly transactions: TransactionTable;
}

/** One request on its way. */
export interface Call {
  readonly service: Service;
  /** Absolute, milliseconds since 1970. */
  readonly deadlineMs: number;
}

/** Throws DEADLINE_EXCEEDED if the call's time is over. */
export function checkDeadline(call: Call, what: string): void {
  if (Date.now() >= call.deadlineMs)
    throw new NxnwError('DEADLINE_EXCEEDED', `${what}: the deadline of the request has passed`);
}

/** Every shard of the project. */
export async function allShards({ client, project }: Service): Promise<ShardId[]> {
  const count = await client.shardCount(project);
  return Array.from({ length: count }, (_, index) => ({ app: project, index }));
}

/** A key with its bytes, its group and its shard. */
export interface PlacedKey {
  readonly key: Key;
  readonly bytes: Buffer;
  readonly group: Buffer;
  readonly shard: number;
}

export function placeKey(key: Key, shardCount: number): PlacedKey {
  const bytes = encodeKey(key);
  const group = groupOf(bytes);
  return { key, bytes, group, shard: shardOf(group, shardCount) };
}

/** The items of each shard, by its index. */
export function byShard<T>(items: readonly T[], shard: (item: T) => number): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const index = shard(item);
    const group = groups.get(index);
    if (group) group.push(item);
    else groups.set(index, [item]);
  }
  return groups;
}
