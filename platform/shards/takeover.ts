import { randomBytes } from 'node:crypto';
import { NxnwError, hasCode } from '../errors.js';
import { fault } from '../fault.js';
import { readCheckpoint } from './checkpoint.js';
import type { LogEntry, LogRecord, PlacedEntry } from './entry.js';
import { ZERO_HASH, decodeEntry, encodeEntry, startOf, terminalOf } from './entry.js';
import type { ShardLog } from './log.js';
import { ShardState } from './state.js';
import type { StateOptions } from './state.js';
import type { Position } from './types.js';
import { comparePositions, shardName, showPosition } from './types.js';

/** Protocol version written into START. */
export const PROTOCOL = 1;

/** What this platform's copy of a shard's log says about who may write. */
export type LogView =
  | { readonly kind: 'empty' }
  /** The newest segment has no terminal; `platform` opened it. */
  | { readonly kind: 'open'; readonly platform: string; readonly end: Position }
  /** The newest segment is closed: by END (same platform goes on) or MOVE (`next` goes on). */
  | { readonly kind: 'closed'; readonly platform: string; readonly next: string; readonly end: Position };

/** Reads the newest segment's START and end (C3: the end is the highest held slot, so nothing lies behind a terminal). */
export async function viewLog(log: ShardLog): Promise<LogView> {
  const epoch = await log.lastEpoch();
  if (epoch === null) return { kind: 'empty' };
  const first = await log.readEntry({ epoch, slot: 0 });
  const start = first && startOf(first.entry);
  if (!start) throw new NxnwError('LOG_FORMAT', `slot ${epoch}.0 of ${shardName(log.shard)} holds no START`);
  const slot = (await log.last(epoch)) ?? 0;
  const end = { epoch, slot };
  await fault('take.readTail', shardName(log.shard));
  const tail = slot === 0 ? first : await log.readEntry(end);
  const terminal = tail && terminalOf(tail.entry);
  if (!terminal) return { kind: 'open', platform: start.platform, end };
  return {
    kind: 'closed',
    platform: start.platform,
    next: terminal.t === 'move' ? terminal.platform : start.platform,
    end,
  };
}

const SCAN_SLOTS = 256;
const MAX_REREADS = 8;

/**
 * Entries from `from` on in log order, across segments, to the log's present end, or to `upTo` where a replica is still
 * storing entries behind it. A hole throws LOG_HOLE (C4).
 */
export async function* readLog(log: ShardLog, from: Position, upTo?: Position): AsyncIterable<PlacedEntry> {
  let at = from;
  for (;;) {
    const images = await log.scan(at.epoch, at.slot, SCAN_SLOTS);
    let closed = false;
    for (const image of images) {
      if (upTo && comparePositions(image.at, upTo) > 0) return;
      if (image.at.slot !== at.slot)
        throw new NxnwError(
          'LOG_HOLE',
          `slot ${showPosition(at)} of ${shardName(log.shard)} is behind the truncation`,
          { at },
        );
      const placed = decodeEntry(image.payload, image.at);
      yield placed;
      closed = terminalOf(placed.entry) !== null;
      at = { epoch: at.epoch, slot: at.slot + 1 };
    }
    if (images.length > 0 && !closed) continue;
    // a terminal counts only if nothing lies behind it in its segment (C3)
    if (closed && (await log.last(at.epoch)) !== at.slot - 1)
      throw new NxnwError(
        'LOG_HOLE',
        `the terminal at ${showPosition({ epoch: at.epoch, slot: at.slot - 1 })} of ${shardName(log.shard)} lies in a truncated hole`,
        { at },
      );
    const next = (await log.lastEpoch()) ?? at.epoch;
    if (next <= at.epoch) return;
    // a segment behind this one exists, so this one has ended; where nothing was read the caller began at its end
    if (images.length === 0 && (await log.last(at.epoch)) !== at.slot - 1)
      throw new NxnwError('LOG_HOLE', `slot ${showPosition(at)} of ${shardName(log.shard)} is behind the truncation`, {
        at,
      });
    at = { epoch: at.epoch + 1, slot: 0 };
  }
}

