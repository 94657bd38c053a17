import { NxnwError } from '../errors.js';
import { fault } from '../fault.js';
import { Waiters, pauseFor } from '../waiting.js';
import type { Store } from '../stores/port.js';
import type { FollowBatch, LoadBegin, PullRequest, ScanAnswer } from './api.js';
import { decodeEntry, terminalOf } from './entry.js';
import type { ShardLog, SlotImage } from './log.js';
import { inlineImage } from './log.js';
import type { ShardState } from './state.js';
import { viewLog } from './takeover.js';
import type { Position, RowImage, ShardId } from './types.js';
import { comparePositions, shardName } from './types.js';

const FOLLOW_SLOTS = 64;
const HEARTBEAT_MS = 200;
/** Entries are gathered for this long for a follower that keeps up: one round in its store for all of them. */
const GATHER_MS = 400;
/** A follower that was not heard of for this long no longer keeps the log from being truncated; it loads again. */
const PIN_MS = 10 * 60_000;
const TRUNCATE_STEP = 64;
const NEVER = new AbortController().signal;

/** What a follower reads from: a shard's state, or the bare log. */
type Followed = Pick<ShardState, 'end' | 'changed'> & { readonly tail?: ShardState['tail'] };

/** What a shard's holder gives to the other platform: its log as a stream, its rows as pages, and the floor of both. */
export class Source {
  private readonly pins = new Map<string, { at: Position; seenMs: number }>();
  private cut: Position = { epoch: 1, slot: 0 };
  private hurried = false;
  private readonly gathering = new Waiters();
  private commitMs = 0;
  private commitSeenMs = 0;

  constructor(
    private readonly log: ShardLog,
    private readonly store: Store,
    private readonly shard: ShardId,
    private readonly nowMs: () => number,
    private readonly nowUs: () => number,
  ) {}

  committed(ms: number): void {
    this.commitMs = this.commitMs === 0 ? ms : this.commitMs * 0.95 + ms * 0.05;
    this.commitSeenMs = this.nowMs();
  }

  /** p0 and what a replica needs to begin; entries above p0 are kept for it from now on (C10). */
  async loadBegin(state: ShardState, platform: string): Promise<LoadBegin> {
    const p0 = state.checkpointable();
    const facts = state.factsAt(p0);
    const start = await this.log.read({ epoch: p0.epoch, slot: 0 });
    if (!facts || !start)
      throw new NxnwError(
        'UNAVAILABLE',
        `${shardName(this.shard)}: position ${p0.epoch}.${p0.slot} is not remembered, ask again`,
      );
    this.pins.set(platform, { at: p0, seenMs: this.nowMs() });
    return {
      p0,
      p0Hash: facts.hash,
      p0TsUs: facts.tsUs,
      idFloor: facts.idFloor,
      reserved: [...state.reserved],
      authority: facts.authority,
      start,
      entities: state.entities,
      bytes: state.bytes,
    };
  }

  async scan(state: ShardState, after: Buffer | null, maxRows: number, maxBytes: number): Promise<ScanAnswer> {
    const rows: RowImage[] = [];
    let bytes = 0;
    let read = 0;
    let last: Buffer | null = null;
    let done = true;
    const from = after ? Buffer.concat([after, Buffer.from([0])]) : null;
    for await (const row of this.store.scanRows(this.shard, state.generation, { from, to: null, order: 'asc' })) {
      last = row.key;
      if (row.entity) {
        rows.push(row);
        bytes += row.key.length + row.entity.length;
      }
      if (++read >= maxRows || bytes >= maxBytes) {
        done = false;
        break;
      }
    }
    const recent = this.nowMs() - this.commitSeenMs < 5000;
    return { rows, last, done, end: state.end, commitMs: recent ? this.commitMs : 0 };
  }

  /** A holder without a state (not yet taken over, or its copy is being made anew) still has its log's entries. */
  async bareLog(): Promise<Followed> {
    const view = await viewLog(this.log);
    if (view.kind === 'empty')
      throw new NxnwError('NOT_OWNER', `shard ${shardName(this.shard)} has no log on this platform`);
    return { end: view.end, changed: (ms) => pauseFor(ms, NEVER) };
  }

