import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { ShardProcess } from '../shards/process.js';

/** Prometheus metrics of a process's shards, read when they are asked for. */
export function shardMetrics(registry: Registry, shards: ShardProcess): void {
  const registers = [registry];
  const of = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  const sum = (f: (h: ReturnType<ShardProcess['all']>[number]) => number) => shards.all().reduce((n, h) => n + f(h), 0);
  of('nxnw_shards_owned', 'Shards that this process owns', () => sum((h) => (h.owner ? 1 : 0)));
  of('nxnw_shards_replicated', 'Shards that this process replicates', () => sum((h) => (h.replica ? 1 : 0)));
  of('nxnw_shard_commits', 'Commits answered by the present owners', () => sum((h) => h.owner?.counters.commits ?? 0));
  of('nxnw_shard_entries', 'Log entries appended by the present owners', () =>
    sum((h) => h.owner?.counters.entries ?? 0),
  );
  of('nxnw_shard_apply_bytes', 'Bytes of entries not applied yet', () => sum((h) => h.state?.pendingBytes ?? 0));
  of('nxnw_shard_lag_ms', 'Largest lag of a replica, ms', () =>
    Math.max(0, ...shards.all().map((h) => h.replica?.lagMs ?? 0)),
  );
  of(
    'nxnw_requests_forwarded',
    'Requests that were answered by the other platform',
    () => shards.router.counters.forwarded,
  );
  of('nxnw_requests_retried', 'Requests to shards that were sent again', () => shards.router.counters.retries);
}
