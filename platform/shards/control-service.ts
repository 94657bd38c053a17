import type { RpcServer } from '../wire/rpc.js';
import { NxnwError, asError, hasCode } from '../errors.js';
import type {
  DigestCheck,
  HandoverResult,
  HandoverSlots,
  KeyDifference,
  MigrationIntent,
  ShardStatus,
  SlotsRead,
} from './control.js';
import type { ShardProcess } from './process.js';
import { MIGRATIONS } from './process.js';
import type { Position, ShardId } from './types.js';
import type { RowPrint, VerifyPage } from './verify.js';
import type { IndexFault } from './verify-index.js';

type Sided = { readonly shard: ShardId; readonly deadlineMs: number };

const CALL_MS = 30_000;
/** Differences that are looked at again together. */
const SUSPECTS = 100;
/** A cross-group commit may get a version below the position of a scan: one more look does not take that for a difference. */
const LOOKS = 3;
const MAX_INDEX_FAULTS = 1000;

/** Calls the shard's holder on this platform or on the other one. */
async function ask<T>(
  p: ShardProcess,
  side: 'here' | 'peer',
  method: string,
  shard: ShardId,
  body: object,
  deadlineMs: number,
): Promise<T> {
  return p.router.askSide<T>(side, method, shard, { ...body, shard, deadlineMs }, deadlineMs);
}

async function compareDigest(p: ShardProcess, shard: ShardId, deadlineMs: number): Promise<DigestCheck> {
  const status = await ask<ShardStatus>(p, 'here', 'status', shard, {}, deadlineMs);
  const from = status.authority === p.platform ? 'here' : 'peer';
  const to = from === 'here' ? 'peer' : 'here';
  for (;;) {
    const a = await ask<{ at: Position; digest: string | null }>(p, from, 'digestNow', shard, {}, deadlineMs);
    const b = await ask<{ digest: string | null }>(p, to, 'digestAt', shard, { at: a.at }, deadlineMs);
    // positions that one side does not remember any more are asked for anew
    if (a.digest !== null && b.digest !== null) {
      const [here, there] = from === 'here' ? [a.digest, b.digest] : [b.digest, a.digest];
      return { shard, at: a.at, equal: here === there, here, there };
    }
    if (Date.now() >= deadlineMs)
      throw new NxnwError(
        'DEADLINE_EXCEEDED',
        `the digests of shard ${shard.app}/${shard.index} could not be compared in time: one side has not counted its rows yet`,
      );
    await new Promise<void>((ok) => setTimeout(ok, 100));
  }
}

interface Sides {
  readonly from: 'here' | 'peer';
  readonly to: 'here' | 'peer';
  readonly at: Position;
  readonly atUs: number;
}

/** Which side the shard's authority is now, and a position and time of it at which both sides are compared. */
async function sidesNow(p: ShardProcess, shard: ShardId, deadlineMs: number): Promise<Sides> {
  for (;;) {
    const status = await ask<ShardStatus>(p, 'here', 'status', shard, {}, deadlineMs);
    const from = status.authority === p.platform ? 'here' : 'peer';
    const soonMs = Math.min(deadlineMs, Date.now() + 1000);
    try {
      const { at } = await ask<{ at: Position }>(p, from, 'digestNow', shard, {}, soonMs);
      const { atUs } = await ask<{ atUs: number }>(p, from, 'timeOf', shard, { at }, soonMs);
      return { from, to: from === 'here' ? 'peer' : 'here', at, atUs };
    } catch (e) {
      // it is being handed over: the next status tells where it is
      if (!hasCode(e, 'NOT_OWNER', 'DEADLINE_EXCEEDED') || Date.now() >= deadlineMs) throw e;
    }
  }
}

/** MOVE and START of the shard's last hand-over as both stores hold them; null = it was never handed over. */
async function handoverSlots(p: ShardProcess, shard: ShardId, deadlineMs: number): Promise<HandoverSlots | null> {
  const { handover } = await ask<ShardStatus>(p, 'here', 'status', shard, {}, deadlineMs);
  if (!handover) return null;
  const at = [handover.move, { epoch: handover.move.epoch + 1, slot: 0 }];
  const read: SlotsRead[] = [];
  let missing: string | null = null;
  for (const side of ['here', 'peer'] as const) {
    try {
      const answer = await ask<{ platform: string; held: (string | null)[] }>(p, side, 'slotsAt', shard, { at }, deadlineMs); // prettier-ignore
      read.push({ platform: answer.platform, move: answer.held[0] ?? null, start: answer.held[1] ?? null });
    } catch (e) {
      missing = asError(e).message;
    }
  }
  return { shard, read, missing };
}

type Fault = { readonly key: Buffer; readonly what: KeyDifference['what'] };

/** Compares two streams of rows in key order: the authority's with the other side's. */
async function* compareRows(
  a: AsyncGenerator<RowPrint, void>,
  b: AsyncGenerator<RowPrint, void>,
): AsyncGenerator<Fault> {
  let x = await a.next();
  let y = await b.next();
  while (!x.done || !y.done) {
    const c = x.done ? 1 : y.done ? -1 : Buffer.compare(x.value.key, y.value.key);
    if (c < 0 && !x.done) {
      yield { key: x.value.key, what: 'missing' };
      x = await a.next();
    } else if (c > 0 && !y.done) {
      yield { key: y.value.key, what: 'extra' };
      y = await b.next();
    } else if (!x.done && !y.done) {
      const { key } = x.value;
      if (x.value.version !== y.value.version) yield { key, what: 'version' };
      else if (!x.value.digest.equals(y.value.digest)) yield { key, what: 'content' };
      [x, y] = [await a.next(), await b.next()];
    }
  }
}

