import { X509Certificate, createHash, createPrivateKey } from 'node:crypto';
import { NxnwError } from '../errors.js';
import type { TlsMaterial } from './rpc.js';

/** Reads a certificate, PEM; CERTIFICATE_REFUSED if it is none. */
export function parseCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (e) {
    throw new NxnwError('CERTIFICATE_REFUSED', 'what was given as a certificate cannot be read as one', {}, e);
  }
}

/** Common name of a certificate; '' if it has none. */
export function commonName(cert: X509Certificate): string {
  return /^CN=(.*)$/m.exec(cert.subject)?.[1] ?? '';
}

/** Addresses and names that a certificate is for, sorted. */
export function hostsOf(cert: X509Certificate): string[] {
  return (cert.subjectAltName ?? '')
    .split(', ')
    .flatMap((n) => /^(?:IP Address|DNS):(.+)$/.exec(n)?.[1] ?? [])
    .sort();
}

/** True if the authority `ca` signed it and may sign. Its time is not looked at. */
export function isIssuedBy(cert: X509Certificate, ca: X509Certificate): boolean {
  return ca.ca && cert.checkIssued(ca) && cert.verify(ca.publicKey);
}

/** SHA-256 of a certificate's public key (SPKI), in hex. */
export function keyFingerprint(cert: X509Certificate): string {
  const spki = cert.publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('hex');
}

/**
 * Checks that a machine can use what it was given before it gives up what it has: a certificate by `ca`, in its time,
 * for its name, that belongs to its key. Throws CERTIFICATE_REFUSED, which says what is wrong.
 */
export function checkIdentity(tls: TlsMaterial, name: string, nowMs: number): void {
  const cert = parseCertificate(tls.cert);
  const ca = parseCertificate(tls.ca);
  const faults = [
    ...(isIssuedBy(cert, ca) ? [] : ["it is not signed by the platform's authority"]),
    ...(cert.checkPrivateKey(createPrivateKey(tls.key)) ? [] : ['it is for another key']),
    ...(commonName(cert) === name ? [] : [`it is for "${commonName(cert)}"`]),
    ...(cert.ca ? ['it may sign others'] : []),
    ...(Date.parse(cert.validFrom) > nowMs ? [`it is valid from ${cert.validFrom} only`] : []),
    ...(Date.parse(cert.validTo) <= nowMs ? [`it has expired at ${cert.validTo}`] : []),
  ];
  if (faults.length === 0) return;
  throw new NxnwError(
    'CERTIFICATE_REFUSED',
    `machine ${name} refuses the certificate it was given: ${faults.join(', ')}; its clock says ${new Date(nowMs).toISOString()}`,
    { machine: name },
  );
}
