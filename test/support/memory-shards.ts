import { NxnwError } from '@nxnw/platform/errors';
import { indexer } from '@nxnw/platform/datastore/indexes';
import { queryEngine } from '@nxnw/platform/datastore/query/engine';
import { comparePositions } from '@nxnw/platform/shards/types';
import type {
  Authority,
  CommitAnswer,
  CommitRequest,
  IndexHit,
  LookupAnswer,
  Mutation,
  MutationAnswer,
  Position,
  QueryAnswer,
  RowImage,
  ShardClient,
  ShardId,
  ShardReader,
  ShardWrites,
} from '@nxnw/platform/shards/types';

/** Keys in byte order, each with a value. */
class Sorted<T> {
  private readonly keys: Buffer[] = [];
  private readonly values: T[] = [];

  private place(key: Buffer): number {
    let lo = 0;
    for (let hi = this.keys.length; lo < hi;) {
      const mid = (lo + hi) >>> 1;
      if ((this.keys[mid]?.compare(key) ?? 0) < 0) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }

  get(key: Buffer): T | undefined {
    const i = this.place(key);
    return this.keys[i]?.equals(key) ? this.values[i] : undefined;
  }

  getOrAdd(key: Buffer, fresh: () => T): T {
    const i = this.place(key);
    const found = this.keys[i]?.equals(key) ? this.values[i] : undefined;
    if (found !== undefined) return found;
    const value = fresh();
    this.keys.splice(i, 0, key);
    this.values.splice(i, 0, value);
    return value;
  }

  *scan(from: Buffer | null, to: Buffer | null, order: 'asc' | 'desc'): Generator<[Buffer, T]> {
    const start = from ? this.place(from) : 0;
    const end = to ? this.place(to) : this.keys.length;
    const step = order === 'asc' ? 1 : -1;
    for (let i = order === 'asc' ? start : end - 1; i >= start && i < end; i += step) {
      const key = this.keys[i];
      const value = this.values[i];
      if (key && value !== undefined) yield [key, value];
    }
  }
}

interface Written {
  readonly slot: number;
  readonly mutations: readonly Mutation[];
}

class MemoryShard {
  readonly rows = new Sorted<RowImage[]>();
  /** Rows that were ever present: a scan may meet rows that are gone at T. */
  readonly index = new Sorted<Sorted<true>>();
  readonly log: Written[] = [];

  get at(): Position {
    return { epoch: 1, slot: this.log.length };
  }

  row(key: Buffer, atUs: number): RowImage | null {
    const image = this.rows.get(key)?.findLast((r) => r.version <= atUs);
    return image?.entity ? image : null;
  }

  conflicts({ reads }: ShardWrites): boolean {
    return this.log.some(({ slot, mutations }) => {
      const later = (at: Position) => comparePositions({ epoch: 1, slot }, at) > 0;
      return mutations.some(
        (m) =>
          reads.keys.some((k) => later(k.at) && k.key.equals(m.key)) ||
          reads.ranges.some(
            (r) =>
              later(r.at) && (r.group === null || r.group.equals(m.group)) && (r.kind === null || r.kind === m.kind),
          ),
      );
    });
  }

  /** What the mutation answers at `version`, and the row that it writes, if any. */
  judge(m: Mutation, version: number): { answer: MutationAnswer; image: RowImage | null } {
    const now = this.row(m.key, Number.MAX_SAFE_INTEGER);
    if (m.baseVersion !== null && m.baseVersion !== (now?.version ?? 0)) {
      if (m.onConflict === 'fail') throw new NxnwError('ABORTED', 'the base version is not the stored one');
      const kept = {
        version: now?.version ?? version - 1,
        createdUs: now?.createdUs ?? 0,
        updatedUs: now?.updatedUs ?? 0,
      };
      return { answer: { ...kept, conflictDetected: true }, image: null };
    }
    if (m.op === 'insert' && now) throw new NxnwError('ALREADY_EXISTS', 'entity already exists');
    if (m.op === 'update' && !now) throw new NxnwError('NOT_FOUND', 'no entity to update');
    const times = { createdUs: now?.createdUs ?? version, updatedUs: version };
    return {
      answer: { version, ...times, conflictDetected: false },
      image: { key: m.key, version, ...times, entity: m.entity },
    };
  }

  write(writes: ShardWrites, images: readonly (RowImage | null)[]): void {
    if (writes.mutations.length === 0) return;
    this.log.push({ slot: this.log.length + 1, mutations: writes.mutations });
    for (const image of images) {
      if (!image) continue;
      this.rows.getOrAdd(image.key, () => []).push(image);
      for (const { part, key } of image.entity ? indexer(image.entity) : [])
        this.index.getOrAdd(part, () => new Sorted<true>()).getOrAdd(key, () => true);
    }
  }

