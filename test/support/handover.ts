import type { ShardStatus } from '@nxnw/platform/shards/control';
import type { MigrationIntent } from '@nxnw/platform/shards/control';
import type { Fleet } from './fleet.js';

/** What a coordinator asks of the receiving platform: follow and load; its doors serve from the cut-over on. */
export const intent = (serving: boolean): MigrationIntent => ({
  follow: true,
  load: 'on',
  entitiesPerS: null,
  sourceLatencyRatio: 1.1,
  serving,
});

/** Asks until there is an answer; what `ask` throws counts as none, until the time is over. */
export async function until<T>(what: string, ms: number, ask: () => Promise<T | null>): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    let failure: unknown = null;
    const answer = await ask().catch((e: unknown) => {
      failure = e;
      return null;
    });
    if (answer !== null) return answer;
    if (Date.now() > end) throw new Error(`not in time: ${what}`, { cause: failure });
    await new Promise((ok) => setTimeout(ok, 50));
  }
}

/** Waits until every shard's replica follows. */
export function following(n2: Fleet, app: string): Promise<ShardStatus[]> {
  return until('every shard follows', 90_000, async () => {
    const all = await n2.control.status(app);
    return all.every((s) => s.replica?.phase === 'following') ? all : null;
  });
}

/** Hands shards over, one after the other, each as often as it is released. */
export async function move(n2: Fleet, app: string, shards: readonly number[], to: string): Promise<void> {
  for (const index of shards)
    await until(`shard ${index} moves to ${to}`, 60_000, async () => {
      const r = await n2.control.handOver({ app, index }, to, 1000, Date.now() + 20_000);
      return r.outcome === 'released' ? null : r;
    });
}
