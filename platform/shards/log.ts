import { randomBytes } from 'node:crypto';
import { NxnwError, hasCode } from '../errors.js';
import { fault } from '../fault.js';
import { pauseFor } from '../waiting.js';
import type { Slots } from '../stores/port.js';
import type { PlacedEntry } from './entry.js';
import { decodeEntry, sha256 } from './entry.js';
import type { Position, ShardId } from './types.js';
import { shardName, showPosition } from './types.js';

/** Entries above this size go into chunks; the slot then holds a reference (C15). */
const INLINE_BYTES = 64 << 10;
const INLINE = 0;
const CHUNKED = 1;
const UNKNOWN_RETRY_MS = 20;
/** Slots removed at a time. */
const TRUNCATE_SLOTS = 512;
/** An owner that cannot find out what its slot holds gives the shard up; the taker's END settles the slot (C2). */
const GIVE_UP_MS = 15_000;

/** A slot's bytes with the entry that they stand for; what travels to the other platform. */
export interface SlotImage {
  readonly at: Position;
  /** As the slot holds it. */
  readonly slot: Buffer;
  /** The entry's bytes (equal to the slot's rest when inline). */
  readonly payload: Buffer;
}

interface ChunkRef {
  readonly nonce: string;
  readonly count: number;
  readonly hash: Buffer;
}

function readRef(slot: Buffer): ChunkRef {
  return { nonce: slot.subarray(1, 17).toString('hex'), count: slot.readUInt32BE(17), hash: slot.subarray(21, 53) };
}

const RUN_SLOTS = 64;
const RUN_BYTES = 512 << 10;

/** The slot of an entry that lies in it whole; null = it has chunks in the store. */
export function inlineImage(p: PlacedEntry): SlotImage | null {
  if (p.bytes.length > INLINE_BYTES) return null;
  return { at: p.at, slot: Buffer.concat([Buffer.from([INLINE]), p.bytes]), payload: p.bytes };
}

/** Images from `i` on that may go in one round: one segment, not its START, bounded. */
function runFrom(images: readonly SlotImage[], i: number): SlotImage[] {
  const run: SlotImage[] = [];
  let bytes = 0;
  for (const image of images.slice(i)) {
    const first = run[0] ?? image;
    bytes += image.slot.length;
    if (
      run.length > 0 &&
      (image.at.slot === 0 ||
        first.at.slot === 0 ||
        image.at.epoch !== first.at.epoch ||
        bytes > RUN_BYTES ||
        run.length >= RUN_SLOTS)
    )
      break;
    run.push(image);
  }
  return run;
}

/**
 * One shard's slots in this platform's store, with the append rule C2: only a held slot decides. Nothing here knows who
 * may append; see owner.ts, takeover.ts, replica.ts.
 */
export class ShardLog {
  constructor(
    readonly shard: ShardId,
    private readonly slots: Slots,
    private readonly chunkBytes: number,
  ) {}

  private name(at: Position): string {
    return `${shardName(this.shard)}@${showPosition(at)}`;
  }

  /** Wraps an entry's bytes for a slot, writing chunks first where it is large. */
  async wrap(payload: Buffer): Promise<Buffer> {
    if (payload.length <= INLINE_BYTES) return Buffer.concat([Buffer.from([INLINE]), payload]);
    const nonce = randomBytes(16);
    const count = await this.putChunks(nonce.toString('hex'), payload);
    const head = Buffer.alloc(5);
    head.writeUInt32BE(count, 1);
    return Buffer.concat([Buffer.from([CHUNKED]), nonce, head.subarray(1), sha256(payload)]);
  }

  private async putChunks(nonce: string, payload: Buffer): Promise<number> {
    const count = Math.ceil(payload.length / this.chunkBytes);
    for (let i = 0; i < count; i++) {
      await this.slots.putChunk(this.shard, nonce, i, payload.subarray(i * this.chunkBytes, (i + 1) * this.chunkBytes));
      await fault('chunk.written', shardName(this.shard));
    }
    return count;
  }

  private async unwrap(at: Position, slot: Buffer): Promise<Buffer> {
    if (slot[0] === INLINE) return slot.subarray(1);
    const ref = readRef(slot);
    const parts: Buffer[] = [];
    for (let i = 0; i < ref.count; i++) {
      const part = await this.slots.getChunk(this.shard, ref.nonce, i);
      if (!part) throw new NxnwError('LOG_CHUNK_MISSING', `slot ${this.name(at)} names chunk ${i} of ${ref.nonce}, which the store does not have`, { at }); // prettier-ignore
      parts.push(part);
    }
    const payload = Buffer.concat(parts);
    if (!sha256(payload).equals(ref.hash)) throw new NxnwError('LOG_CHUNK_DAMAGED', `chunks ${ref.nonce} of slot ${this.name(at)} do not have the hash that the slot names`, { at }); // prettier-ignore
    return payload;
  }

