import * as pulumi from '@pulumi/pulumi';
import type { PlatformSettings } from './settings.js';

/** Every text of the settings that must not be shown. */
export function secretsOf(s: PlatformSettings): ReadonlySet<string> {
  const all = [
    s.edge.certificate?.keyPem,
    s.dns?.rfc2136?.keySecret,
    s.dns?.route53?.credentials?.secretAccessKey,
    s.source?.tls.key,
    ...s.apps.flatMap((a) => Object.values(a.secrets)),
  ];
  return new Set(all.filter((x): x is string => x !== undefined && x !== ''));
}

/** The same value with each of the secret texts marked, wherever it stands, so that the engine encrypts and hides it. */
export function seal(value: unknown, secrets: ReadonlySet<string>): pulumi.Input<unknown> {
  if (typeof value === 'string') return secrets.has(value) ? pulumi.secret(value) : value;
  if (Array.isArray(value)) return value.map((v) => seal(v, secrets));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, seal(v, secrets)]));
  return value;
}
