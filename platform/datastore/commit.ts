import { createHash, randomBytes } from 'node:crypto';
import { NxnwError } from '../errors.js';
import type {
  CommitAnswer,
  CommitRequest,
  Mutation,
  MutationAnswer,
  MutationOp,
  ReadSet,
  ShardWrites,
} from '../shards/types.js';
import { MODE, STRATEGY, encodeAnswer } from './api.js';
import type { CommitRequestMessage, MutationMessage } from './api.js';
import { checkAnyKey, checkEntity, checkKeySize, completeKey, setId } from './checks.js';
import type { CheckedKey } from './checks.js';
import { keyMessage, microsOf, timestampMessage } from './messages.js';
import type { Key } from './keys.js';
import { API_LIMITS } from './limits.js';
import { entityCodec, fromBigInt, toBigInt } from './proto.js';
import type { EntityMessage, KeyMessage } from './proto.js';
import { invalid, unimplemented } from './refuse.js';
import { byShard, placeKey } from './service.js';
import type { Call, Service } from './service.js';
import { decodeToken } from './tokens.js';
import { readSetsOf } from './transactions.js';
import type { Attempt, Transaction } from './transactions.js';

/** A mutation of the request, checked; its key may still lack its id. */
interface Checked {
  readonly op: MutationOp;
  readonly key: CheckedKey;
  readonly keyMessage: KeyMessage;
  readonly entity: EntityMessage | null;
  readonly baseVersion: number | null;
  readonly onConflict: Mutation['onConflict'];
  readonly what: string;
}

/** A mutation ready for its shard. `allocated` = the key that the answer names. */
interface Ready {
  readonly mutation: Mutation;
  readonly shard: number;
  readonly allocated: Key | null;
}

function checkMutation(m: MutationMessage, service: Service, i: number): Checked {
  const what = `mutations[${i}]`;
  const op = m.operation;
  if (op === undefined) throw invalid(`${what} has no operation`);
  if (m.propertyMask && op !== 'delete') throw unimplemented(`property_mask of a mutation (${what})`);
  if (m.propertyTransforms.length > 0) throw unimplemented(`property_transforms of a mutation (${what})`);
  const entity = op === 'delete' ? null : m[op];
  const message = op === 'delete' ? m.delete : entity?.key;
  const key = checkAnyKey(message ?? null, service, `the key of ${what}`, 'write');
  const mayBeIncomplete = op === 'insert' || op === 'upsert';
  if (!mayBeIncomplete && key.last.element === null)
    throw invalid(`the key of ${what} is incomplete; only insert and upsert allocate an id`);
  if (entity) checkEntity(entity, service);
  const { conflictDetectionStrategy: detection, conflictResolutionStrategy: resolution } = m;
  if (resolution !== STRATEGY.UNSPECIFIED && detection === undefined)
    throw invalid(`${what} sets conflict_resolution_strategy without base_version or update_time`);
  if (!message) throw invalid(`the key of ${what} is missing`);
  return {
    op,
    key,
    keyMessage: message,
    entity,
    baseVersion:
      detection === 'baseVersion'
        ? Number(toBigInt(m.baseVersion))
        : // An entity's version is the time of its last change, so both strategies compare the same number.
          detection === 'updateTime' && m.updateTime
          ? Number(microsOf(m.updateTime))
          : null,
    onConflict: resolution === STRATEGY.FAIL ? 'fail' : 'server',
    what,
  };
}

function ready(c: Checked, id: number, shardCount: number): Ready {
  const key = checkKeySize(completeKey(c.key, id), `the key of ${c.what}`);
  const allocated = c.key.last.element === null ? key : null;
  if (allocated) setId(c.keyMessage, id);
  const placed = placeKey(key, shardCount);
  const entity = c.entity && entityCodec.encode(c.entity);
  if (entity && entity.length > API_LIMITS.entityBytes)
    throw invalid(`the entity of ${c.what} has ${entity.length} bytes; at most ${API_LIMITS.entityBytes}`);
  const { op, baseVersion, onConflict } = c;
  const mutation = {
    op,
    key: placed.bytes,
    group: placed.group,
    kind: c.key.last.kind,
    entity,
    baseVersion,
    onConflict,
  };
  return { mutation, shard: placed.shard, allocated };
}

