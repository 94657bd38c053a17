import type { ShardStatus } from './control.js';
import type { Replica } from './replica.js';

/** How far a copy is; `hostError` says why there is none. */
export function replicaStatus(r: Replica | null, hostError: string | null): NonNullable<ShardStatus['replica']> {
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
