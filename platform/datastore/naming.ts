import { hasCode } from '../errors.js';
import type { KeyNaming } from '../shards/verify.js';
import { skipBytes } from './bytes.js';
import { splitPropertyRow } from './indexes.js';
import { decodeKey, showKey } from './keys.js';

function show(key: Buffer): string {
  try {
    return showKey(decodeKey(key));
  } catch (e) {
    if (hasCode(e, 'INVALID_KEY')) return `0x${key.toString('hex')}`;
    throw e;
  }
}

/** Parts of a property index have a third element behind namespace and kind: see indexes.ts. */
function entityOf(part: Buffer, indexKey: Buffer): Buffer {
  try {
    const kindEnd = skipBytes(part, skipBytes(part, 0));
    return kindEnd === part.length ? indexKey : splitPropertyRow(indexKey).key;
  } catch (e) {
    // an index row that is none of ours: it names itself
    if (e instanceof RangeError) return indexKey;
    throw e;
  }
}

/** Entity keys as the verification of a platform's rows shows them. */
export const naming: KeyNaming = { show, entityOf };
