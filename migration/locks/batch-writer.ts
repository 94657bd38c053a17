import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import { multiOpBytes } from '@nxnw/platform/locks/client';
import type { MultiOp, ZooKeeper } from '@nxnw/platform/locks/client';
import type { Fence } from './fence.js';
import type { Marks } from './marks.js';
import { MAX_BATCHED_BYTES } from './plan.js';
import type { Change } from './plan.js';

const MAX_BATCH_OPS = 500;
const MAX_IN_FLIGHT_BYTES = 8 << 20;

/** A change that the receiver refused: it was read again too late, or cannot be made. */
export interface Refused {
  readonly change: Change;
  readonly error: NxnwError;
}

interface Batch {
  readonly changes: Change[];
  readonly ops: MultiOp[];
  bytes: number;
}

/** Errors after which nothing is known about what was written: read everything again. */
export function isUnknown(e: unknown): boolean {
  return hasCode(e, 'CONNECTION_LOSS', 'SESSION_EXPIRED', 'DEADLINE_EXCEEDED', 'CLIENT_CLOSED', 'RESOURCE_EXHAUSTED');
}

/** Writes changes to the receiver: in order, in fenced multis bounded by bytes and operations, several on the way. */
export class BatchWriter {
  constructor(
    private readonly zk: ZooKeeper,
    private readonly fence: Fence,
    private readonly marks: Marks,
  ) {}

  /**
   * Writes all changes; `alone` are put in multis of their own, so that one that always fails takes no other with it.
   * Throws FENCED, or an error for which `isUnknown` holds; everything else is in the answer.
   */
  async write(changes: readonly Change[], alone: (c: Change) => boolean): Promise<Refused[]> {
    const refused: Refused[] = [];
    const flying: { done: Promise<void>; bytes: number }[] = [];
    let flyingBytes = 0;
    let failure: Error | undefined;
    for (const batch of pack(changes, alone)) {
      while (flyingBytes > 0 && flyingBytes + batch.bytes > MAX_IN_FLIGHT_BYTES) {
        const first = flying.shift();
        await first?.done;
        flyingBytes -= first?.bytes ?? flyingBytes;
      }
      if (failure !== undefined) break;
      const done = this.send(batch, refused).catch((e: unknown) => {
        failure ??= asError(e);
      });
      flying.push({ done, bytes: batch.bytes });
      flyingBytes += batch.bytes;
    }
    for (const f of flying) await f.done;
    if (failure !== undefined) throw failure;
    return refused;
  }

  private async send(batch: Batch, refused: Refused[]): Promise<void> {
    if (batch.ops.length > 0) {
      try {
        await this.zk.multi([this.fence.check(), ...batch.ops]);
      } catch (e) {
        if (this.fence.failed(e)) throw this.fence.error(e);
        if (isUnknown(e) || !(e instanceof NxnwError)) throw e;
        const index = Number(e.fields['index'] ?? 1) - 1;
        const guilty = batch.ops[index]?.path;
        for (const change of batch.changes)
          refused.push({ change, error: change.ops.some((o) => o.path === guilty) ? e : rolledBack(e) });
        return;
      }
    }
    for (const change of batch.changes) {
      if (change.mark === 'gone') this.marks.unmarked(change.path);
      else if (change.mark) this.marks.marked(change.path, change.mark.owner);
    }
    const later = batch.changes.filter((c) => c.data || c.acl);
    if (later.length === 0) return;
    await this.fence.assertHeld();
    const done = await Promise.allSettled(
      later.map(async ({ path, data, acl }) => {
        if (data) await this.zk.set(path, data.data, data.version);
        if (acl) await this.zk.setAcl(path, acl.acl, acl.version);
      }),
    );
    for (const [i, d] of done.entries()) {
      const change = later[i];
      if (d.status === 'fulfilled' || change === undefined) continue;
      const error = asError(d.reason);
      if (isUnknown(error) || !(error instanceof NxnwError)) throw error;
      refused.push({ change, error });
    }
  }
}

/** Not guilty, but in one multi with a change that was. */
function rolledBack(cause: NxnwError): NxnwError {
  return new NxnwError('ROLLED_BACK', `rolled back with another change: ${cause.message}`, {}, cause);
}

function* pack(changes: readonly Change[], alone: (c: Change) => boolean): Generator<Batch> {
  let batch: Batch = { changes: [], ops: [], bytes: 0 };
  for (const change of changes) {
    const bytes = change.ops.reduce((n, o) => n + multiOpBytes(o), 0);
    const single = alone(change);
    const full = batch.bytes + bytes > MAX_BATCHED_BYTES || batch.ops.length + change.ops.length > MAX_BATCH_OPS;
    if (batch.changes.length > 0 && (single || full)) {
      yield batch;
      batch = { changes: [], ops: [], bytes: 0 };
    }
    batch.changes.push(change);
    batch.ops.push(...change.ops);
    batch.bytes += bytes + (change.data?.data?.length ?? 0);
    if (single) {
      yield batch;
      batch = { changes: [], ops: [], bytes: 0 };
    }
  }
  if (batch.changes.length > 0) yield batch;
}
