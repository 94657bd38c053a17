import type { RowImage } from '../shards/types.js';
import { encodeAnswer } from './api.js';
import type { LookupRequest } from './api.js';
import { checkKey } from './checks.js';
import { API_LIMITS } from './limits.js';
import { keyMessage, timestampMessage } from './messages.js';
import { entityCodec, fromBigInt } from './proto.js';
import { readAtUs, readMode } from './reads.js';
import { invalid, unimplemented } from './refuse.js';
import { byShard, placeKey } from './service.js';
import type { Call, PlacedKey } from './service.js';

/** A stored row as an EntityResult of type FULL. */
export function fullResult(row: {
  readonly entity: Buffer | null;
  readonly version: number;
  readonly createdUs: number;
  readonly updatedUs: number;
}): object {
  return {
    entity: row.entity,
    version: fromBigInt(BigInt(row.version)),
    createTime: timestampMessage(row.createdUs),
    updateTime: timestampMessage(row.updatedUs),
  };
}

/** Looks entities up; what does not fit into one answer is deferred, the first entity never. */
export async function lookup(call: Call, request: LookupRequest): Promise<Buffer> {
  const { service, deadlineMs } = call;
  const { keys } = request;
  if (request.propertyMask) throw unimplemented('property_mask of Lookup');
  if (keys.length > API_LIMITS.lookupKeys)
    throw invalid(`Lookup of ${keys.length} keys; at most ${API_LIMITS.lookupKeys} in one request`);
  const distinct = new Map<string, PlacedKey>();
  const count = await service.client.shardCount(service.project);
  keys.forEach((k, i) => {
    const placed = placeKey(checkKey(k, service, `keys[${i}]`, 'read'), count);
    distinct.set(placed.bytes.toString('latin1'), placed);
  });
  const { transaction, begun } = readMode(service, request.readOptions);

  const groups = [...byShard([...distinct.values()], (k) => k.shard)];
  const atUs = readAtUs(service, transaction, groups.length);
  const rows = new Map<PlacedKey, RowImage | null>();
  await Promise.all(
    groups.map(async ([index, placed]) => {
      const bytes = placed.map((p) => p.bytes);
      const answer = await service.client.lookup({ app: service.project, index }, bytes, atUs, deadlineMs);
      if (transaction) service.transactions.noteKeys(transaction, bytes, answer.authority);
      placed.forEach((p, i) => rows.set(p, answer.rows[i] ?? null));
    }),
  );

  for (const row of rows.values()) if (row) service.readTime.saw(row.version);
  const readUs = atUs ?? service.readTime.now();
  const found: object[] = [];
  const missing: object[] = [];
  const deferred: object[] = [];
  let bytes = 0;
  for (const placed of distinct.values()) {
    const row = rows.get(placed);
    if (!row?.entity) {
      const entity = entityCodec.encode({ key: keyMessage(placed.key), properties: {} });
      missing.push({ entity, version: fromBigInt(BigInt(readUs)) });
    } else if (found.length > 0 && bytes + row.entity.length > service.limits.lookupBytes)
      deferred.push(keyMessage(placed.key));
    else {
      bytes += row.entity.length;
      found.push(fullResult(row));
    }
  }
  const transactionField = begun ? { transaction: begun } : {};
  return encodeAnswer('Lookup', { found, missing, deferred, readTime: timestampMessage(readUs), ...transactionField });
}
