import { createHash } from 'node:crypto';

/** Namespace of our element in the metadata of domains and networks, by which they are found again. */
export const METADATA_URI = 'https://nxnw.dev/libvirt/1';

export const domainName = (platformId: string, machine: string): string => `${platformId}-${machine}`;
export const rootVolume = (domain: string): string => `${domain}-root.img`;
export const seedVolume = (domain: string): string => `${domain}-seed.iso`;
export const dataVolume = (domain: string): string => `${domain}-data.img`;
export const networkName = (platformId: string): string => `nxnw-${platformId}`;
export const filterName = (platformId: string, group: string): string => `nxnw-${platformId}-${group}`;

/**
 * The address of a machine's network card: the same in every run, so that a machine that is made again keeps it. Locally
 * administered (52:54) and 32 bits of a digest.
 */
export function macOf(platformId: string, machine: string): string {
  const hex = createHash('sha256').update(`${platformId}/${machine}`).digest('hex');
  return ['52', '54', ...(hex.slice(0, 8).match(/../g) ?? [])].join(':');
}
