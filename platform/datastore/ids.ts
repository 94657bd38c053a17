import { encodeAnswer } from './api.js';
import type { KeysRequest } from './api.js';
import { checkAnyKey, checkKey, completeKey } from './checks.js';
import { API_LIMITS } from './limits.js';
import { keyMessage } from './messages.js';
import { invalid } from './refuse.js';
import type { Call } from './service.js';

function checkCount(method: string, keys: readonly unknown[]): void {
  if (keys.length > API_LIMITS.idKeys)
    throw invalid(`${method} of ${keys.length} keys; at most ${API_LIMITS.idKeys} in one request`);
}

export async function allocateIds({ service, deadlineMs }: Call, request: KeysRequest): Promise<Buffer> {
  checkCount('AllocateIds', request.keys);
  const keys = request.keys.map((k, i) => {
    const checked = checkAnyKey(k, service, `keys[${i}]`, 'write');
    if (checked.last.element !== null) throw invalid(`keys[${i}] is complete; AllocateIds takes incomplete keys`);
    return checked;
  });
  const ids = keys.length > 0 ? await service.client.allocateIds(service.project, keys.length, deadlineMs) : [];
  return encodeAnswer('AllocateIds', { keys: keys.map((k, i) => keyMessage(completeKey(k, ids[i] ?? 0))) });
}

export async function reserveIds({ service, deadlineMs }: Call, request: KeysRequest): Promise<Buffer> {
  checkCount('ReserveIds', request.keys);
  const ids = request.keys.flatMap((k, i) => {
    const { id } = checkKey(k, service, `keys[${i}]`, 'write').path.at(-1) ?? {};
    // Allocated ids lie in 1..2^53-1: any other can't be given away.
    return id !== undefined && id > 0n && id <= BigInt(Number.MAX_SAFE_INTEGER) ? [Number(id)] : [];
  });
  if (ids.length > 0) await service.client.reserveIds(service.project, ids, deadlineMs);
  return encodeAnswer('ReserveIds', {});
}
