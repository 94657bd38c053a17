import type { RpcServer } from '../wire/rpc.js';
import { NxnwError } from '../errors.js';
import type { DigestCheck, HandoverResult, KeyDifference, MigrationIntent, ShardStatus } from './control.js';
import type { ShardProcess } from './process.js';
import { MIGRATIONS } from './process.js';
import type { Position, ShardId } from './types.js';
import type { VerifyPage } from './verify.js';

type Sided = { readonly shard: ShardId; readonly deadlineMs: number };

const CALL_MS = 30_000;

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
    if (p.nowMs() >= deadlineMs)
      throw new NxnwError(
        'DEADLINE_EXCEEDED',
        `the digests of shard ${shard.app}/${shard.index} could not be compared in time: one side has not counted its rows yet`,
      );
    await new Promise<void>((ok) => setTimeout(ok, 100));
  }
}

async function* deepVerify(
  p: ShardProcess,
  shard: ShardId,
  show: (key: Buffer) => string,
  deadlineMs: number,
): AsyncIterable<KeyDifference> {
  const status = await ask<ShardStatus>(p, 'here', 'status', shard, {}, deadlineMs);
  const from = status.authority === p.platform ? 'here' : 'peer';
  const to = from === 'here' ? 'peer' : 'here';
  const { at } = await ask<{ at: Position }>(p, from, 'digestNow', shard, {}, deadlineMs);
  const { atUs } = await ask<{ atUs: number }>(p, from, 'timeOf', shard, { at }, deadlineMs);
  const pages = (side: 'here' | 'peer') =>
    rowsOf((after) => ask<VerifyPage>(p, side, 'verifyScan', shard, { at, atUs, after }, p.nowMs() + CALL_MS));
  const a = pages(from);
  const b = pages(to);
  let x = await a.next();
  let y = await b.next();
  while (!x.done || !y.done) {
    const c = x.done ? 1 : y.done ? -1 : Buffer.compare(x.value.key, y.value.key);
    if (c < 0 && !x.done) {
      yield { shard, key: show(x.value.key), what: 'missing' };
      x = await a.next();
    } else if (c > 0 && !y.done) {
      yield { shard, key: show(y.value.key), what: 'extra' };
      y = await b.next();
    } else if (!x.done && !y.done) {
      if (x.value.version !== y.value.version) yield { shard, key: show(x.value.key), what: 'version' };
      else if (!x.value.digest.equals(y.value.digest)) yield { shard, key: show(x.value.key), what: 'content' };
      if (x.value.lacksIndex || y.value.lacksIndex) yield { shard, key: show(x.value.key), what: 'index-missing' };
      [x, y] = [await a.next(), await b.next()];
    }
  }
}

async function* rowsOf(
  page: (after: Buffer | null) => Promise<VerifyPage>,
): AsyncGenerator<{ key: Buffer; version: number; digest: Buffer; lacksIndex: boolean }, void> {
  let after: Buffer | null = null;
  for (;;) {
    const p: VerifyPage = await page(after);
    const lacking = new Set(p.indexMissing.map((k) => k.toString('latin1')));
    for (const r of p.rows) yield { ...r, lacksIndex: lacking.has(r.key.toString('latin1')) };
    if (p.done) return;
    after = p.last;
  }
}

/** `control.*`: what a coordinator asks of this platform's datastore processes (ShardControl). Any process answers. */
export function addControlService(
  server: RpcServer,
  p: ShardProcess,
  show: (key: Buffer) => string = (k) => k.toString('hex'),
): void {
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
        for await (const d of deepVerify(p, shard, show, deadlineMs)) if (out.push(d) >= limit) break;
        if (out.length < limit) {
          const extra = await ask<{ part: string; key: Buffer }[]>(
            p,
            'here',
            'extraIndex',
            shard,
            { limit: limit - out.length },
            deadlineMs,
          );
          for (const e of extra) out.push({ shard, key: `${e.part}: ${show(e.key)}`, what: 'index-extra' });
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
      finalize: (body) => ask<object>(p, 'here', 'final', (body as Sided).shard, {}, (body as Sided).deadlineMs),
    },
  });
}