/**
 * True on the platform that opened the shard's first segment: its rows and its log are whole without a load, also when
 * the shard was moved away since (START rows are never removed, C1).
 */
export async function founded(log: ShardLog, platform: string): Promise<boolean> {
  const first = await log.readEntry({ epoch: 1, slot: 0 });
  return first !== null && startOf(first.entry)?.platform === platform;
}

/** The contiguous end of what this platform holds of the log, from a position that it has. */
export async function contiguousEnd(log: ShardLog, from: Position): Promise<Position> {
  let end = from;
  try {
    for await (const p of readLog(log, { epoch: from.epoch, slot: from.slot + 1 })) end = p.at;
  } catch (e) {
    if (!hasCode(e, 'LOG_HOLE')) throw e;
  }
  return end;
}

/** The shard as rows and log make it, from the newest checkpoint; holes mean that the checkpoint rose meanwhile (C4). */
export async function replay(o: StateOptions, log: ShardLog, generation: number, upTo?: Position): Promise<ShardState> {
  for (let tries = 0; ; tries++) {
    const state = new ShardState(o);
    state.generation = generation;
    await fault('take.readCheckpoint', shardName(o.shard));
    const c = await readCheckpoint(o.store, o.shard, generation);
    try {
      if (c) state.restore(c);
      for await (const p of readLog(
        log,
        c && c.window.epoch > 0 ? { epoch: c.window.epoch, slot: c.window.slot + 1 } : { epoch: 1, slot: 0 },
        upTo,
      )) {
        await fault('replay.each', shardName(o.shard));
        if (c && comparePositions(p.at, c.at) <= 0) {
          state.replayWindow(p);
          if (comparePositions(p.at, c.at) === 0) state.prepares.clear();
          continue;
        }
        await state.roomToIngest();
        state.ingest(p);
      }
      return state;
    } catch (e) {
      await state.close();
      if (!hasCode(e, 'LOG_HOLE', 'LOG_CHUNK_MISSING') || tries >= MAX_REREADS) throw e;
    }
  }
}

export interface TakeOverOptions {
  readonly state: StateOptions;
  readonly log: ShardLog;
  readonly platform: string;
  readonly process: string;
  readonly generation: number;
  /** May this platform open the very first segment (a new application, not one that is being moved here)? */
  readonly mayFound: boolean;
  readonly signal: AbortSignal;
}

/** The state's newest entry is MOVE to the platform. */
export function movedHere(state: ShardState, platform: string): boolean {
  const last = state.tail.last();
  const t = last && comparePositions(last.at, state.end) === 0 ? terminalOf(last.entry) : null;
  return t?.t === 'move' && t.platform === platform;
}

/** A segment that this process has opened, or null when it is not this platform's turn. */
export interface Opened {
  readonly state: ShardState;
  readonly start: Position;
  readonly nonce: string;
}

/**
 * Becomes the shard's owner if the log says that it is this platform's turn: END in the open segment of a predecessor
 * on this platform, or after END or MOVE, then START by put-if-absent (C1-C4, C7). Loops while others win.
 */
