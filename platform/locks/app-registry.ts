import { z } from 'zod';
import { NxnwError, hasCode } from '../errors.js';
import { LiveTree } from './live-tree.js';
import type { ZooKeeper } from './client.js';

export const APPS = '/nxnw/apps';

const appSchema = z.object({
  /** Number of shards, a power of two; never changes. */
  shards: z.int().min(1).max(4096).refine((n) => (n & (n - 1)) === 0, 'must be a power of two'),
  /** Where the application was made: here, or on the platform that we migrate from. */
  origin: z.enum(['self', 'peer']),
  /** Table generation of the load whose rows count (C10). */
  generation: z.int().min(0),
}); // prettier-ignore

export type AppRecord = z.infer<typeof appSchema>;

/** The applications of a platform, as nodes under /nxnw/apps, known live by every process. */
export class AppRegistry {
  private constructor(
    private readonly zk: ZooKeeper,
    private readonly tree: LiveTree<AppRecord>,
    private readonly listeners: Set<() => void>,
  ) {}

  /** `failed` hears of nodes that cannot be read; they are left out. */
  static async open(zk: ZooKeeper, failed: (e: unknown) => void): Promise<AppRegistry> {
    const listeners = new Set<() => void>();
    const tree = await LiveTree.open({
      zk,
      root: APPS,
      parse: (path, data) => (path === APPS ? null : parseApp(path, data)),
      changed: () => {
        for (const fn of [...listeners]) fn();
      },
      failed,
    });
    return new AppRegistry(zk, tree, listeners);
  }

  /** From memory; may be behind by a moment. */
  get(app: string): AppRecord | undefined {
    return this.tree.get(path(app));
  }

  all(): ReadonlyMap<string, AppRecord> {
    return new Map([...this.tree.entries()].map(([p, record]) => [p.slice(APPS.length + 1), record]));
  }

  onChange(fn: () => void): () => void {
    this.listeners.add(fn);
    return () => void this.listeners.delete(fn);
  }

  /** From ZooKeeper; null = no such application. */
  async read(app: string): Promise<{ record: AppRecord; version: number } | null> {
    const found = await this.zk.tryGet(path(app));
    if (found === null) return null;
    return { record: parseApp(path(app), found.data ?? Buffer.alloc(0)), version: found.stat.version };
  }

  /** Registers the application if it is new. One with another number of shards is refused (SHARDS_DIFFER). */
  async ensure(app: string, record: AppRecord): Promise<AppRecord> {
    const wanted = appSchema.parse(record);
    try {
      await this.zk.createRecursive(APPS);
      await this.zk.create(path(app), encode(wanted));
      return wanted;
    } catch (e) {
      if (!hasCode(e, 'NODE_EXISTS')) throw e;
    }
    const held = await this.read(app);
    if (held === null) return this.ensure(app, record);
    if (held.record.shards !== wanted.shards)
      throw new NxnwError(
        'SHARDS_DIFFER',
        `application ${app} has ${held.record.shards} shards and cannot have ${wanted.shards}; use ${held.record.shards}`,
        { app, has: held.record.shards, asked: wanted.shards },
      );
    return held.record;
  }

  /** Changes a record if nobody else did since `version` was read; BAD_VERSION otherwise. */
  async update(app: string, record: AppRecord, version: number): Promise<void> {
    await this.zk.set(path(app), encode(appSchema.parse(record)), version);
  }

  close(): void {
    this.tree.close();
  }
}

function path(app: string): string {
  return `${APPS}/${app}`;
}

function encode(record: AppRecord): Buffer {
  return Buffer.from(JSON.stringify(record));
}

function parseApp(at: string, data: Buffer): AppRecord {
  try {
    return appSchema.parse(JSON.parse(data.toString('utf8')));
  } catch (e) {
    throw new NxnwError('CORRUPT_NODE', `${at} in ZooKeeper is not an application record`, { path: at }, e);
  }
}
