import { NxnwError, hasCode } from '../errors.js';
import type { TlsMaterial } from '../wire/rpc.js';
import { RpcClient } from '../wire/rpc.js';
import type {
  DigestCheck,
  HandoverResult,
  HandoverSlots,
  KeyDifference,
  MigrationIntent,
  ShardControl,
  ShardStatus,
} from './control.js';
import type { ShardId } from './types.js';

const STATUS_MS = 5000;
const INTENT_MS = 10_000;

/** ShardControl over RPC: asks any of a platform's datastore processes, the next one if it does not answer. */
export class RemoteShardControl implements ShardControl {
  private readonly clients: RpcClient[];
  private next = 0;

  constructor(endpoints: readonly string[], tls: TlsMaterial) {
    if (endpoints.length === 0)
      throw new NxnwError(
        'INVALID_ARGUMENT',
        'no datastore process is named: at least one endpoint host:port is needed',
      );
    this.clients = endpoints.map((e) => new RpcClient(e, tls));
  }

  private async ask<T>(method: string, body: object, deadlineMs: number): Promise<T> {
    let last: unknown;
    for (let i = 0; i < this.clients.length; i++) {
      const client = this.clients[this.next % this.clients.length];
      if (!client) break;
      try {
        return await client.call<T>(`control.${method}`, { ...body, deadlineMs }, { deadlineMs });
      } catch (e) {
        if (!hasCode(e, 'UNAVAILABLE')) throw e;
        last = e;
        this.next++;
      }
    }
    throw new NxnwError(
      'UNAVAILABLE',
      `no datastore process of ${this.clients.map((c) => c.target).join(', ')} answers ${method}`,
      {},
      last,
    );
  }

  async setIntent(app: string, intent: MigrationIntent): Promise<void> {
    await this.ask('setIntent', { app, intent }, Date.now() + INTENT_MS);
  }

  status(app: string): Promise<ShardStatus[]> {
    return this.ask('status', { app }, Date.now() + STATUS_MS);
  }

  private async shards(app: string): Promise<ShardId[]> {
    return (await this.status(app)).map((s) => s.shard);
  }

  async compareDigests(app: string, deadlineMs: number): Promise<DigestCheck[]> {
    return Promise.all(
      (await this.shards(app)).map((shard) => this.ask<DigestCheck>('compareDigest', { shard }, deadlineMs)),
    );
  }

  async *deepVerify(app: string, limit: number, deadlineMs: number): AsyncIterable<KeyDifference> {
    let left = limit;
    for (const shard of await this.shards(app)) {
      const found = await this.ask<KeyDifference[]>('deepVerify', { shard, limit: left }, deadlineMs);
      yield* found;
      left -= found.length;
      if (left <= 0) return;
    }
  }

  handOver(shard: ShardId, to: string, stallBudgetMs: number, deadlineMs: number): Promise<HandoverResult> {
    return this.ask('handOver', { shard, to, stallBudgetMs }, deadlineMs);
  }

  handoverSlots(app: string, deadlineMs: number): Promise<HandoverSlots[]> {
    return this.ask('handoverSlots', { app }, deadlineMs);
  }

  async finalize(app: string, deadlineMs: number): Promise<void> {
    for (const shard of await this.shards(app)) await this.ask('finalize', { shard }, deadlineMs);
  }

  async stopFollowing(app: string): Promise<void> {
    await this.setIntent(app, {
      follow: false,
      load: 'off',
      entitiesPerS: null,
      sourceLatencyRatio: 1.1,
      serving: false,
    });
  }

  close(): void {
    for (const c of this.clients) c.close();
  }
}