/** Checks the mutations, allocates missing ids and encodes the entities. */
async function readyMutations(call: Call, messages: readonly MutationMessage[]): Promise<Ready[]> {
  const { service, deadlineMs } = call;
  const { client, project } = service;
  const shardCount = await client.shardCount(project);
  const checked = messages.map((m, i) => checkMutation(m, service, i));
  const incomplete = checked.filter((c) => c.key.last.element === null).length;
  const ids = incomplete > 0 ? await client.allocateIds(project, incomplete, deadlineMs) : [];
  let used = 0;
  return checked.map((c) => ready(c, c.key.last.element === null ? (ids[used++] ?? 0) : 0, shardCount));
}

/** What `second` after `first` on one entity, in one transactional commit, comes to. */
function folded(first: Mutation, second: Mutation): Mutation {
  const pair = `${first.op} followed by ${second.op}`;
  const refused = ['insert,insert', 'update,insert', 'upsert,insert', 'delete,update'];
  if (refused.includes(`${first.op},${second.op}`))
    throw invalid(`${pair} of the same entity is not permitted in one commit`);
  if (first.baseVersion !== null || second.baseVersion !== null)
    throw unimplemented('several mutations of one entity in a commit, one of them with a base version or update time');
  if (second.op === 'delete' && (first.op === 'insert' || first.op === 'update'))
    throw unimplemented(`${pair} of the same entity in one commit`);
  if (second.op === 'delete') return second;
  return { ...second, op: first.op === 'delete' ? 'upsert' : first.op };
}

/** One mutation for each entity; `places[i]` = which of them answers the request's i-th. */
function foldAll(all: readonly Ready[], transactional: boolean): { readonly each: Ready[]; readonly places: number[] } {
  const each: Ready[] = [];
  const known = new Map<string, number>();
  const places = all.map((r, i) => {
    const name = r.mutation.key.toString('latin1');
    const at = known.get(name);
    const earlier = at === undefined ? undefined : each[at];
    if (at === undefined || !earlier) {
      known.set(name, each.length);
      return each.push(r) - 1;
    }
    if (!transactional)
      throw invalid(`mutations[${i}] is the second of one entity, which a non-transactional commit does not permit`);
    each[at] = { ...earlier, mutation: folded(earlier.mutation, r.mutation) };
    return at;
  });
  return { each, places };
}

const NO_READS: ReadSet = { keys: [], ranges: [] };

/** Writes of each shard (with its reads), and the way back from the shards' answers to the mutations. */
class Writes {
  readonly shards: readonly ShardWrites[];
  private readonly order: Ready[];

  constructor(
    private readonly all: readonly Ready[],
    private readonly folds: ReturnType<typeof foldAll>,
    project: string,
    reads: ReturnType<typeof readSetsOf>,
  ) {
    const groups = byShard(folds.each, (r) => r.shard);
    for (const { shard } of reads) if (!groups.has(shard.index)) groups.set(shard.index, []);
    const sorted = [...groups].sort(([a], [b]) => a - b);
    this.order = sorted.flatMap(([, rs]) => rs);
    this.shards = sorted.map(([index, rs]) => ({
      shard: { app: project, index },
      mutations: rs.map((r) => r.mutation),
      reads: reads.find((r) => r.shard.index === index)?.reads ?? NO_READS,
    }));
  }

  /** CommitResponse of the shards' answers, in the order of `shards`. */
  response(answers: readonly (readonly MutationAnswer[])[], commitUs: number | null): Buffer {
    const flat = answers.flat();
    const answerOf = new Map(this.order.map((r, i) => [r, flat[i]]));
    const mutationResults = this.all.map((r, i) => {
      const place = this.folds.each[this.folds.places[i] ?? -1];
      const answer = place && answerOf.get(place);
      if (!answer) throw new NxnwError('INTERNAL', `the shard's answer has no result for mutations[${i}]`);
      return result(r, answer);
    });
    return encodeAnswer('Commit', {
      mutationResults,
      ...(commitUs === null ? {} : { commitTime: timestampMessage(commitUs) }),
    });
  }
}

