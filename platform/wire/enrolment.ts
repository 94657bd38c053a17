import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { parseCertificate } from './certificates.js';

/**
 * What a new machine's agent and the operator say to each other, before either can show a certificate that the other
 * one trusts: both prove that they know the machine's one-time token, and neither sends it. docs/enrolment.md has the
 * protocol and what it protects from.
 */
const VERSION = 'nxnw-enrol-1';
const TOKEN_BYTES = 32;
const NONCE_BYTES = 32;
const MAX_PEM = 8192;

/** 32 bytes, base64url. */
export const tokenSchema = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const nonce = tokenSchema;
const proof = z.string().regex(/^[0-9a-f]{64}$/);
const pem = z.string().min(1).max(MAX_PEM);

export const helloSchema = z.strictObject({ operatorNonce: nonce });
export type Hello = z.output<typeof helloSchema>;

export const helloAnswerSchema = z.strictObject({
  platformId: z.string().max(256),
  machine: z.string().max(256),
  agentNonce: nonce,
  /** PKCS #10, PEM. */
  csr: pem,
  proof,
});
export type HelloAnswer = z.output<typeof helloAnswerSchema>;

export const acceptSchema = z.strictObject({ agentNonce: nonce, cert: pem, ca: pem, proof });
export type Accept = z.output<typeof acceptSchema>;

/** One attempt, as both sides must see it. */
export interface Attempt {
  readonly platformId: string;
  readonly machine: string;
  readonly operatorNonce: string;
  readonly agentNonce: string;
  readonly csr: string;
  /** Digest of the TLS certificate that the connection was made with, by `digestOfCertificate`. */
  readonly tlsDigest: string;
}

export function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url');
}

export function newNonce(): string {
  return randomBytes(NONCE_BYTES).toString('base64url');
}

/** SHA-256 in hex: names a token without telling it. */
export function digestOfToken(token: string): string {
  return sha256(token);
}

/** SHA-256 of a certificate's DER, in hex. */
export function digestOfCertificate(certPem: string): string {
  return sha256(parseCertificate(certPem).raw);
}

/** Each part with its length before it: no two lists of parts have the same bytes. */
export function canonicalBytes(parts: readonly string[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part, 'utf8');
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

/** The agent's proof: it knows the token, made this request, and is the other end of this very TLS connection. */
export function agentProof(token: string, a: Attempt): string {
  return mac(token, 'agent', a, []);
}

/** The operator's proof, over the certificate and the authority that it gives. */
export function operatorProof(
  token: string,
  a: Attempt,
  given: { readonly cert: string; readonly ca: string },
): string {
  return mac(token, 'operator', a, [sha256(given.cert), sha256(given.ca)]);
}

/** Compares two proofs in a time that does not depend on where they differ. */
export function sameProof(a: string, b: string): boolean {
  const x = Buffer.from(a, 'utf8');
  const y = Buffer.from(b, 'utf8');
  return x.length === y.length && timingSafeEqual(x, y);
}

function mac(token: string, by: 'agent' | 'operator', a: Attempt, more: readonly string[]): string {
  const nonces = [a.operatorNonce, a.agentNonce];
  const parts = [VERSION, by, a.platformId, a.machine, ...nonces, sha256(a.csr), a.tlsDigest, ...more];
  return createHmac('sha256', Buffer.from(token, 'base64url')).update(canonicalBytes(parts)).digest('hex');
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
