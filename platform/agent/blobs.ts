import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { NxnwError } from '../errors.js';
import type { UploadAnswer } from './api.js';

/** Files stored by their SHA-256: bundles of applications. */
const MAX_BLOB_BYTES = 512 << 20;

export function blobPath(machineDir: string, digest: string): string {
  return join(machineDir, 'blobs', digest);
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/**
 * Takes the next piece of a blob. A piece that does not begin where the last one ended is not taken; the answer says
 * where to go on. Throws DIGEST_MISMATCH (and forgets the pieces) if the whole has another digest.
 */
export function takePiece(
  machineDir: string,
  piece: { digest: string; totalBytes: number; offset: number; bytes: Buffer | null },
): UploadAnswer {
  const path = blobPath(machineDir, piece.digest);
  if (existsSync(path)) return { haveBytes: piece.totalBytes, complete: true };
  if (piece.totalBytes > MAX_BLOB_BYTES)
    throw new NxnwError('INVALID_ARGUMENT', `${piece.totalBytes} bytes; at most ${MAX_BLOB_BYTES} can be uploaded`);
  const partial = `${path}.partial`;
  mkdirSync(dirname(path), { recursive: true });
  let have = existsSync(partial) ? statSync(partial).size : 0;
  if (piece.bytes && piece.offset === have) {
    const fd = openSync(partial, 'a', 0o600);
    try {
      writeSync(fd, piece.bytes);
    } finally {
      closeSync(fd);
    }
    have = statSync(partial).size;
  }
  if (have < piece.totalBytes) return { haveBytes: have, complete: false };
  const found = sha256(readFileSync(partial));
  if (found !== piece.digest) {
    rmSync(partial);
    throw new NxnwError(
      'DIGEST_MISMATCH',
      `the uploaded ${have} bytes have the digest ${found}, not ${piece.digest} as announced; upload them again`,
      { found, announced: piece.digest },
    );
  }
  renameSync(partial, path);
  return { haveBytes: have, complete: true };
}

/** The whole blob, its digest checked. */
export function readBlob(machineDir: string, digest: string): Buffer {
  const bytes = readFileSync(blobPath(machineDir, digest));
  if (sha256(bytes) === digest) return bytes;
  rmSync(blobPath(machineDir, digest));
  throw new NxnwError('DIGEST_MISMATCH', `the stored blob ${digest} was damaged and is removed; upload it again`);
}

export function readPiece(
  machineDir: string,
  o: { digest: string; offset: number; maxBytes: number },
): { bytes: Buffer; totalBytes: number } {
  const path = blobPath(machineDir, o.digest);
  if (!existsSync(path)) throw new NxnwError('NOT_FOUND', `there is no blob ${o.digest} on this machine`);
  const totalBytes = statSync(path).size;
  const bytes = Buffer.alloc(Math.max(0, Math.min(o.maxBytes, totalBytes - o.offset)));
  const fd = openSync(path, 'r');
  try {
    const read = readSync(fd, bytes, 0, bytes.length, o.offset);
    return { bytes: bytes.subarray(0, read), totalBytes };
  } finally {
    closeSync(fd);
  }
}
