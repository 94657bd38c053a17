import { readFileSync } from 'node:fs';
import { endpointSchema } from '@nxnw/platform/agent/spec';
import { tlsPathsSchema } from '@nxnw/platform/agent/datastore-config';
import { NxnwError } from '@nxnw/platform/errors';
import { z } from 'zod';
import { MachineRole } from './join.js';

const HostPort = z.string().regex(/^[^:\s]+:\d+$/, 'must be host:port');

/** One application on N2: where its instances run and what it is made of. */
const App = z.strictObject({
  id: z.string().min(1),
  shards: z.int().positive(),
  /** Digest of the bundle that they run. */
  bundle: z.string(),
  /** Agent roles of kind `app` that run its instances. */
  roles: z.array(MachineRole).min(1),
});

/**
 * The coordinator's part of its role's `config`; the agent adds `listen`, `tls` (paths) and `healthFile`. The role's
 * certificate must name `coordinator` (the agents' CONTROLLERS), because it steers N2's agents with it.
 */
export const coordinatorSettingsSchema = z.strictObject({
  platformId: z.string().min(1),
  version: z.string().default('0.1.0'),
  /** Directory of the coordinator's own: the join bundle (0600) and the report. */
  dataDir: z.string().min(1),
  locks: z.strictObject({ servers: z.array(HostPort).min(1) }),
  /** Ports of this machine that lead to endpoints of the source, by the endpoint as the join bundle names it. */
  doors: z.record(z.string(), HostPort).default({}),
  agents: z.array(z.strictObject({ machine: z.string(), endpoint: HostPort })).min(1),
  /** Peer endpoints of N2's datastore processes. */
  datastore: z.array(z.strictObject({ process: z.string(), endpoint: HostPort })).min(1),
  /** memcached servers by application. */
  memcached: z.record(z.string(), z.array(HostPort)).default({}),
  apps: z.array(App).min(1),
  edges: z
    .array(
      MachineRole.extend({
        /** Address that DNS shall name. */
        address: z.string(),
        httpPort: z.int().positive(),
        https: z.boolean().default(false),
      }),
    )
    .min(1),
  /** Settings of the DNS driver (migration/cutover); left out = no name is moved. */
  dns: z.unknown().optional(),
  /** Paths on this machine under which N2's stores keep data (local cloud); empty = free space is not known. */
  diskPaths: z.array(z.string()).default([]),
  /** Pause between verification passes. */
  verifyEveryMs: z.int().positive().default(5000),
  sessionTimeoutMs: z.int().positive().default(6000),
});
export type CoordinatorSettings = z.output<typeof coordinatorSettingsSchema>;

/** The file that `--config` names. */
export const coordinatorConfigSchema = coordinatorSettingsSchema.extend({
  listen: endpointSchema,
  tls: tlsPathsSchema,
  healthFile: z.string().optional(),
});
export type CoordinatorConfig = z.output<typeof coordinatorConfigSchema>;

/** Throws BAD_CONFIG naming every fault with its path. */
export function readConfig(path: string): CoordinatorConfig {
  const r = coordinatorConfigSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  if (r.success) return r.data;
  const faults = r.error.issues.map((i) => `${i.path.join('.') || '(top)'}: ${i.message}`).join('; ');
  throw new NxnwError('BAD_CONFIG', `${path}: ${faults}`, { path });
}