  reader(atUs: number, fetched: (entities: number) => void): ShardReader {
    const { rows, index } = this;
    const row = (key: Buffer) => this.row(key, atUs);
    return {
      atUs,
      get: (keys) => {
        fetched(keys.length);
        return Promise.resolve(keys.map(row));
      },
      async *scanIndex(part, from, to, order): AsyncGenerator<IndexHit> {
        for (const [key] of index.get(part)?.scan(from, to, order) ?? []) yield await Promise.resolve({ part, key });
      },
      async *scanEntities(from, to, order): AsyncGenerator<RowImage> {
        for (const [key] of rows.scan(from, to, order)) {
          const image = row(key);
          if (image) yield await Promise.resolve(image);
        }
      },
    };
  }
}

/**
 * The shards of applications in memory, for tests of what lies in front of them: the real query engine and indexer over
 * sorted arrays, commits one at a time, every version kept.
 */
export class MemoryShards implements ShardClient {
  private readonly shards = new Map<string, MemoryShard>();
  private readonly answered = new Map<string, CommitAnswer>();
  private versionUs = 0;
  private nextId = 0;
  private readonly reserved = new Set<number>();
  readonly commits: CommitRequest[] = [];
  queries = 0;
  /** Entities that queries have fetched. */
  fetched = 0;
  /** Called before each call; throws to fail it. */
  before: (method: string) => void | Promise<void> = () => undefined;
  /** Called after a commit was made and before it is answered. */
  afterCommit: () => void | Promise<void> = () => undefined;

  constructor(
    private readonly count: number,
    private readonly nowUs: () => number,
    private readonly apps: readonly string[],
  ) {}

  /** Version of the newest commit. */
  get latestUs(): number {
    return this.versionUs;
  }

  private shard(id: ShardId): MemoryShard {
    const name = `${id.app}/${id.index}`;
    const shard = this.shards.get(name) ?? new MemoryShard();
    this.shards.set(name, shard);
    return shard;
  }

  private authority(shard: ShardId): Authority {
    return { platform: 'memory', shard, at: this.shard(shard).at };
  }

  async shardCount(app: string): Promise<number> {
    await this.before('shardCount');
    if (!this.apps.includes(app)) throw new NxnwError('NOT_FOUND', `no application ${app}`);
    return this.count;
  }

  async lookup(shard: ShardId, keys: readonly Buffer[], atUs: number | null): Promise<LookupAnswer> {
    await this.before('lookup');
    const at = atUs ?? Number.MAX_SAFE_INTEGER;
    return { rows: keys.map((k) => this.shard(shard).row(k, at)), authority: this.authority(shard) };
  }

  async query(shard: ShardId, query: Buffer, atUs: number | null, deadlineMs: number): Promise<QueryAnswer> {
    await this.before('query');
    this.queries++;
    const authority = this.authority(shard);
    if (atUs !== null) this.versionUs = Math.max(this.versionUs, atUs);
    const count = (entities: number) => void (this.fetched += entities);
    const signal = AbortSignal.timeout(Math.max(1, deadlineMs - Date.now()));
    const batch = await queryEngine(query, this.shard(shard).reader(atUs ?? this.versionUs, count), signal);
    return { batch, authority };
  }

  async commit(request: CommitRequest): Promise<CommitAnswer> {
    await this.before('commit');
    const known = request.tx ? this.answered.get(request.tx) : undefined;
    if (known) return known;
    if (request.shards.some((w) => this.shard(w.shard).conflicts(w)))
      throw new NxnwError('ABORTED', 'another commit changed what the transaction has read; begin it again');
    const versionUs = Math.max(this.versionUs + 1, this.nowUs());
    const judged = request.shards.map((w) => w.mutations.map((m) => this.shard(w.shard).judge(m, versionUs)));
    this.versionUs = versionUs;
    request.shards.forEach((w, i) => this.shard(w.shard).write(w, judged[i]?.map((j) => j.image) ?? []));
    const answer = { versionUs, answers: judged.map((js) => js.map((j) => j.answer)) };
    if (request.tx) this.answered.set(request.tx, answer);
    this.commits.push(request);
    await this.afterCommit();
    return answer;
  }

  async allocateIds(_app: string, count: number): Promise<number[]> {
    await this.before('allocateIds');
    const ids: number[] = [];
    while (ids.length < count) {
      const id = 5_000_000_000_000_000 + ++this.nextId * 7;
      if (!this.reserved.has(id)) ids.push(id);
    }
    return ids;
  }

  async reserveIds(_app: string, ids: readonly number[]): Promise<void> {
    await this.before('reserveIds');
    for (const id of ids) this.reserved.add(id);
  }
}
