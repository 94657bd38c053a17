import { randomBytes } from 'node:crypto';
import { NxnwError, asError, hasCode } from '../errors.js';
import { fault } from '../fault.js';
import { pauseFor } from '../waiting.js';
import type { IdBlock, TxStatusAnswer, WriteAnswer } from './api.js';
import type { ShardCalls } from './crossgroup.js';
import { counterOf, idOf } from './ids.js';
import type {
  CommitAnswer,
  CommitRequest,
  LookupAnswer,
  QueryAnswer,
  ShardClient,
  ShardId,
  ShardWrites,
} from './types.js';
import { shardName } from './types.js';

/** Calls the holder of a shard in one platform: this process, another one, or the other platform's. */
export interface Side {
  readonly platform: string;
  call<T>(method: string, shard: ShardId, body: Record<string, unknown>, deadlineMs: number): Promise<T>;
  /** Forgets who held the shard; the next call finds out anew. */
  forget(shard: ShardId): void;
}

export interface RouterOptions {
  readonly here: Side;
  readonly peer: () => Side | null;
  readonly shardCount: (app: string) => Promise<number>;
  /** Throws FAILED_PRECONDITION while this platform does not take the application's writes through its doors. */
  readonly writable: (app: string) => void;
  /** Never steps: for versions. Deadlines are points of the wall clock. */
  readonly nowMs: () => number;
  readonly firstAnswer: (shard: ShardId) => void;
  /** Shards that this process owns, for ids without a hop. */
  readonly owned: (app: string) => number[];
}

interface Route {
  side: 'here' | 'peer';
  epoch: number;
}

const RETRY_MS = 15;
const ANSWER_MS = 500;
const ID_BLOCK = 1000;
/** Errors after which the same request is sent again: nothing was done, or doing it again gives the first answer. */
const AGAIN = ['NOT_OWNER', 'SUPERSEDED', 'UNAVAILABLE', 'CANCELLED', 'LOG_HOLE'];

/**
 * Finds each shard's owner wherever it is and goes on until the request's deadline. It keeps the client's request: a
 * holder answers MOVED with the proof, and this process asks the other platform; epochs in proofs only rise, so a
 * request is never sent down again (C14). Commits carry a transaction id, so sending one again is exact.
 */
export class Router implements ShardClient, ShardCalls {
  private readonly routes = new Map<string, Route>();
  private readonly blocks = new Map<string, { readonly index: number; readonly counters: number[] }>();
  private readonly blockCalls = new Map<string, Promise<void>>();
  readonly counters = { retries: 0, forwarded: 0 };

  constructor(private readonly o: RouterOptions) {}

  shardCount(app: string): Promise<number> {
    return this.o.shardCount(app);
  }

  private async call<T>(method: string, shard: ShardId, body: Record<string, unknown>, deadlineMs: number): Promise<T> {
    const name = shardName(shard);
    let last: Error | null = null;
    for (let hops = 0; ;) {
      const route = this.routes.get(name) ?? { side: 'here', epoch: 0 };
      const side = route.side === 'here' ? this.o.here : this.o.peer();
      if (Date.now() >= deadlineMs)
        throw new NxnwError(
          last ? 'UNAVAILABLE' : 'DEADLINE_EXCEEDED',
          `shard ${name} could not be reached before the deadline${last ? `: ${last.message}` : ''}`,
          {},
          last ?? undefined,
        );
      try {
        if (!side) throw new NxnwError('UNAVAILABLE', `shard ${name} lies with another platform, which is not joined`);
        if (route.side === 'peer') await fault('forward.sent', name);
        const answer = await side.call<T>(
          method,
          shard,
          { ...body, shard, epoch: route.epoch, hops, deadlineMs },
          deadlineMs,
        );
        if (route.side === 'peer') {
          this.counters.forwarded++;
          this.o.firstAnswer(shard);
        }
        return answer;
      } catch (e) {
        if (hasCode(e, 'MOVED')) {
          last = e;
          const epoch = Number(e.fields['epoch'] ?? 0);
          const platform = String(e.fields['platform']);
          const to = platform === this.o.here.platform ? 'here' : 'peer';
          if (epoch >= route.epoch && to !== route.side) {
            this.routes.set(name, { side: to, epoch });
            hops++;
            continue;
          }
          // an older proof than what is known here: its sender will learn of the newer one soon
          await pauseFor(RETRY_MS, new AbortController().signal);
          continue;
        }
        if (!hasCode(e, ...AGAIN)) throw e;
        last = asError(e);
        this.counters.retries++;
        side?.forget(shard);
        // the other platform may be gone because the shard came back: the own log knows
        if (route.side === 'peer') {
          this.routes.delete(name);
          hops = 0;
        }
        await pauseFor(RETRY_MS, new AbortController().signal);
      }
    }
  }

  /** One call to a given side's holder, sent again only while nobody holds the shard there. */
  async askSide<T>(
    to: 'here' | 'peer',
    method: string,
    shard: ShardId,
    body: Record<string, unknown>,
    deadlineMs: number,
  ): Promise<T> {
    for (;;) {
      const side = to === 'here' ? this.o.here : this.o.peer();
      if (!side) throw new NxnwError('FAILED_PRECONDITION', `shard ${shardName(shard)}: no other platform is joined`);
      try {
        return await side.call<T>(method, shard, body, deadlineMs);
      } catch (e) {
        // said while the caller still waits: at the deadline it would hear nothing
        if (!hasCode(e, 'NOT_OWNER') || Date.now() >= deadlineMs - ANSWER_MS) throw e;
        side.forget(shard);
        await pauseFor(RETRY_MS * 4, new AbortController().signal);
      }
    }
  }

