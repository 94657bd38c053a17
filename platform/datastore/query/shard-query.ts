import { Packr } from 'msgpackr';
import { z } from 'zod';
import { NxnwError } from '../../errors.js';

/**
 * What the front asks one shard's owner, and what it answers. A query is a disjunction of conjunctions over one kind (or
 * none) of one partition, with an order; a result's `position` is its place in that order as bytes, comparable across
 * shards, processes and platforms: each ordered value (inverted if descending), then the key.
 */
const FORMAT = 1;
const packr = new Packr({ useRecords: false, moreTypes: false });

const bytes = z.instanceof(Buffer);
const bound = bytes.nullable();

const conjunct = z.object({
  /** Entity keys >= keyFrom and < keyTo. */
  keyFrom: bound,
  keyTo: bound,
  /** The property has this encoded value. */
  equals: z.array(z.object({ property: z.string(), value: bytes })),
  /** One encoded value of the property is >= from and < to. */
  ranges: z.array(z.object({ property: z.string(), from: bytes, to: bytes })),
});

const shardQuery = z.object({
  format: z.literal(FORMAT),
  namespace: z.string(),
  /** null = any kind; then there are no equals and ranges, and the order is by key. */
  kind: z.string().nullable(),
  anyOf: z.array(conjunct).min(1),
  /** Orders before the key. An entity without an indexed value of one of the properties is no result. */
  orders: z.array(z.object({ property: z.string(), descending: z.boolean() })),
  keyDescending: z.boolean(),
  /** Positions >= from and < to. */
  from: bound,
  to: bound,
  /** At most this many results and, after the first, this many bytes of entities. */
  maxResults: z.number().int().positive(),
  maxBytes: z.number().int().positive(),
  /** Index rows that one run reads, about, before it answers what it has. */
  maxRows: z.number().int().positive(),
  /** What a result carries besides its position. */
  carry: z.enum(['position', 'key', 'entity']),
});

export type Conjunct = z.infer<typeof conjunct>;
export type ShardQuery = z.infer<typeof shardQuery>;
export type QueryOrder = ShardQuery['orders'][number];

const shardResult = z.object({
  position: bytes,
  key: bytes.nullable(),
  entity: bytes.nullable(),
  version: z.number(),
  createdUs: z.number(),
  updatedUs: z.number(),
});

const shardBatch = z.object({
  format: z.literal(FORMAT),
  /** The position in time of the answer, microseconds. */
  atUs: z.number(),
  results: z.array(shardResult),
  /** Every result of the shard below this position is in `results` or before the query's `from`; null = all are. */
  frontier: bound,
});

export type ShardResult = z.infer<typeof shardResult>;
export type ShardBatch = z.infer<typeof shardBatch>;

function parse<T>(what: string, schema: z.ZodType<T>, raw: Buffer): T {
  const parsed = schema.safeParse(packr.unpack(raw));
  if (parsed.success) return parsed.data;
  throw new NxnwError(
    'QUERY_FORMAT',
    `a ${what} of another format came in (this process speaks format ${FORMAT}): ${z.prettifyError(parsed.error)}; run the same version in all processes`,
  );
}

export const encodeQuery = (q: Omit<ShardQuery, 'format'>): Buffer => packr.pack({ format: FORMAT, ...q });
export const decodeQuery = (raw: Buffer): ShardQuery => parse('shard query', shardQuery, raw);
export const encodeBatch = (b: Omit<ShardBatch, 'format'>): Buffer => packr.pack({ format: FORMAT, ...b });
export const decodeBatch = (raw: Buffer): ShardBatch => parse('query answer', shardBatch, raw);
