import { NxnwError } from '../errors.js';
import type {
  CommitOneRequest,
  ConfirmRequest,
  DecideRequest,
  HandOverRequest,
  IdBlock,
  IdsRequest,
  LookupRequest,
  NoteRequest,
  OpenRequest,
  PullRequest,
  PrepareRequest,
  QueryRequest,
  ReserveRequest,
  ScanRequest,
  ShardRequest,
  TxStatusRequest,
} from './api.js';
import type { ShardHost } from './host.js';
import type { WorkAnswer } from './work.js';
import type { Authority, Position, ShardId } from './types.js';
import { comparePositions, shardName } from './types.js';
import { lookAgain, scanSide } from './verify.js';
import { indexFaults, type IndexFault } from './verify-index.js';

const SCAN_ROWS = 500;
const SCAN_BYTES = 1 << 20;
const MAX_HOPS = 8;

type Method = (h: ShardHost, body: never) => Promise<unknown>;
type Answered = WorkAnswer & { authority: Authority };

/** What a holder answers to each method; requests come from our own processes only (mTLS). */
const METHODS: Readonly<Record<string, Method>> = {
  lookup: (h, r: LookupRequest) => h.lookup(r.keys, r.atUs, r.deadlineMs),
  query: (h, r: QueryRequest) => h.query(r.query, r.atUs, r.deadlineMs),
  commit: async (h, r: CommitOneRequest) =>
    written(
      await h.submit(
        { t: 'commit', tx: r.tx, beganUs: r.beganUs, mutations: r.mutations, reads: r.reads },
        r.deadlineMs,
      ),
    ),
  prepare: async (h, r: PrepareRequest) =>
    written(
      await h.submit(
        {
          t: 'prepare',
          tx: r.tx,
          beganUs: r.beganUs,
          mutations: r.mutations,
          reads: r.reads,
          participants: r.participants,
        },
        r.deadlineMs,
      ),
    ),
  decide: async (h, r: DecideRequest) =>
    written(
      await h.submit(
        {
          t: 'decide',
          tx: r.tx,
          beganUs: r.beganUs,
          commit: r.commit,
          version: r.version,
          participants: r.participants,
        },
        r.deadlineMs,
      ),
    ),
  note: async (h, r: NoteRequest) =>
    written(
      await h.submit({ t: 'note', tx: r.tx, beganUs: r.beganUs, commit: r.commit, version: r.version }, r.deadlineMs),
    ),
  txStatus: (h, r: TxStatusRequest) => h.txStatus(r),
  ids: async (h, r: IdsRequest): Promise<IdBlock> => {
    const a = await h.submit({ t: 'ids', count: r.count }, r.deadlineMs);
    const from = a.version + 1;
    const to = from + r.count;
    return { from, to, skip: [...(h.state?.reserved ?? [])].filter((n) => n >= from && n < to) };
  },
  reserve: async (h, r: ReserveRequest) =>
    written(await h.submit({ t: 'reserve', counters: r.counters }, r.deadlineMs)),
  final: async (h, r: ShardRequest) => written(await h.submit({ t: 'final' }, r.deadlineMs)),
  loadBegin: (h, r: { platform: string }) => h.source.loadBegin(owned(h), r.platform),
  scan: (h, r: ScanRequest) => h.source.scan(owned(h), r.after, SCAN_ROWS, SCAN_BYTES),
  pull: async (h, r: PullRequest) => h.source.pull(r, h.replica?.state ?? h.state ?? (await h.source.bareLog())),
  slotsAt: async (h, r: ShardRequest & { at: readonly Position[] }) => ({
    platform: h.o.platform,
    held: await Promise.all(r.at.map((at) => slotText(h, at))),
  }),
  confirm: (h, r: ConfirmRequest) => h.confirm(r.through, r.hash, r.digest, r.deadlineMs),
  open: (h, r: OpenRequest) => h.open(r),
  handOver: (h, r: HandOverRequest) => h.handOver(r.to, r.stallBudgetMs),
  status: (h) => Promise.resolve(h.status()),
  digestNow: async (h) => {
    const state = owned(h);
    return Promise.resolve({ at: state.end, digest: state.digestAt(state.end) });
  },
  digestAt: (h, r: ShardRequest & { at: Position }) => digestAt(h, r.at, r.deadlineMs),
  timeOf: (h, r: ShardRequest & { at: Position }) =>
    Promise.resolve({ atUs: owned(h).factsAt(r.at)?.tsUs ?? owned(h).tsUs }),
  indexFaults: async (h, r: ShardRequest & { limit: number }) => {
    const out: IndexFault[] = [];
    for await (const f of indexFaults(h)) if (out.push(f) >= r.limit) break;
    return out;
  },
  verifyScan: (h, r: ShardRequest & Parameters<typeof scanSide>[1]) => scanSide(h, r),
  verifyKeys: (h, r: ShardRequest & Parameters<typeof lookAgain>[1]) => lookAgain(h, r),
};