function result(r: Ready, a: MutationAnswer): object {
  const times = { createTime: timestampMessage(a.createdUs), updateTime: timestampMessage(a.updatedUs) };
  const exists = r.mutation.op !== 'delete' || (a.conflictDetected && a.updatedUs > 0);
  return {
    ...(r.allocated ? { key: keyMessage(r.allocated) } : {}),
    version: fromBigInt(BigInt(a.version)),
    ...(exists ? times : {}),
    conflictDetected: a.conflictDetected,
  };
}

/** Sends a commit of one transaction, the same each time it is called. */
function attemptOf(service: Service, tx: string, beganUs: number, writes: Writes): Attempt {
  return async (deadlineMs) => {
    if (writes.shards.length === 0) return writes.response([], service.readTime.now());
    const request: CommitRequest = { app: service.project, tx, beganUs, shards: writes.shards };
    const answer = await service.client.commit(request, deadlineMs);
    service.readTime.saw(answer.versionUs);
    return writes.response(answer.answers, answer.versionUs);
  };
}

async function commitWithoutTransaction(call: Call, request: CommitRequestMessage): Promise<Buffer> {
  const { service, deadlineMs } = call;
  const all = await readyMutations(call, request.mutations);
  const writes = new Writes(all, foldAll(all, false), service.project, []);
  const one = (w: ShardWrites): Promise<CommitAnswer> =>
    service.client.commit({ app: service.project, tx: null, beganUs: 0, shards: [w] }, deadlineMs);
  const settled = await Promise.allSettled(writes.shards.map(one));
  const failed = settled.find((s) => s.status === 'rejected');
  if (failed) throw failed.reason;
  const answers = settled.flatMap((s) => (s.status === 'fulfilled' ? [s.value] : []));
  for (const a of answers) service.readTime.saw(a.versionUs);
  return writes.response(
    answers.map((a) => a.answers[0] ?? []),
    null,
  );
}

async function prepare(call: Call, request: CommitRequestMessage, t: Transaction): Promise<Attempt> {
  const all = await readyMutations(call, request.mutations);
  const writes = new Writes(all, foldAll(all, true), call.service.project, readSetsOf(t));
  return attemptOf(call.service, t.tx, t.beganUs, writes);
}

function readOnlyCommit(call: Call, request: CommitRequestMessage): Promise<Attempt> {
  if (request.mutations.length > 0) throw invalid('a read-only transaction cannot commit mutations');
  const answer = encodeAnswer('Commit', { commitTime: timestampMessage(call.service.readTime.now()) });
  return Promise.resolve(() => Promise.resolve(answer));
}

/** Commits. `raw` = the request's bytes: a repeated Commit is the same only if they are. */
export async function commit(call: Call, request: CommitRequestMessage, raw: Buffer): Promise<Buffer> {
  const { service } = call;
  const { mode, transactionSelector: selector } = request;
  if (mode === MODE.NON_TRANSACTIONAL) {
    if (selector !== undefined) throw invalid('a NON_TRANSACTIONAL commit cannot name a transaction');
    return await commitWithoutTransaction(call, request);
  }
  if (mode !== MODE.TRANSACTIONAL && mode !== MODE.UNSPECIFIED) throw invalid(`unknown commit mode ${mode}`);
  if (selector === undefined) throw invalid('a TRANSACTIONAL commit needs transaction or single_use_transaction');
  if (selector === 'singleUseTransaction') {
    if (request.singleUseTransaction?.mode === 'readOnly') throw invalid('single_use_transaction must be read-write');
    const all = await readyMutations(call, request.mutations);
    const writes = new Writes(all, foldAll(all, true), service.project, []);
    const attempt = attemptOf(service, randomBytes(16).toString('hex'), service.readTime.now(), writes);
    return await attempt(call.deadlineMs);
  }
  const token = decodeToken(request.transaction);
  const digest = createHash('sha256').update(raw).digest('base64');
  return await service.transactions.commit(token, digest, call.deadlineMs, (t) =>
    t.readOnly ? readOnlyCommit(call, request) : prepare(call, request, t),
  );
}
