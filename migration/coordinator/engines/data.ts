import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type {
  DigestCheck,
  HandoverResult,
  KeyDifference,
  MigrationIntent,
  ShardControl,
  ShardStatus,
} from '@nxnw/platform/shards/control';
import type { ShardId } from '@nxnw/platform/shards/types';
import { RpcClient } from '@nxnw/platform/wire/rpc';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';

const STATUS_MS = 10_000;
const INTENT_MS = 10_000;
/** Shards of an application that are asked at the same time. */
const AT_ONCE = 8;

/** ShardControl over the `control` service of N2's datastore processes: any of them answers for all shards. */
export class DatastoreControl implements ShardControl {
  private readonly clients: readonly RpcClient[];
  private first = 0;

  /** `endpoints` are the peer endpoints of N2's processes, host:port; `tls` a certificate of N2's authority. */
  constructor(endpoints: readonly string[], tls: TlsMaterial) {
    this.clients = endpoints.map((e) => new RpcClient(e, tls));
  }

  /** Asks the process that answered last, then the others: one that is gone must not stop the rest. */
  private async call<T>(method: string, request: unknown, deadlineMs: number): Promise<T> {
    let last: unknown = new NxnwError('UNAVAILABLE', 'no datastore process is known');
    for (let i = 0; i < this.clients.length; i++) {
      const n = (this.first + i) % this.clients.length;
      const client = this.clients[n];
      if (client === undefined) continue;
      try {
        const answer = await client.call<T>(`control.${method}`, request, { deadlineMs });
        this.first = n;
        return answer;
      } catch (e) {
        last = e;
        if (!hasCode(e, 'UNAVAILABLE', 'NOT_OWNER')) throw e;
      }
    }
    throw last;
  }

  async setIntent(app: string, intent: MigrationIntent): Promise<void> {
    await this.call('setIntent', { app, intent }, Date.now() + INTENT_MS);
  }

  status(app: string): Promise<ShardStatus[]> {
    const deadlineMs = Date.now() + STATUS_MS;
    return this.call('status', { app, deadlineMs }, deadlineMs);
  }

  async compareDigests(app: string, deadlineMs: number): Promise<DigestCheck[]> {
    const shards = (await this.status(app)).map((s) => s.shard);
    const checks: DigestCheck[] = [];
    for (let at = 0; at < shards.length; at += AT_ONCE) {
      const some = shards.slice(at, at + AT_ONCE);
      const ask = (shard: ShardId) => this.call<DigestCheck>('compareDigest', { shard, deadlineMs }, deadlineMs);
      checks.push(...(await Promise.all(some.map(ask))));
    }
    return checks;
  }

  async *deepVerify(app: string, limit: number, deadlineMs: number): AsyncGenerator<KeyDifference> {
    let left = limit;
    for (const { shard } of await this.status(app)) {
      if (left <= 0) return;
      const found = await this.call<KeyDifference[]>('deepVerify', { shard, limit: left, deadlineMs }, deadlineMs);
      left -= found.length;
      yield* found;
    }
  }

  handOver(shard: ShardId, to: string, stallBudgetMs: number, deadlineMs: number): Promise<HandoverResult> {
    return this.call('handOver', { shard, to, stallBudgetMs, deadlineMs }, deadlineMs);
  }

  async finalize(app: string, deadlineMs: number): Promise<void> {
    for (const { shard } of await this.status(app)) await this.call('finalize', { shard, deadlineMs }, deadlineMs);
  }

  stopFollowing(app: string): Promise<void> {
    return this.setIntent(app, { follow: false, load: 'off', entitiesPerS: null, sourceLatencyRatio: 1, serving: false });
  }

  close(): void {
    for (const c of this.clients) c.close();
  }
}
