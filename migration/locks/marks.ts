import { createHash } from 'node:crypto';
import { z } from 'zod';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type { MultiOp, ZooKeeper } from '@nxnw/platform/locks/client';

/** Where a sync keeps its own nodes, on each platform's ZooKeeper. */
export function syncRoot(name: string): string {
  return `/nxnw/lock-sync/${name}`;
}

const BUCKETS = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

const READS_IN_FLIGHT = 256;

const markSchema = z.object({ path: z.string(), owner: z.string() });

/**
 * The table of owner marks on the platform that receives: which of its persistent nodes are copies of ephemerals, and
 * of which session (hex) of the other platform. A mark is written and removed in the same multi as its node.
 */
export class Marks {
  private owners = new Map<string, string>();

  private readonly table: string;

  constructor(
    private readonly zk: ZooKeeper,
    syncName: string,
  ) {
    this.table = `${syncRoot(syncName)}/marks`;
  }

  get size(): number {
    return this.owners.size;
  }

  /** Paths of the marked nodes. */
  paths(): string[] {
    return [...this.owners.keys()];
  }

  has(path: string): boolean {
    return this.owners.has(path);
  }

  owner(path: string): string | undefined {
    return this.owners.get(path);
  }

  /** Makes the table if need be and reads it. */
  async load(): Promise<void> {
    await this.makeBuckets();
    const owners = new Map<string, string>();
    const lists = await Promise.all(BUCKETS.map((b) => this.zk.children(`${this.table}/${b}`)));
    const places = lists.flatMap(({ names }, i) => names.map((name) => `${this.table}/${BUCKETS[i] ?? ''}/${name}`));
    for (let i = 0; i < places.length; i += READS_IN_FLIGHT)
      await Promise.all(
        places.slice(i, i + READS_IN_FLIGHT).map(async (place) => {
          const found = await this.zk.tryGet(place);
          if (found === null) return;
          const mark = parseMark(place, found.data);
          owners.set(mark.path, mark.owner);
        }),
      );
    this.owners = owners;
  }

  private async makeBuckets(): Promise<void> {
    await this.zk.createRecursive(this.table);
    const { names } = await this.zk.children(this.table);
    const missing = BUCKETS.filter((b) => !names.includes(b));
    if (missing.length === 0) return;
    try {
      await this.zk.multi(missing.map((b) => ({ op: 'create', path: `${this.table}/${b}`, data: null })));
    } catch (e) {
      // Another sync makes them at this moment.
      if (!hasCode(e, 'NODE_EXISTS')) throw e;
      await this.makeBuckets();
    }
  }

  /** The operations that mark a node; call `marked` when they are done. */
  markOps(path: string, owner: string): MultiOp[] {
    const data = Buffer.from(JSON.stringify({ path, owner }));
    return this.has(path)
      ? [{ op: 'set', path: this.place(path), data }]
      : [{ op: 'create', path: this.place(path), data }];
  }

  /** The operations that take a mark away; call `unmarked` when they are done. */
  unmarkOps(path: string): MultiOp[] {
    return this.has(path) ? [{ op: 'remove', path: this.place(path) }] : [];
  }

  marked(path: string, owner: string): void {
    this.owners.set(path, owner);
  }

  unmarked(path: string): void {
    this.owners.delete(path);
  }

  private place(path: string): string {
    const hash = createHash('sha256').update(path).digest('hex');
    return `${this.table}/${hash.slice(0, 2)}/${hash.slice(2)}`;
  }

  /** Takes one mark away, by itself. */
  async unmark(path: string): Promise<void> {
    try {
      await this.zk.remove(this.place(path));
    } catch (e) {
      if (!hasCode(e, 'NO_NODE')) throw e;
    }
    this.owners.delete(path);
  }
}

function parseMark(at: string, data: Buffer | null): z.infer<typeof markSchema> {
  try {
    return markSchema.parse(JSON.parse((data ?? Buffer.alloc(0)).toString('utf8')));
  } catch (e) {
    throw new NxnwError('CORRUPT_NODE', `${at} in ZooKeeper is not an owner mark of the lock sync`, { path: at }, e);
  }
}
