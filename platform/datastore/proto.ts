import { dirname, isAbsolute, join } from 'node:path';
import protobuf from 'protobufjs';

/**
 * google.datastore.v1 messages as protobufjs decodes them, with the fields that this project reads. Unset scalars read
 * as their proto3 default, unset messages as null; a oneof's own property names the member that is set. The casts here
 * are the parser's promise: the wire format has been checked against the .proto when decode answers.
 */
export interface Int64 {
  readonly low: number;
  readonly high: number;
  readonly unsigned: boolean;
}

export interface PartitionMessage {
  projectId: string;
  databaseId: string;
  namespaceId: string;
}

export interface PathElementMessage {
  kind: string;
  idType?: 'id' | 'name' | undefined;
  id: Int64;
  name: string;
}

export interface KeyMessage {
  partitionId: PartitionMessage | null;
  path: PathElementMessage[];
}

export interface TimestampMessage {
  seconds: Int64;
  nanos: number;
}

export type ValueType =
  | 'nullValue'
  | 'booleanValue'
  | 'integerValue'
  | 'doubleValue'
  | 'timestampValue'
  | 'keyValue'
  | 'stringValue'
  | 'blobValue'
  | 'geoPointValue'
  | 'entityValue'
  | 'arrayValue';

export interface ValueMessage {
  valueType?: ValueType | undefined;
  booleanValue: boolean;
  integerValue: Int64;
  doubleValue: number;
  timestampValue: TimestampMessage | null;
  keyValue: KeyMessage | null;
  stringValue: string;
  blobValue: Buffer;
  geoPointValue: { latitude: number; longitude: number } | null;
  entityValue: EntityMessage | null;
  arrayValue: { values: ValueMessage[] } | null;
  meaning: number;
  excludeFromIndexes: boolean;
}

export interface EntityMessage {
  key: KeyMessage | null;
  properties: Record<string, ValueMessage>;
}

const PACKAGE = 'google.datastore.v1.';

function loadRoot(): protobuf.Root {
  const dir = dirname(require.resolve('google-proto-files/package.json'));
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => (isAbsolute(target) ? target : join(dir, target));
  root.loadSync('google/datastore/v1/datastore.proto');
  return root;
}

const root = loadRoot();

/**
 * The same messages, with an entity in an EntityResult as plain bytes: on the wire there is no difference, and what the
 * store holds goes out as it is.
 */
const answerRoot = loadRoot();
const entityField = answerRoot.lookupType(`${PACKAGE}EntityResult`).fields['entity'];
if (entityField) entityField.type = 'bytes';
root.resolveAll();
answerRoot.resolveAll();

/** Decodes and encodes one message type; `T` is the type's declared shape above or at the caller. */
export interface MessageCodec<T> {
  decode(bytes: Buffer): T;
  encode(message: object): Buffer;
}

function codec<T>(from: protobuf.Root, name: string): MessageCodec<T> {
  const type = from.lookupType(PACKAGE + name);
  return {
    decode: (bytes) => type.decode(bytes) as unknown as T,
    encode: (message) => {
      const bytes = type.encode(message).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
  };
}

/** A codec for requests and stored messages. */
export function requestCodec<T>(name: string): MessageCodec<T> {
  return codec<T>(root, name);
}

/** A codec for answers; `entity` of an EntityResult is serialised bytes. */
export function answerCodec<T>(name: string): MessageCodec<T> {
  return codec<T>(answerRoot, name);
}

export const entityCodec = requestCodec<EntityMessage>('Entity');
export const valueCodec = requestCodec<ValueMessage>('Value');

export function toBigInt(n: Int64): bigint {
  return BigInt.asIntN(64, (BigInt(n.high) << 32n) | BigInt(n.low >>> 0));
}

export function fromBigInt(n: bigint): Int64 {
  return { high: Number(BigInt.asIntN(32, n >> 32n)), low: Number(BigInt.asIntN(32, n)), unsigned: false };
}
