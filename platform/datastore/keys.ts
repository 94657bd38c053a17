import { NxnwError } from '../errors.js';
import { decodeBytes, decodeInt64, encodeInt64, encodeString, prefixSuccessor, skipBytes } from './bytes.js';

/**
 * Entity keys and their order-preserving bytes: project, database, namespace, then kind and id or name of each path
 * element. The bytes sort as Datastore sorts keys (ids before names), an ancestor's bytes are a prefix of its
 * descendants', and no other key begins with them.
 */
export type PathElement =
  | { readonly kind: string; readonly id: bigint; readonly name?: undefined }
  | { readonly kind: string; readonly name: string; readonly id?: undefined };

export interface Partition {
  readonly project: string;
  readonly database: string;
  readonly namespace: string;
}

export interface Key extends Partition {
  /** Root first; never empty. */
  readonly path: readonly PathElement[];
}

const ID = 0x01;
const NAME = 0x02;

export function encodePartition(p: Partition): Buffer {
  return Buffer.concat([encodeString(p.project), encodeString(p.database), encodeString(p.namespace)]);
}

function encodeElement(e: PathElement): Buffer {
  return e.id === undefined
    ? Buffer.concat([encodeString(e.kind), Buffer.of(NAME), encodeString(e.name)])
    : Buffer.concat([encodeString(e.kind), Buffer.of(ID), encodeInt64(e.id)]);
}

export function encodeKey(key: Key): Buffer {
  return Buffer.concat([encodePartition(key), ...key.path.map(encodeElement)]);
}

function skipElement(b: Buffer, at: number): number {
  const tagAt = skipBytes(b, at);
  if (b[tagAt] === ID && tagAt + 9 <= b.length) return tagAt + 9;
  if (b[tagAt] === NAME) return skipBytes(b, tagAt + 1);
  throw new RangeError(`neither id nor name at ${tagAt}`);
}

function skipPartition(b: Buffer): number {
  return skipBytes(b, skipBytes(b, skipBytes(b, 0)));
}

/** Throws INVALID_KEY if the bytes are not those of a key. */
export function decodeKey(b: Buffer): Key {
  try {
    const project = decodeBytes(b, 0);
    const database = decodeBytes(b, project.next);
    const namespace = decodeBytes(b, database.next);
    const path: PathElement[] = [];
    for (let at = namespace.next; at < b.length;) {
      const kind = decodeBytes(b, at);
      const end = skipElement(b, at);
      path.push(
        b[kind.next] === ID
          ? { kind: kind.raw.toString(), id: decodeInt64(b, kind.next + 1) }
          : { kind: kind.raw.toString(), name: decodeBytes(b, kind.next + 1).raw.toString() },
      );
      at = end;
    }
    if (path.length === 0) throw new RangeError('no path');
    const text = { project: project.raw.toString(), database: database.raw.toString() };
    return { ...text, namespace: namespace.raw.toString(), path };
  } catch (e) {
    throw new NxnwError('INVALID_KEY', `not an encoded key: ${b.subarray(0, 64).toString('hex')}`, {}, e);
  }
}

/** The prefix of an encoded key that names its entity group: partition and root element. */
export function groupOf(key: Buffer): Buffer {
  return key.subarray(0, skipElement(key, skipPartition(key)));
}

/** Kind of an encoded key's last element. */
export function kindOf(key: Buffer): string {
  let at = skipPartition(key);
  for (let end = skipElement(key, at); end < key.length; end = skipElement(key, at)) at = end;
  return decodeBytes(key, at).raw.toString();
}

/** Keys of the ancestor and its descendants: >= from and < to. */
export function ancestorRange(ancestor: Buffer): { readonly from: Buffer; readonly to: Buffer | null } {
  return { from: ancestor, to: prefixSuccessor(ancestor) };
}

/** `shop!ns/Country:DE/City:5`, for messages. */
export function showKey(key: Key): string {
  const path = key.path.map((e) => `${e.kind}:${e.id === undefined ? JSON.stringify(e.name) : e.id}`);
  return `${key.project}!${key.namespace}/${path.join('/')}`;
}
