import { encodeBytes, encodeDouble, encodeInt64, encodeString, skipBytes } from './bytes.js';
import { encodeKey } from './keys.js';
import { keyOf, microsOf } from './messages.js';
import { toBigInt } from './proto.js';
import type { ValueMessage } from './proto.js';

/**
 * Values as index rows carry them, in Datastore's documented order of mixed types: null; fixed-point numbers (integers
 * and timestamps in microseconds, one sequence); booleans; byte sequences (strings and blobs, one sequence);
 * floating-point numbers; geographical points (latitude, then longitude); keys. An integer never equals a double.
 * https://cloud.google.com/datastore/docs/concepts/entities#value_type_ordering
 */
const NULL = 0x10;
const FIXED = 0x20;
const FALSE = 0x30;
const TRUE = 0x31;
const BYTES = 0x40;
const DOUBLE = 0x50;
const GEO = 0x60;
const KEY = 0x70;

const tagged = (tag: number, ...parts: Buffer[]): Buffer => Buffer.concat([Buffer.of(tag), ...parts]);

/** Every value's encoding is >= this. */
export const LOWEST_VALUE = Buffer.of(NULL);
/** Every value's encoding is < this. */
export const ABOVE_VALUES = Buffer.of(KEY + 1);

/** The encoding of one value; null for arrays and entities, which no index row holds as a whole. */
export function encodeValue(v: ValueMessage): Buffer | null {
  switch (v.valueType) {
    case 'nullValue':
      return tagged(NULL);
    case 'integerValue':
      return tagged(FIXED, encodeInt64(toBigInt(v.integerValue)));
    case 'timestampValue':
      return v.timestampValue && tagged(FIXED, encodeInt64(microsOf(v.timestampValue)));
    case 'booleanValue':
      return tagged(v.booleanValue ? TRUE : FALSE);
    case 'stringValue':
      return tagged(BYTES, encodeString(v.stringValue));
    case 'blobValue':
      return tagged(BYTES, encodeBytes(v.blobValue));
    case 'doubleValue':
      return tagged(DOUBLE, encodeDouble(v.doubleValue));
    case 'geoPointValue':
      return (
        v.geoPointValue && tagged(GEO, encodeDouble(v.geoPointValue.latitude), encodeDouble(v.geoPointValue.longitude))
      );
    case 'keyValue':
      return v.keyValue && tagged(KEY, encodeBytes(encodeKey(keyOf(v.keyValue))));
    case 'entityValue':
    case 'arrayValue':
    case undefined:
      return null;
  }
}

/** Length of the value at the beginning of an index row's key; the entity key follows it. */
export function valueLength(b: Buffer): number {
  switch (b[0]) {
    case NULL:
    case FALSE:
    case TRUE:
      return 1;
    case FIXED:
    case DOUBLE:
      return 9;
    case GEO:
      return 17;
    case BYTES:
    case KEY:
      return skipBytes(b, 1);
    default:
      throw new RangeError(`no value begins with ${b[0] ?? 'nothing'}`);
  }
}
