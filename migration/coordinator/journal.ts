import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type { MultiOp, ZooKeeper } from '@nxnw/platform/locks/client';
import { z } from 'zod';
import type { JournalEvent } from './api.js';
import type { MigrationState } from './state.js';
import type { Entry } from './step.js';

const ROOT = '/nxnw/coordinator';
/** Events kept; older ones are removed with the write that makes them too old. */
const KEPT_EVENTS = 1000;
const TAKE_OVER_MS = 30_000;
const SETTLE_MS = 60_000;

const Stored = z.looseObject({ lastEvent: z.int(), state: z.looseObject({ format: z.literal(1) }).nullable() });
const StoredEvent = z.strictObject({
  number: z.int(),
  atMs: z.number(),
  actor: z.string(),
  what: z.string(),
  text: z.string(),
});

/**
 * The coordinator's journal in its platform's ZooKeeper, and the fence that keeps a superseded coordinator from writing:
 * every write checks, in the same transaction, that the epoch node is still at this coordinator's version. Losing it is
 * FENCED, and then the process has to end.
 *
 *     /nxnw/coordinator/epoch    a number; its node version is the fence
 *     /nxnw/coordinator/leader   ephemeral, who leads
 *     /nxnw/coordinator/state    {lastEvent, state}
 *     /nxnw/coordinator/events/… one node an event
 */
export class Journal {
  private constructor(
    private readonly zk: ZooKeeper,
    readonly epoch: number,
    private readonly fence: number,
    private stateVersion: number,
    private lastEvent: number,
    private readonly recent: JournalEvent[],
    readonly restored: MigrationState | null,
  ) {}

  /**
   * Becomes the leader. A leader node of the same `id` is a predecessor's whose process is gone, and is replaced at
   * once; another's is waited for until its session ends (BUSY after 30 s).
   */
  static async lead(zk: ZooKeeper, id: string, signal: AbortSignal): Promise<Journal> {
    await zk.createRecursive(`${ROOT}/events`);
    await zk.createRecursive(`${ROOT}/epoch`, Buffer.from('0'));
    await zk.createRecursive(`${ROOT}/state`, Buffer.from(JSON.stringify({ lastEvent: 0, state: null })));
    const deadlineMs = Date.now() + TAKE_OVER_MS;
    for (;;) {
      signal.throwIfAborted();
      const leader = await zk.tryGet(`${ROOT}/leader`);
      const holder = leader?.data?.toString() ?? '';
      if (leader !== null && holder !== id) {
        if (Date.now() > deadlineMs)
          throw new NxnwError('BUSY', `coordinator "${holder}" leads already, and its session has not ended`, {
            holder,
          });
        await gone(zk, deadlineMs, signal);
        continue;
      }
      const epoch = await zk.get(`${ROOT}/epoch`);
      const next = Number(epoch.data?.toString() ?? '0') + 1;
      const ops: MultiOp[] = [
        { op: 'set', path: `${ROOT}/epoch`, data: Buffer.from(String(next)), version: epoch.stat.version },
        { op: 'create', path: `${ROOT}/leader`, data: Buffer.from(id), mode: 'ephemeral' },
      ];
      if (leader !== null) ops.splice(1, 0, { op: 'remove', path: `${ROOT}/leader` });
      try {
        await zk.multi(ops);
      } catch (e) {
        if (hasCode(e, 'BAD_VERSION', 'NODE_EXISTS', 'NO_NODE', 'CONNECTION_LOSS')) continue;
        throw e;
      }
      return Journal.load(zk, next, epoch.stat.version + 1);
    }
  }

  private static async load(zk: ZooKeeper, epoch: number, fence: number): Promise<Journal> {
    await zk.sync(ROOT);
    const node = await zk.get(`${ROOT}/state`);
    const stored = Stored.parse(JSON.parse(node.data?.toString() ?? ''));
    // Written by this code only, as `MigrationState` (its `format` was checked).
    const state = stored.state as MigrationState | null;
    const recent: JournalEvent[] = [];
    const first = Math.max(1, stored.lastEvent - KEPT_EVENTS + 1);
    for (let n = first; n <= stored.lastEvent; n++) {
      const e = await zk.tryGet(eventPath(n));
      if (e?.data) recent.push(StoredEvent.parse(JSON.parse(e.data.toString())));
    }
    return new Journal(zk, epoch, fence, node.stat.version, stored.lastEvent, recent, state);
  }

  /** The events kept, oldest first. */
  get events(): readonly JournalEvent[] {
    return this.recent;
  }

  /** Throws FENCED when another coordinator has taken over. Called before every act. */
  async check(): Promise<void> {
    try {
      await this.zk.multi([{ op: 'check', path: `${ROOT}/epoch`, version: this.fence }]);
    } catch (e) {
      throw hasCode(e, 'BAD_VERSION') ? fenced(this.epoch, e) : e;
    }
  }

  /** Writes the state with its events, all or nothing, durably. Answers the events with their numbers. */
  async write(state: MigrationState, entries: readonly Entry[], nowMs: number): Promise<readonly JournalEvent[]> {
    const events = entries.map((e, i) => ({ ...e, number: this.lastEvent + i + 1, atMs: nowMs }));
    const last = this.lastEvent + events.length;
    const bytes = Buffer.from(JSON.stringify({ lastEvent: last, state }));
    const ops: MultiOp[] = [
      { op: 'check', path: `${ROOT}/epoch`, version: this.fence },
      { op: 'set', path: `${ROOT}/state`, data: bytes, version: this.stateVersion },
    ];
    for (const e of events) ops.push({ op: 'create', path: eventPath(e.number), data: Buffer.from(JSON.stringify(e)) });
    const tooOld = this.recent.slice(0, Math.max(0, this.recent.length + events.length - KEPT_EVENTS));
    for (const e of tooOld) ops.push({ op: 'remove', path: eventPath(e.number) });
    await this.settle(ops, bytes);
    this.stateVersion += 1;
    this.lastEvent = last;
    this.recent.splice(0, tooOld.length);
    this.recent.push(...events);
    return events;
  }

  /** Sends the transaction until it is known to hold; an unknown outcome is found out from the state node. */
  private async settle(ops: readonly MultiOp[], bytes: Buffer): Promise<void> {
    const deadlineMs = Date.now() + SETTLE_MS;
    for (;;) {
      try {
        await this.zk.multi(ops);
        return;
      } catch (e) {
        if (hasCode(e, 'BAD_VERSION', 'NODE_EXISTS', 'NO_NODE')) {
          const now = await this.zk.get(`${ROOT}/state`);
          // An earlier try of ours may have been held although its answer was lost.
          if (now.stat.version === this.stateVersion + 1 && now.data?.equals(bytes) === true) return;
          throw fenced(this.epoch, e);
        }
        const unknown = hasCode(e, 'CONNECTION_LOSS', 'SESSION_EXPIRED', 'DEADLINE_EXCEEDED');
        if (!unknown || Date.now() > deadlineMs) throw e;
      }
    }
  }
}

function eventPath(n: number): string {
  return `${ROOT}/events/${String(n).padStart(10, '0')}`;
}

function fenced(epoch: number, cause: unknown): NxnwError {
  return new NxnwError('FENCED', `another coordinator has taken over from epoch ${epoch}`, { epoch }, cause);
}

/** Until the leader node is gone or the deadline is over. */
async function gone(zk: ZooKeeper, deadlineMs: number, signal: AbortSignal): Promise<void> {
  const waiting = AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, deadlineMs - Date.now()))]);
  for await (const node of zk.follow(`${ROOT}/leader`, waiting)) if (node === null) return;
}