  /** The log behind `from`; waits a moment where there is nothing yet. Nothing on this side waits for the follower. */
  async pull(r: PullRequest, state: Followed): Promise<FollowBatch> {
    this.pins.set(r.platform, { at: r.durable, seenMs: this.nowMs() });
    if (comparePositions(r.from, state.end) >= 0) await state.changed(HEARTBEAT_MS);
    if (comparePositions(r.from, state.end) < 0) await this.gather(r.from, state);
    const { end } = state;
    const found = this.remembered(r.from, state) ?? (await this.behind(r.from, end));
    const images = found && (await this.inHole(found.at(-1))) ? null : found;
    await fault('ship.sent', shardName(this.shard));
    return { images: images ?? [], end, nowUs: this.nowUs(), reload: images === null };
  }

  /** From now on entries are given out at once (a hand-over waits for them), or gathered again. */
  hurry(on: 'on' | 'off'): void {
    this.hurried = on === 'on';
    this.gathering.wake();
  }

  private async gather(from: Position, state: Followed): Promise<void> {
    const behind = state.end.epoch > from.epoch || state.end.slot - from.slot >= FOLLOW_SLOTS;
    if (!behind && !this.hurried) await this.gathering.next(GATHER_MS);
  }

  /** Entries of one segment behind `from`, as far as memory has them whole; null = the store is to be asked. */
  private remembered(from: Position, state: Followed): SlotImage[] | null {
    const out: SlotImage[] = [];
    for (const p of state.tail?.behind(from, FOLLOW_SLOTS) ?? []) {
      const image = inlineImage(p);
      if (!image) break;
      out.push(image);
      if (terminalOf(p.entry)) break;
    }
    return out.length > 0 ? out : null;
  }

  /** A terminal counts only if nothing lies behind it in its segment (C3). */
  private async inHole(last: SlotImage | undefined): Promise<boolean> {
    if (!last || !terminalOf(decodeEntry(last.payload, last.at).entry)) return false;
    return (await this.log.last(last.at.epoch)) !== last.at.slot;
  }

  /** Held slots of one segment behind a position, up to `end`, without a gap; null = they are truncated. */
  private async behind(cursor: Position, end: Position): Promise<SlotImage[] | null> {
    if (comparePositions(cursor, end) >= 0) return [];
    let at = { epoch: cursor.epoch, slot: cursor.slot + 1 };
    let images = await this.log.scan(at.epoch, at.slot, FOLLOW_SLOTS);
    if (images.length === 0 && end.epoch > at.epoch) {
      if ((await this.log.last(at.epoch)) !== cursor.slot) return null;
      at = { epoch: at.epoch + 1, slot: 0 };
      images = await this.log.scan(at.epoch, 0, FOLLOW_SLOTS);
    }
    const out: SlotImage[] = [];
    for (const image of images) {
      if (comparePositions(image.at, end) > 0) break;
      if (image.at.slot !== at.slot + out.length) return null;
      out.push(image);
    }
    return out;
  }

  /** Removes what neither the history window nor a follower needs (C5); START, terminals and the newest entry stay. */
  async truncate(window: Position): Promise<void> {
    let floor = window;
    for (const [platform, pin] of this.pins) {
      if (this.nowMs() - pin.seenMs > PIN_MS) this.pins.delete(platform);
      else if (comparePositions(pin.at, floor) < 0) floor = pin.at;
    }
    if (floor.epoch === this.cut.epoch && floor.slot - this.cut.slot < TRUNCATE_STEP) return;
    for (let epoch = this.cut.epoch; epoch <= floor.epoch; epoch++) {
      const below = epoch === floor.epoch ? floor.slot : await this.log.last(epoch);
      const from = epoch === this.cut.epoch ? this.cut.slot : 1;
      if (below !== null) await this.log.truncate(epoch, below, from);
    }
    this.cut = floor;
  }
}
