import { createHash } from 'node:crypto';
import { z } from 'zod';
import { NxnwError, hasCode } from '../errors.js';
import { shardName } from '../shards/types.js';
import type { ShardId } from '../shards/types.js';
import { LiveTree } from './live-tree.js';
import { MEMBERS, ProcessSession } from './process-session.js';
import type { Member } from './process-session.js';

export { AppRegistry } from './app-registry.js';
export type { AppRecord } from './app-registry.js';
export { ProcessSession } from './process-session.js';
export type { Member, ProcessSessionOptions } from './process-session.js';

const SHARDS = '/nxnw/shards';

const memberSchema = z.object({ process: z.string().min(1), endpoint: z.string().min(1), boot: z.string() });

/** Name and lock of a shard's owner. A hint for speed; the shard's log decides (C12). */
export class ShardLocks {
  private readonly held = new Map<string, ShardId>();
  private readonly offExpired: () => void;

  private constructor(
    private readonly session: ProcessSession,
    private readonly live: LiveTree<Member>,
    private readonly owners: LiveTree<Member>,
    private readonly listeners: Set<() => void>,
    private readonly failed: (e: unknown) => void,
  ) {
    this.offExpired = session.on('expired', () => this.expired());
  }

  /** Knows all owners and members when it resolves. `failed` hears of nodes that cannot be read. */
  static async open(session: ProcessSession, failed: (e: unknown) => void): Promise<ShardLocks> {
    const listeners = new Set<() => void>();
    const changed = () => {
      for (const fn of [...listeners]) fn();
    };
    const { zk } = session;
    const member = (path: string, data: Buffer) => (path === MEMBERS ? null : parseMember(path, data));
    const live = await LiveTree.open({ zk, root: MEMBERS, parse: member, changed, failed });
    const owner = (path: string, data: Buffer) => (path.endsWith('/owner') ? parseMember(path, data) : null);
    const owners = await LiveTree.open({ zk, root: SHARDS, parse: owner, changed, failed });
    return new ShardLocks(session, live, owners, listeners, failed);
  }

  /** Nothing is held any more. Locks of a session that goes on (another process took our name) are removed. */
  private expired(): void {
    const shards = this.heldShards();
    if (this.session.zk.isConnected) for (const s of shards) this.release(s).catch(this.failed);
    this.held.clear();
  }

  /** Called after members or owners changed. */
  onChange(fn: () => void): () => void {
    this.listeners.add(fn);
    return () => void this.listeners.delete(fn);
  }

  /** Live processes by name, as last known. */
  members(): ReadonlyMap<string, Member> {
    return new Map([...this.live.entries()].map(([, m]) => [m.process, m]));
  }

  /** The shard's owner as last known; undefined = none. */
  owner(shard: ShardId): Member | undefined {
    return this.owners.get(lockPath(shard));
  }

  /** True if this process made the shard's lock in its present session. */
  holds(shard: ShardId): boolean {
    return this.held.has(shardName(shard));
  }

  heldShards(): ShardId[] {
    return [...this.held.values()];
  }

  /**
   * Takes the shard's lock if nobody has it. False = somebody has it. An unknown outcome (CONNECTION_LOSS) is found
   * out by reading; if that fails too, the error is thrown and the lock, if made, is found by the next try.
   */
  async tryAcquire(shard: ShardId): Promise<boolean> {
    const { zk } = this.session;
    const path = lockPath(shard);
    if (!this.session.registered) return false;
    const sessionId = zk.sessionId;
    const content = Buffer.from(JSON.stringify(this.session.member));
    try {
      await zk.create(path, content, { mode: 'ephemeral' });
    } catch (e) {
      if (hasCode(e, 'NO_NODE')) {
        await zk.createRecursive(path.slice(0, path.lastIndexOf('/')));
        return this.tryAcquire(shard);
      }
      if (!hasCode(e, 'NODE_EXISTS', 'CONNECTION_LOSS', 'DEADLINE_EXCEEDED')) throw e;
      const found = await zk.exists(path);
      if (found?.ephemeralOwner !== sessionId) return false;
    }
    if (zk.sessionId !== sessionId || !this.session.registered) return false;
    this.held.set(shardName(shard), shard);
    return true;
  }

  /** Gives the lock up. It is forgotten here at once; another process may take it. */
  async release(shard: ShardId): Promise<void> {
    const { zk } = this.session;
    if (!this.held.delete(shardName(shard))) return;
    const found = await zk.exists(lockPath(shard));
    if (found?.ephemeralOwner !== zk.sessionId) return;
    try {
      await zk.remove(lockPath(shard), found.version);
    } catch (e) {
      if (!hasCode(e, 'NO_NODE')) throw e;
    }
  }

  /** Who should take which of the application's shards, by the members as last known; the same in every process. */
  designated(app: string, shards: number): Map<number, string> {
    return designate(app, shards, [...this.members().keys()]);
  }

  close(): void {
    this.offExpired();
    this.live.close();
    this.owners.close();
  }
}

/**
 * Rendezvous hashing with a bound: each shard goes to the member that scores highest for it among those with fewer
 * than ceil(shards / members) of the application's shards. Pure; no members = nobody.
 */
export function designate(app: string, shards: number, members: readonly string[]): Map<number, string> {
  const bound = Math.ceil(shards / Math.max(1, members.length));
  const load = new Map<string, number>();
  const result = new Map<number, string>();
  for (let index = 0; index < shards; index++) {
    const free = members.filter((m) => (load.get(m) ?? 0) < bound);
    const best = ranked({ app, index }, free)[0];
    if (best === undefined) continue;
    load.set(best, (load.get(best) ?? 0) + 1);
    result.set(index, best);
  }
  return result;
}

/** Members by their score for a shard, highest first. */
export function ranked(shard: ShardId, members: readonly string[]): string[] {
  const score = (m: string) =>
    createHash('sha256')
      .update(`${m}\0${shardName(shard)}`)
      .digest('hex');
  return members
    .map((m) => [score(m), m] as const)
    .sort(([a], [b]) => (a < b ? 1 : -1))
    .map(([, m]) => m);
}

function lockPath(shard: ShardId): string {
  return `${SHARDS}/${shard.app}/${shard.index}/owner`;
}

function parseMember(path: string, data: Buffer): Member {
  try {
    return memberSchema.parse(JSON.parse(data.toString('utf8')));
  } catch (e) {
    throw new NxnwError('CORRUPT_NODE', `${path} in ZooKeeper is not a process record`, { path }, e);
  }
}