  /**
   * Put-if-absent until the slot is held (C2). `own` = it holds these bytes; otherwise it holds another's. Throws
   * UNAVAILABLE when `signal` aborts first, or after GIVE_UP_MS: then the outcome stays unknown and the caller must give the shard up.
   */
  async append(at: Position, slot: Buffer, signal: AbortSignal): Promise<{ own: true } | { own: false; held: Buffer }> {
    await fault('append.beforeSend', this.name(at));
    const began = performance.now();
    for (let tries = 0; ; tries++) {
      try {
        const sent = this.slots.append(this.shard, at, slot);
        await fault('append.sent', this.name(at));
        const out = await sent;
        await fault('append.held', this.name(at));
        if (out.won || out.held.equals(slot)) return { own: true };
        return { own: false, held: out.held };
      } catch (e) {
        if (!hasCode(e, 'UNAVAILABLE')) throw e;
        await fault('append.unknown', this.name(at));
        if (signal.aborted || performance.now() - began > GIVE_UP_MS) throw new NxnwError('UNAVAILABLE', `the outcome of the append at ${this.name(at)} is unknown after ${tries + 1} sends: ${e.message}`, { at }, e); // prettier-ignore
        await pauseFor(Math.min(1000, UNKNOWN_RETRY_MS << Math.min(tries, 6)), signal);
      }
    }
  }

  /** Stores another platform's slot under its own coordinates (C7). Throws DIVERGED if other bytes are there. */
  async replicate(image: SlotImage, signal: AbortSignal): Promise<void> {
    if (image.slot[0] === CHUNKED) await this.putChunks(readRef(image.slot).nonce, image.payload);
    const out = await this.append(image.at, image.slot, signal);
    if (!out.own)
      throw new NxnwError('DIVERGED', `slot ${this.name(image.at)} here and on the other platform hold different entries: replication of this shard stops, it must be loaded again`, { at: image.at }); // prettier-ignore
  }

  /** The same for consecutive slots, in as few rounds as the store allows; `stored` hears of each when it is durable. */
  async replicateAll(
    images: readonly SlotImage[],
    signal: AbortSignal,
    stored: (image: SlotImage) => void,
  ): Promise<void> {
    for (let i = 0; i < images.length;) {
      const run = runFrom(images, i);
      i += run.length;
      if (run.length > 1 && (await this.tryRun(run))) {
        run.forEach(stored);
        continue;
      }
      for (const image of run) {
        await this.replicate(image, signal);
        stored(image);
      }
    }
  }

  /** False also where the outcome is unknown: the same bytes are then appended one by one. */
  private async tryRun(run: readonly SlotImage[]): Promise<boolean> {
    for (const image of run)
      if (image.slot[0] === CHUNKED) await this.putChunks(readRef(image.slot).nonce, image.payload);
    try {
      const slots = run.map((image) => ({ slot: image.at.slot, bytes: image.slot }));
      return await this.slots.appendRun(this.shard, run[0]?.at.epoch ?? 0, slots);
    } catch (e) {
      if (hasCode(e, 'UNAVAILABLE')) return false;
      throw e;
    }
  }

  async read(at: Position): Promise<SlotImage | null> {
    const slot = await this.slots.read(this.shard, at);
    return slot ? { at, slot, payload: await this.unwrap(at, slot) } : null;
  }

  async readEntry(at: Position): Promise<PlacedEntry | null> {
    const image = await this.read(at);
    return image ? decodeEntry(image.payload, at) : null;
  }

  /** Held slots of one segment, ascending from `from`; holes are not filled in (see the caller's C4). */
  async scan(epoch: number, from: number, limit: number): Promise<SlotImage[]> {
    const found = await this.slots.scan(this.shard, epoch, from, limit);
    const out: SlotImage[] = [];
    for (const { slot, bytes } of found) {
      const at = { epoch, slot };
      out.push({ at, slot: bytes, payload: await this.unwrap(at, bytes) });
    }
    return out;
  }

  last(epoch: number): Promise<number | null> {
    return this.slots.last(this.shard, epoch);
  }

  lastEpoch(): Promise<number | null> {
    return this.slots.lastEpoch(this.shard);
  }

  /**
   * Removes slots 1..below-1 of a segment with their chunks; START and the newest entry stay (C1).
   * @param from what lies below has been removed before
   */
  async truncate(epoch: number, below: number, from: number): Promise<void> {
    const first = Math.max(1, from);
    if (first >= below) return;
    const doomed = await this.slots.scan(this.shard, epoch, first, Math.min(TRUNCATE_SLOTS, below - first));
    const chunks: string[] = [];
    for (const { slot, bytes } of doomed) {
      if (slot >= below) break;
      await fault('truncate.eachRow', this.name({ epoch, slot }));
      if (bytes[0] === CHUNKED) chunks.push(readRef(bytes).nonce);
    }
    const lastSeen = doomed.at(-1)?.slot ?? 0;
    // slots first: a slot must never name chunks that are gone
    await this.slots.truncate(this.shard, epoch, Math.min(below, lastSeen + 1));
    for (const nonce of chunks) await this.slots.dropChunks(this.shard, nonce);
    if (lastSeen + 1 < below && doomed.length > 0) await this.truncate(epoch, below, lastSeen + 1);
  }
}
