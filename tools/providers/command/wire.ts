/**
 * Values as the engine sends them to a provider: a secret, an asset or an archive is an object with a signature, and
 * what a preview does not know yet is a placeholder.
 */
import {
  specialArchiveSig,
  specialAssetSig,
  specialOutputValueSig,
  specialSecretSig,
  specialSigKey,
  unknownValue,
} from '@pulumi/pulumi/runtime/index.js';

export type Properties = Readonly<Record<string, unknown>>;

function isObject(v: unknown): v is Properties {
  return typeof v === 'object' && v !== null && !Array.isArray(v);
}

function signature(v: unknown): unknown {
  return isObject(v) ? v[specialSigKey] : undefined;
}

function some(v: unknown, test: (v: unknown) => boolean): boolean {
  if (test(v)) return true;
  return (Array.isArray(v) || isObject(v)) && Object.values(v).some((e) => some(e, test));
}

export function hasSecret(v: unknown): boolean {
  return some(v, (e) => signature(e) === specialSecretSig);
}

export function hasUnknown(v: unknown): boolean {
  return some(v, (e) => e === unknownValue);
}

export function isAsset(v: unknown): boolean {
  return signature(v) === specialAssetSig;
}

export function isArchive(v: unknown): boolean {
  return signature(v) === specialArchiveSig;
}

export function secret(value: unknown): unknown {
  return { [specialSigKey]: specialSecretSig, value };
}

/** The value without its wrappers of secrets and outputs, at any depth; fields that are null are left out. */
export function plain(v: unknown): unknown {
  if (Array.isArray(v)) return v.map(plain);
  if (!isObject(v)) return v;
  const sig = signature(v);
  if (sig === specialSecretSig || sig === specialOutputValueSig) return plain(v['value']);
  return plainFields(v);
}

export function plainFields(v: Properties): Properties {
  return Object.fromEntries(
    Object.entries(v)
      .filter(([, e]) => e !== null && e !== undefined)
      .map(([k, e]) => [k, plain(e)]),
  );
}

/** Text that is equal for equal values: the order of fields does not count, an asset counts by its content's hash. */
function fingerprint(v: unknown): string {
  if (Array.isArray(v)) return `[${v.map(fingerprint).join(',')}]`;
  if (!isObject(v)) return JSON.stringify(v ?? null);
  if ((isAsset(v) || isArchive(v)) && typeof v['hash'] === 'string' && v['hash'] !== '') return `#${v['hash']}`;
  const fields = Object.keys(v).sort();
  return `{${fields.map((k) => `${JSON.stringify(k)}:${fingerprint(v[k])}`).join(',')}}`;
}

/** Whether plain values are the same; what is not known yet is the same as nothing. */
export function same(was: unknown, now: unknown): boolean {
  return !hasUnknown(now) && fingerprint(was) === fingerprint(now);
}
