import { randomBytes } from 'node:crypto';
import { NxnwError, asError } from '../errors.js';
import { fault } from '../fault.js';
import { pauseFor } from '../waiting.js';
import type { ConfirmAnswer, MovedProof } from './api.js';
import type { HandoverFacts, HandoverResult } from './control.js';
import type { PeerLink } from './host-options.js';
import type { ShardLog } from './log.js';
import type { Owner } from './owner.js';
import type { Replica } from './replica.js';
import type { Source } from './source.js';
import type { ShardState } from './state.js';
import type { Position } from './types.js';
import { comparePositions } from './types.js';

const OPEN_CALL_MS = 10_000;
/** How long the copy may take to come close before the hold. */
const CLOSE_MS = 5000;

export interface ConfirmOptions {
  readonly through: Position;
  readonly hash: Buffer;
  readonly digest: string;
  readonly deadlineMs: number;
  readonly name: string;
  readonly signal: AbortSignal;
}

/** The copy's side, asked before MOVE: durable, applied and equal through k-1? (C14) */
export async function confirmCopy(replica: Replica | null, o: ConfirmOptions): Promise<ConfirmAnswer> {
  const no = (reason: string): ConfirmAnswer => ({ ok: false, reason });
  const state = replica?.state;
  if (!replica || !state || replica.phase !== 'following')
    return no(`the copy of ${o.name} is not following (${replica?.phase ?? 'no replica'})`);
  while (comparePositions(state.end, o.through) < 0) {
    const leftMs = o.deadlineMs - Date.now();
    if (leftMs <= 0 || state.failure) return no(`the copy of ${o.name} has not reached the log's end in time`);
    await state.changed(Math.min(20, leftMs));
  }
  const late = pauseFor(Math.max(0, o.deadlineMs - Date.now()), o.signal).then(() => 'late' as const);
  if ((await Promise.race([state.whenApplied(o.through), late])) === 'late')
    return no(`the copy of ${o.name} has not applied the log's end in time`);
  const mine = state.digestAt(o.through);
  await fault('digest.compare', o.name);
  if (!state.hashAt(o.through)?.equals(o.hash)) return no(`the logs of ${o.name} differ`);
  if (mine !== o.digest)
    return no(`the digests of ${o.name} differ (${mine ?? 'none'} here, ${o.digest} there): verify it`);
  await fault('confirm.sent', o.name);
  return { ok: true };
}

export interface HandOverOptions {
  readonly owner: Owner;
  readonly state: ShardState;
  readonly peer: PeerLink;
  readonly stallBudgetMs: number;
  readonly name: string;
  readonly platform: string;
  readonly shardLog: ShardLog;
  readonly source: Source;
  readonly nowMs: () => number;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** MOVE is known: from now on callers are sent to the other platform. */
  readonly moved: (proof: MovedProof, facts: HandoverFacts) => void;
  /** The other side has opened its segment. */
  readonly opened: (start: Position) => HandoverFacts | null;
}

/**
 * The owner's side (C14): hold, have the copy confirmed through k-1, append MOVE at k, send the waiting requests on. A
 * confirmation is for one k: where a decision was appended meanwhile, a new one is asked for. Whatever fails before MOVE
 * is sent releases the held requests, and nothing has happened.
 */
export async function handOver(o: HandOverOptions): Promise<HandoverResult> {
  o.source.hurry('on');
  try {
    return await holdAndMove(o);
  } finally {
    o.source.hurry('off');
  }
}

async function holdAndMove(o: HandOverOptions): Promise<HandoverResult> {
  const { owner, state, peer, stallBudgetMs, name, nowMs } = o;
  let began = nowMs();
  const released = (reason: string): HandoverResult => {
    owner.release();
    return { outcome: 'released', reason, holdMs: nowMs() - began };
  };
  // the copy must be close before anybody waits: the same question once without a hold
  const digestNow = state.digestAt(state.end);
  if (digestNow === null) return { outcome: 'released', reason: `no digest at the log's end of ${name}`, holdMs: 0 };
  const close = await peer.confirm(
    { through: state.end, hash: state.endHash, digest: digestNow },
    Date.now() + CLOSE_MS,
  );
  if (!close.ok) return { outcome: 'released', reason: close.reason, holdMs: 0 };
  try {
    began = nowMs();
    const deadline = began + stallBudgetMs;
    await owner.hold();
    for (;;) {
      const through = state.end;
      const hash = state.endHash;
      const digest = state.digestAt(through);
      if (digest === null) return released(`no digest at the log's end of ${name}`);
      await fault('deadline.beforeMove', name);
      const answer = await peer.confirm({ through, hash, digest }, Date.now() + deadline - nowMs());
      if (!answer.ok) return released(answer.reason);
      if (nowMs() > deadline)
        return released(`confirmed ${nowMs() - deadline} ms after the stall budget of ${stallBudgetMs} ms`);
      await fault('deadline.withMove', name);
      const k = { epoch: through.epoch, slot: through.slot + 1 };
      if (await owner.move(k, peer.platform, randomBytes(8).toString('hex'))) return await passOn(o, k, began);
    }
  } catch (e) {
    if (!owner.over) return released(asError(e).message);
    throw e;
  }
}

/** MOVE holds its slot: tell the other side, send everything that waits there. */
async function passOn(o: HandOverOptions, move: Position, began: number): Promise<HandoverResult> {
  const { owner, state, peer, name, nowMs } = o;
  const proof: MovedProof = { platform: peer.platform, epoch: move.epoch + 1, hash: state.endHash };
  const heldRequests = owner.heldCount;
  const atMs = nowMs();
  const from = { from: o.platform, to: peer.platform };
  const facts = { ...from, move, start: null, heldRequests, holdMs: atMs - began, firstAnswerMs: null, atMs };
  await fault('move.beforeTell', name);
  const image = await o.shardLog.read(move);
  const told = image
    ? peer.open(image, facts, Date.now() + OPEN_CALL_MS)
    : Promise.reject(new NxnwError('LOG_HOLE', `MOVE of ${name} cannot be read back`));
  o.moved(proof, facts);
  owner.end(new NxnwError('MOVED', `shard ${name} was moved to ${peer.platform}`, { ...proof }));
  try {
    const { start } = await told;
    return { outcome: 'moved', facts: o.opened(start) ?? facts };
  } catch (e) {
    // the other side finds MOVE in the log by itself; only this fact comes later
    o.log('shard.openLate', { shard: name, error: asError(e).message });
    return { outcome: 'moved', facts };
  }
}
