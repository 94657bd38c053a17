import { X509Certificate } from 'node:crypto';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';

const DAY_MS = 86_400_000;

export interface AuthorityInputs {
  readonly platformId: string;
}

export interface AuthorityState extends AuthorityInputs {
  readonly cert: string;
  readonly key: string;
}

export async function makeAuthority(inputs: AuthorityInputs): Promise<AuthorityState> {
  return { ...inputs, ...(await createAuthority(inputs.platformId)) };
}

export interface CertificateInputs {
  readonly authorityCert: string;
  readonly authorityKey: string;
  /** Common name. */
  readonly name: string;
  readonly hosts: readonly string[];
  readonly days: number;
}

export interface CertificateState extends CertificateInputs {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly expiresAtMs: number;
}

export async function makeCertificate(inputs: CertificateInputs): Promise<CertificateState> {
  const authority = { cert: inputs.authorityCert, key: inputs.authorityKey };
  const made = await issueCertificate(authority, { name: inputs.name, hosts: inputs.hosts }, inputs.days);
  return {
    ...inputs,
    ca: made.ca,
    cert: made.cert,
    key: made.key,
    expiresAtMs: Date.parse(new X509Certificate(made.cert).validTo),
  };
}

/** A certificate is made anew when what it says changes, or in the last fifth of its time. */
export function certificateDiffers(old: CertificateState, wanted: CertificateInputs, nowMs: number): boolean {
  const said = (c: CertificateInputs) => JSON.stringify([c.authorityCert, c.name, c.hosts, c.days]);
  return said(old) !== said(wanted) || old.expiresAtMs - nowMs < (wanted.days * DAY_MS) / 5;
}
