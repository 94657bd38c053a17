import { join } from 'node:path';
import { repoRoot } from '@nxnw/tools';

/** Where the demo's parts are. All of it lies in one folder and in one /16 of the loopback. */
export const DIR = join(repoRoot, '.nxnw', 'demo');
/** The demo's own project: its stacks are not those that a person has in this checkout. */
export const HOME = join(DIR, 'home');
export const APP = 'gazetteer';
export const ZONE = 'nxnw.example';
export const NAME = `${APP}.${ZONE}`;
export const DNS_TTL_S = 5;
export const DNS = { host: '127.36.0.53', port: 5353 } as const;
export const EDGE_PORT = 8080;
export const NETWORKS = { blue: '127.36.1', green: '127.36.2' } as const;
export type Stack = keyof typeof NETWORKS;

/** Machines' addresses follow from the network (components/plan/machines). */
export function edgeAddress(stack: Stack): string {
  return `${NETWORKS[stack]}.201`;
}

/** A door to the datastore that accepts the application's project. */
export function doorAddress(stack: Stack): string {
  return `${NETWORKS[stack]}.101:8500`;
}

export function isOn(stack: Stack, instance: string): boolean {
  return instance.startsWith(`${NETWORKS[stack]}.`);
}

export function machinesDir(stack: Stack): string {
  return join(DIR, 'machines', stack);
}
