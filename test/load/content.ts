import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Observation } from '../oracle/record.js';

/** What the gazetteer answers, as far as the oracle needs it. */
const FIELDS = [
  'name', 'altName', 'country', 'featureCode', 'adminCode', 'population', 'lat', 'lon',
  'signatures', 'tokens', 'note', 'serial', 'nonce',
] as const; // prettier-ignore

export const placeSchema = z.looseObject({
  name: z.string(),
  country: z.string(),
  population: z.number(),
  signatures: z.int(),
  tokens: z.int(),
  serial: z.int(),
  nonce: z.string(),
});
export type PlaceContent = z.infer<typeof placeSchema>;

export const viewSchema = z.looseObject({
  id: z.int(),
  place: placeSchema.nullable(),
  serial: z.int(),
  nonce: z.string().nullable(),
  prev: z.string().nullable().optional(),
  deleted: z.boolean(),
  recent: z.array(z.string()).optional(),
});
export type View = z.infer<typeof viewSchema>;

/** Digest of a place's content, serial and nonce included. */
export function sumOf(place: PlaceContent | null): string | null {
  if (place === null) return null;
  const values = FIELDS.map((f) => place[f] ?? null);
  return createHash('sha1').update(JSON.stringify(values)).digest('hex').slice(0, 12);
}

/** @param o.recent whether to keep the ledger's list of the newest states */
export function observe(view: View, o: { from: 'store' | 'cache'; recent: 'keep' | 'drop' }): Observation {
  const { place } = view;
  return {
    id: view.id,
    serial: view.serial,
    nonce: view.nonce,
    ...(view.prev === undefined ? {} : { prev: view.prev }),
    deleted: view.deleted,
    placeSerial: place?.serial ?? null,
    placeNonce: place?.nonce ?? null,
    sum: sumOf(place),
    signatures: place?.signatures ?? null,
    tokens: place?.tokens ?? null,
    ...(o.recent === 'keep' && view.recent !== undefined ? { recent: view.recent } : {}),
    from: o.from,
  };
}

/** A place of a query's result: the query tells nothing of the ledger. */
export function observePlace(id: number, place: PlaceContent): Observation {
  return {
    id,
    serial: place.serial,
    nonce: place.nonce,
    deleted: false,
    placeSerial: place.serial,
    placeNonce: place.nonce,
    sum: sumOf(place),
    signatures: place.signatures,
    tokens: place.tokens,
    from: 'store',
  };
}
