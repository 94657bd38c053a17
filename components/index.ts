export { Platform, type PlatformArgs } from './platform.js';
export { Migration, phasesTo, type MigrationArgs } from './migration-plan.js';
export type { AppSettings, DnsSettings, EdgeCertificate, PlatformSettings } from './settings.js';
export type { ReleaseFile } from './clouds/hosts.js';
export type { CloudSettings, VirtualSettings } from './clouds/settings.js';
export { defaultNetwork } from './plan/machines.js';
