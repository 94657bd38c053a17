import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import { NxnwError } from '../errors.js';
import type { TlsMaterial } from './rpc.js';

/** A certificate authority, PEM. The key is a secret of the platform's stack. */
export interface Authority {
  readonly cert: string;
  readonly key: string;
}

export interface Subject {
  /** Common name: the machine, process or person that the certificate speaks for. */
  readonly name: string;
  /** Addresses and DNS names at which it serves. */
  readonly hosts: readonly string[];
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;
/** Clocks of the platform's machines may differ by this much. */
const BACKDATE_MS = DAY_MS;

/** A new authority for a platform, valid for `days`. */
export async function createAuthority(platformId: string, days = 3650): Promise<Authority> {
  const keys = await newKeys();
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [`nxnw ${platformId}`] }],
    keys,
    signingAlgorithm: ALGORITHM,
    serialNumber: newSerial(),
    ...validity(days),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: cert.toString('pem'), key: await toPem(keys.privateKey) };
}

/** A certificate (EC P-256, for server and client) with its key, signed by `authority`, valid for `days`. */
export async function issueCertificate(authority: Authority, subject: Subject, days = 825): Promise<TlsMaterial> {
  const keys = await newKeys();
  const cert = await sign(authority, keys.publicKey, subject, days);
  return { ca: authority.cert, cert, key: await toPem(keys.privateKey) };
}

/** A new key and a request (PKCS #10, PEM) to have it signed. */
export async function newRequest(name: string): Promise<{ readonly key: string; readonly csr: string }> {
  const keys = await newKeys();
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [name] }],
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return { key: await toPem(keys.privateKey), csr: csr.toString('pem') };
}

/**
 * Signs a request: only the public key is taken from it, and the proof that its sender has the private one. What the
 * certificate says is `subject`, whatever names and extensions the request has. Answers the certificate, PEM.
 * @throws CSR_REFUSED for a request that is none, is not signed by its own key, or has no EC P-256 key
 */
export async function signRequest(authority: Authority, csr: string, subject: Subject, days = 825): Promise<string> {
  const refuse = (why: string, cause?: unknown): NxnwError =>
    new NxnwError(
      'CSR_REFUSED',
      `the certificate request for ${subject.name} is refused: ${why}; it must hold an EC P-256 key and be signed by it`,
      { name: subject.name },
      cause,
    );
  let publicKey: webcrypto.CryptoKey;
  try {
    const request = new x509.Pkcs10CertificateRequest(csr);
    if (!(await request.verify())) throw refuse('its signature is not by its key');
    publicKey = await webcrypto.subtle.importKey('spki', request.publicKey.rawData, ALGORITHM, true, ['verify']);
  } catch (e) {
    throw e instanceof NxnwError ? e : refuse('it cannot be read', e);
  }
  return sign(authority, publicKey, subject, days);
}

/** A certificate that nobody vouches for, with its key: a TLS server's until it has one of its platform. */
export async function selfSigned(name: string, days: number): Promise<TlsMaterial> {
  const keys = await newKeys();
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    keys,
    signingAlgorithm: ALGORITHM,
    serialNumber: newSerial(),
    ...validity(days),
    extensions: [new x509.BasicConstraintsExtension(false, undefined, true)],
  });
  const cert = made.toString('pem');
  return { ca: cert, cert, key: await toPem(keys.privateKey) };
}

async function sign(
  authority: Authority,
  publicKey: webcrypto.CryptoKey,
  subject: Subject,
  days: number,
): Promise<string> {
  const issuer = new x509.X509Certificate(authority.cert);
  const signingKey = await fromPem(authority.key);
  const cert = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [subject.name] }],
    issuer: issuer.subjectName,
    publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    serialNumber: newSerial(),
    ...validity(days),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      ...(subject.hosts.length > 0
        ? [
            new x509.SubjectAlternativeNameExtension(
              subject.hosts.map((h) => ({ type: isIP(h) ? ('ip' as const) : ('dns' as const), value: h })),
            ),
          ]
        : []),
    ],
  });
  return cert.toString('pem');
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + days * DAY_MS) };
}

/** 16 random bytes in hex, the first one positive and not zero. */
function newSerial(): string {
  const b = webcrypto.getRandomValues(new Uint8Array(16));
  b[0] = ((b[0] ?? 0) & 0x3f) | 0x40;
  return Buffer.from(b).toString('hex');
}

async function toPem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

function fromPem(pem: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), ALGORITHM, true, ['sign']);
}