export async function takeOver(o: TakeOverOptions, whole?: ShardState): Promise<Opened | null> {
  const name = shardName(o.log.shard);
  let known = whole;
  // a copy that is whole through MOVE opens the next segment at once: callers wait. If another was first, the log is read
  if (known && movedHere(known, o.platform) && (await o.log.last(known.end.epoch)) === known.end.slot) {
    const opened = await start(o, known, { epoch: known.end.epoch + 1, slot: 0 }, known.end);
    if (opened) return opened;
    await known.close();
    known = undefined;
  }
  while (!o.signal.aborted) {
    const view = await viewLog(o.log);
    if (view.kind === 'empty') {
      if (!o.mayFound) return null;
      const opened = await start(o, new ShardState(o.state), { epoch: 1, slot: 0 }, null);
      if (opened) return opened;
      continue;
    }
    if (view.kind === 'open') {
      if (view.platform !== o.platform) return null;
      await endSegment(o, view.end);
      known = undefined;
      continue;
    }
    if (view.next !== o.platform) return null;
    let state = known;
    if (!state || comparePositions(state.end, view.end) !== 0) {
      await known?.close();
      state = await replay(o.state, o.log, o.generation);
    }
    known = undefined;
    if (comparePositions(state.end, view.end) !== 0) {
      // the replica is not whole, or the log went on: whoever is ahead decides, look again
      const now = await viewLog(o.log);
      if (now.kind !== 'empty' && comparePositions(now.end, view.end) === 0)
        throw new NxnwError(
          'REPLICA_NOT_WHOLE',
          `the log of ${name} here reaches ${showPosition(state.end)} without a gap, its segment ends at ${showPosition(view.end)}: it cannot be opened`,
        );
      await state.close();
      continue;
    }
    const opened = await start(o, state, { epoch: view.end.epoch + 1, slot: 0 }, view.end);
    if (opened) return opened;
    await state.close();
  }
  throw new NxnwError('UNAVAILABLE', `the take-over of ${name} was given up`);
}

async function endSegment(o: TakeOverOptions, end: Position): Promise<void> {
  const tail = await o.log.readEntry(end);
  if (!tail) return;
  const at = { epoch: end.epoch, slot: end.slot + 1 };
  const record: LogRecord = { t: 'end', epoch: end.epoch + 1, nonce: randomBytes(8).toString('hex') };
  const entry: LogEntry = { prev: tail.hash, tsUs: Math.max(o.state.nowUs(), tail.entry.tsUs + 1), records: [record] };
  await fault('end.sent', shardName(o.log.shard));
  const out = await o.log.append(at, await o.log.wrap(encodeEntry(entry)), o.signal);
  if (out.own) await fault('end.won', shardName(o.log.shard));
  // whether it was won or lost, and whether anything lies behind it (C3): the caller reads the log's end again
  await fault('end.beforeCheck', shardName(o.log.shard));
}

/** Appends START; null if another process's START holds the slot. */
async function start(
  o: TakeOverOptions,
  state: ShardState,
  at: Position,
  prev: Position | null,
): Promise<Opened | null> {
  const name = shardName(o.log.shard);
  const nonce = randomBytes(8).toString('hex');
  const record: LogRecord = {
    t: 'start',
    platform: o.platform,
    process: o.process,
    nonce,
    prev,
    checkpoint: state.checkpointed,
    prepares: [...state.prepares.values()],
    decided: [...state.decided.values()],
    idFloor: state.idFloor,
    reserved: [...state.reserved],
    protocol: PROTOCOL,
  };
  const tsUs = Math.max(o.state.nowUs(), state.tsUs + 1);
  const bytes = encodeEntry({ prev: prev ? state.endHash : ZERO_HASH, tsUs, records: [record] });
  await fault(prev && state.authority !== o.platform ? 'n2.start.sent' : 'start.sent', name);
  const out = await o.log.append(at, await o.log.wrap(bytes), o.signal);
  if (!out.own) return null;
  await fault('start.won', name);
  // the predecessor may have applied and truncated meanwhile: what it did is in the checkpoint (C4)
  const now = await readCheckpoint(o.state.store, o.log.shard, o.generation);
  if (now && state.checkpointed && comparePositions(now.at, state.checkpointed) > 0) {
    await state.close();
    return { state: await replay(o.state, o.log, o.generation), start: at, nonce };
  }
  state.ingest(decodeEntry(bytes, at));
  return { state, start: at, nonce };
}
