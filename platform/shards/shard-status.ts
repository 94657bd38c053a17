import type { MovedProof } from './api.js';
import type { ShardStatus } from './control.js';
import type { ShardHost } from './host.js';
import type { Replica } from './replica.js';

/** A shard as its holder sees it. */
export function shardStatus(h: ShardHost, authority: MovedProof | null): ShardStatus {
  const state = h.owner ? h.state : (h.replica?.state ?? h.state);
  return {
    shard: h.o.shard,
    authority: authority?.platform ?? '',
    process: h.o.process,
    end: state?.end ?? null,
    applied: state?.applied ?? null,
    digest: state ? state.digestAt(state.applied) : null,
    entities: state?.entities ?? 0,
    bytes: state?.bytes ?? 0,
    replica: h.owner ? null : replicaStatus(h.replica, h.error),
    handover: h.handover,
  };
}

/** How far a copy is; `hostError` says why there is none. */
function replicaStatus(r: Replica | null, hostError: string | null): NonNullable<ShardStatus['replica']> {
  const load = r?.load ?? null;
  return {
    phase: r?.phase ?? 'none',
    error: r?.error ?? hostError,
    p0: load?.p0 ?? null,
    generation: load?.generation ?? 0,
    scanned: load?.scanned ?? 0,
    scanTotal: load?.scanTotal ?? 0,
    scannedBytes: load?.scannedBytes ?? 0,
    durable: r?.durable ?? null,
    lagMs: r?.lagMs ?? null,
    retries: r?.retries ?? 0,
  };
}