/**
 * The keys that differ. What the scan finds is looked at again at newer positions before it is given out: while a scan
 * runs, rows change that its position does not know.
 */
async function* deepVerify(p: ShardProcess, shard: ShardId, deadlineMs: number): AsyncIterable<Fault> {
  const s = await sidesNow(p, shard, deadlineMs);
  const pages = (side: 'here' | 'peer') =>
    rowsOf((after) =>
      ask<VerifyPage>(p, side, 'verifyScan', shard, { at: s.at, atUs: s.atUs, after }, Date.now() + CALL_MS),
    );
  let suspects: Fault[] = [];
  for await (const found of compareRows(pages(s.from), pages(s.to))) {
    suspects.push(found);
    if (suspects.length < SUSPECTS) continue;
    yield* await stillDiffering(p, shard, suspects, deadlineMs);
    suspects = [];
  }
  yield* await stillDiffering(p, shard, suspects, deadlineMs);
}

async function stillDiffering(
  p: ShardProcess,
  shard: ShardId,
  suspects: readonly Fault[],
  deadlineMs: number,
): Promise<readonly Fault[]> {
  let left = suspects;
  for (let look = 0; look < LOOKS && left.length > 0; look++) {
    const s = await sidesNow(p, shard, deadlineMs);
    const keys = [...new Map(left.map((f) => [f.key.toString('latin1'), f.key])).values()].sort(Buffer.compare);
    const page = (side: 'here' | 'peer') =>
      rowsOf(() => ask<VerifyPage>(p, side, 'verifyKeys', shard, { at: s.at, atUs: s.atUs, keys }, deadlineMs));
    const again: Fault[] = [];
    for await (const f of compareRows(page(s.from), page(s.to))) again.push(f);
    left = again;
  }
  return left;
}

async function* rowsOf(page: (after: Buffer | null) => Promise<VerifyPage>): AsyncGenerator<RowPrint, void> {
  let after: Buffer | null = null;
  for (;;) {
    const p: VerifyPage = await page(after);
    yield* p.rows;
    if (p.done) return;
    after = p.last;
  }
}

/** `control.*`: what a coordinator asks of this platform's datastore processes (ShardControl). Any process answers. */
export function addControlService(server: RpcServer, p: ShardProcess): void {
  const { show } = p.o.naming;
  server.add('control', {
    unary: {
      setIntent: async (body) => {
        const { app, intent } = body as { app: string; intent: MigrationIntent };
        const path = `${MIGRATIONS}/${app}`;
        const data = Buffer.from(JSON.stringify(intent));
        await p.o.zk.createRecursive(path, data);
        await p.o.zk.set(path, data);
        return {};
      },
      /** Statuses of every shard of the application, asked of their holders. */
      status: async (body) => {
        const { app, deadlineMs } = body as { app: string; deadlineMs: number };
        const count = await p.router.shardCount(app);
        const list = Array.from({ length: count }, (_, index) => ({ app, index }));
        return Promise.all(list.map((shard) => ask<ShardStatus>(p, 'here', 'status', shard, {}, deadlineMs)));
      },
      compareDigest: (body) => compareDigest(p, (body as Sided).shard, (body as Sided).deadlineMs),
      /** Which keys differ; at most `limit`. */
      deepVerify: async (body) => {
        const { shard, limit, deadlineMs } = body as Sided & { limit: number };
        const out: KeyDifference[] = [];
        const add = (f: Fault) => out.push({ shard, key: show(f.key), what: f.what }) >= limit;
        for await (const f of deepVerify(p, shard, deadlineMs)) if (add(f)) return out;
        const sides = (['here', 'peer'] as const).map((side) =>
          ask<IndexFault[]>(p, side, 'indexFaults', shard, { limit: MAX_INDEX_FAULTS }, deadlineMs),
        );
        // several index rows of one entity are one difference
        const named = new Set<string>();
        for (const { entity, what } of (await Promise.all(sides)).flat()) {
          const id = `${what} ${entity.toString('latin1')}`;
          if (named.has(id)) continue;
          named.add(id);
          if (add({ key: entity, what })) break;
        }
        return out;
      },
      handOver: (body) => {
        const { shard, to, stallBudgetMs, deadlineMs } = body as Sided & { to: string; stallBudgetMs: number };
        return ask<HandoverResult>(
          p,
          to === p.platform ? 'peer' : 'here',
          'handOver',
          shard,
          { to, stallBudgetMs },
          deadlineMs,
        );
      },
      handoverSlots: async (body) => {
        const { app, deadlineMs } = body as { app: string; deadlineMs: number };
        const list = Array.from({ length: await p.router.shardCount(app) }, (_, index) => ({ app, index }));
        const all = await Promise.all(list.map((shard) => handoverSlots(p, shard, deadlineMs)));
        return all.filter((s) => s !== null);
      },
      finalize: (body) => ask<object>(p, 'here', 'final', (body as Sided).shard, {}, (body as Sided).deadlineMs),
    },
  });
}