  lookup(shard: ShardId, keys: readonly Buffer[], atUs: number | null, deadlineMs: number): Promise<LookupAnswer> {
    return this.call('lookup', shard, { keys, atUs }, deadlineMs);
  }

  query(shard: ShardId, query: Buffer, atUs: number | null, deadlineMs: number): Promise<QueryAnswer> {
    return this.call('query', shard, { query, atUs }, deadlineMs);
  }

  async note(shard: ShardId, r: Parameters<ShardCalls['note']>[1], deadlineMs: number): Promise<void> {
    await this.call('note', shard, { ...r }, deadlineMs);
  }

  txStatus(shard: ShardId, r: Parameters<ShardCalls['txStatus']>[1], deadlineMs: number): Promise<TxStatusAnswer> {
    return this.call('txStatus', shard, { ...r }, deadlineMs);
  }

  async commit(r: CommitRequest, deadlineMs: number): Promise<CommitAnswer> {
    if (r.shards.some((s) => s.mutations.length > 0)) this.o.writable(r.app);
    const tx = r.tx ?? randomBytes(16).toString('hex');
    const only = r.shards[0];
    if (!only) return { versionUs: this.o.nowMs() * 1000, answers: [] };
    if (r.shards.length === 1) {
      const a = await this.call<WriteAnswer>(
        'commit',
        only.shard,
        { tx, beganUs: r.beganUs, mutations: only.mutations, reads: only.reads },
        deadlineMs,
      );
      return { versionUs: a.version, answers: [a.answers] };
    }
    return this.crossGroup(tx, r, deadlineMs);
  }

  /** PREPARE in each participant, in one order for all transactions; the first participant's DECIDE commits (C13). */
  private async crossGroup(tx: string, r: CommitRequest, deadlineMs: number): Promise<CommitAnswer> {
    const order = [...r.shards].sort((a, b) => a.shard.index - b.shard.index);
    const participants = order.map((s) => s.shard);
    const first = participants[0];
    if (!first) throw new NxnwError('INTERNAL', 'a cross-group commit without participants');
    const beganUs = r.beganUs || this.o.nowMs() * 1000;
    const prepared = new Map<ShardWrites, WriteAnswer>();
    const decide = (commit: boolean, version: number) =>
      this.call<WriteAnswer>('decide', first, { tx, beganUs, commit, version, participants }, deadlineMs);
    try {
      for (const s of order) {
        prepared.set(
          s,
          await this.call<WriteAnswer>(
            'prepare',
            s.shard,
            { tx, beganUs, mutations: s.mutations, reads: s.reads, participants },
            deadlineMs,
          ),
        );
        await fault('xg.prepared', shardName(s.shard));
      }
    } catch (e) {
      // the first participant decides, also when this process cannot tell it: recovery asks it
      if (prepared.size > 0) await decide(false, 0).catch(() => undefined);
      throw e;
    }
    const proposals = [...prepared.values()].map((a) => a.version);
    const version = Math.max(...proposals);
    await fault('xg.decide.sent', shardName(first));
    const d = await decide(true, version);
    if (!d.commit)
      throw new NxnwError(
        'ABORTED',
        `transaction ${tx} was aborted by recovery because it took too long; nothing was committed, begin it again`,
      );
    const answers = r.shards.map((s) => {
      const p = prepared.get(s);
      return (p?.answers ?? []).map((a) =>
        a.conflictDetected
          ? a
          : {
              ...a,
              version: d.version,
              updatedUs: d.version,
              createdUs: a.createdUs === p?.version ? d.version : a.createdUs,
            },
      );
    });
    return { versionUs: d.version, answers };
  }

  async allocateIds(app: string, count: number, deadlineMs: number): Promise<number[]> {
    this.o.writable(app);
    const shards = await this.o.shardCount(app);
    const ids: number[] = [];
    while (ids.length < count) {
      const block = this.blocks.get(app);
      const counter = block?.counters.pop();
      if (block && counter !== undefined) ids.push(idOf(counter, block.index, shards));
      else await this.newBlock(app, shards, Math.max(ID_BLOCK, count - ids.length), deadlineMs);
    }
    return ids;
  }

  /** One request at a time for each application; from a shard that this process owns where there is one. */
  private async newBlock(app: string, shards: number, count: number, deadlineMs: number): Promise<void> {
    const running = this.blockCalls.get(app);
    if (running) return running;
    const owned = this.o.owned(app);
    const index = owned[Math.floor(Math.random() * owned.length)] ?? Math.floor(Math.random() * shards);
    const ask = this.call<IdBlock>('ids', { app, index }, { count }, deadlineMs).then((b) => {
      const skip = new Set(b.skip);
      const counters: number[] = [];
      for (let n = b.to - 1; n >= b.from; n--) if (!skip.has(n)) counters.push(n);
      this.blocks.set(app, { index, counters });
    });
    this.blockCalls.set(app, ask);
    try {
      await ask;
    } finally {
      this.blockCalls.delete(app);
    }
  }

  async reserveIds(app: string, ids: readonly number[], deadlineMs: number): Promise<void> {
    this.o.writable(app);
    const shards = await this.o.shardCount(app);
    const byShard = new Map<number, number[]>();
    for (const id of ids) {
      const c = counterOf(id, shards);
      if (c) byShard.set(c.shard, [...(byShard.get(c.shard) ?? []), c.counter]);
    }
    for (const [index, counters] of byShard) await this.call('reserve', { app, index }, { counters }, deadlineMs);
  }
}