/** What the shard's owner alone answers. */
const OWNERS = new Set(['lookup', 'query', 'commit', 'prepare', 'decide', 'note', 'txStatus', 'ids', 'reserve']);

/** What a slot of this platform's store holds, read anew: its entry's kind and the first bytes of its hash. */
async function slotText(h: ShardHost, at: Position): Promise<string | null> {
  const p = await h.shardLog.readEntry(at);
  return p && `${p.entry.records.map((r) => r.t).join(' ')} ${p.hash.toString('hex').slice(0, 16)}`;
}

function written(a: Answered): object {
  return { version: a.version, commit: a.commit, answers: a.answers, authority: a.authority };
}

function owned(h: ShardHost): NonNullable<ShardHost['state']> {
  if (!h.owner || !h.state || h.owner.over) throw new NxnwError('NOT_OWNER', `shard ${h.name} is not served here`);
  return h.state;
}

async function digestAt(h: ShardHost, at: Position, deadlineMs: number): Promise<{ digest: string | null }> {
  for (;;) {
    const state = h.replica?.state ?? h.state;
    if (state && comparePositions(state.end, at) >= 0) return { digest: state.digestAt(at) };
    if (Date.now() >= deadlineMs)
      throw new NxnwError('DEADLINE_EXCEEDED', `shard ${h.name} has not reached ${at.epoch}.${at.slot} in time`);
    await (state ? state.changed(100) : new Promise<void>((ok) => setTimeout(ok, 50)));
  }
}

async function asOwner(host: ShardHost, m: Method, body: ShardRequest): Promise<unknown> {
  await host.comingUp(body.epoch, body.deadlineMs);
  const answer = await m(host, body as never);
  if (host.handover?.to === host.o.platform) host.firstAnswer();
  return answer;
}

/** Runs a method on a host of this process. */
export function serveShard(host: ShardHost, method: string, body: unknown): Promise<unknown> {
  const m = METHODS[method];
  if (!m) return Promise.reject(new NxnwError('UNIMPLEMENTED', `no method shards.${method}`));
  // bodies come from our own processes, over mTLS, in the shapes of api.ts
  return OWNERS.has(method) ? asOwner(host, m, body as ShardRequest) : m(host, body as never);
}

export interface ServiceOptions {
  readonly host: (shard: ShardId) => ShardHost | undefined;
  readonly holder: (shard: ShardId) => string | undefined;
}

/** Answers `shards.<method>`: every method for the holder, and `whereIs` for everybody. */
export function shardDispatch(o: ServiceOptions): (method: string, body: unknown) => Promise<unknown> {
  return async (method, body) => {
    const { shard, hops } = body as ShardRequest;
    if (method === 'whereIs') return { endpoint: o.holder(shard) ?? null };
    const host = o.host(shard);
    if ((hops ?? 0) > MAX_HOPS)
      throw new NxnwError('UNAVAILABLE', `request for shard ${shardName(shard)} made more than ${MAX_HOPS} hops`);
    if (!host)
      throw new NxnwError('NOT_OWNER', `shard ${shardName(shard)} is not held by this process`, {
        endpoint: o.holder(shard) ?? null,
      });
    return serveShard(host, method, body);
  };
}

export const SHARD_METHODS: readonly string[] = [...Object.keys(METHODS), 'whereIs'];
