import { resolve } from 'node:path';
import { type AppSettings, type EdgeCertificate, type PlatformSettings } from '@nxnw/components';
import type { JoinBundle } from '@nxnw/migration/coordinator/join';
import { stageRank } from '@nxnw/migration/coordinator/api';
import { packBundle } from '@nxnw/platform/apps/bundle';
import { NxnwError, asError } from '@nxnw/platform/errors';
import { compileCloud } from './cloud.js';
import type { StackConfig } from './config/schema.js';

const DEFAULT_SHARDS = 8;

/** Splits a PEM text into certificates and the key. */
export function splitPem(text: string): EdgeCertificate | undefined {
  const blocks = text.match(/-----BEGIN [A-Z ]+-----[^-]+-----END [A-Z ]+-----/g) ?? [];
  const certs = blocks.filter((b) => b.includes('BEGIN CERTIFICATE'));
  const key = blocks.find((b) => /BEGIN ([A-Z]+ )?PRIVATE KEY/.test(b));
  if (certs.length === 0 || key === undefined) return undefined;
  return { certPem: certs.join('\n') + '\n', keyPem: key + '\n' };
}

/** Platform id of a stack: `shop-blue`. */
export function platformIdOf(config: StackConfig, stack: string): string {
  return `${config.platform.name}-${stack}`.toLowerCase().replace(/[^a-z0-9-]/g, '-');
}

/**
 * Compiles a stack's configuration, and the join bundle of the platform it takes over from, into the platform's
 * settings: every default and every inheritance is decided here.
 * @param root folder of the project, where relative paths begin
 * @throws BAD_CONFIG with every fault
 */
export function compileSettings(
  config: StackConfig,
  stack: string,
  root: string,
  source: JoinBundle | undefined,
): PlatformSettings {
  const faults: string[] = [];
  const platformId = platformIdOf(config, stack);
  if (!/^[a-z][a-z0-9-]{0,47}$/.test(platformId))
    faults.push(
      `the platform's id is NAME-STACK, here "${platformId}"; it must begin with a letter and have at most 48 characters: choose another nxnw:platform.name or stack name`,
    );
  if (source?.platformId === platformId)
    faults.push(`nxnw:migrateFrom: the source is this very platform, "${platformId}"; migrate in another stack`);
  const certificate = config.edge.certificate === undefined ? undefined : splitPem(config.edge.certificate.secret);
  if (config.edge.certificate !== undefined && certificate === undefined)
    faults.push('nxnw:edge.certificate.secret: must hold a certificate and its private key, both PEM');
  if (source !== undefined) faults.push(...sourceFaults(config, source));

  const apps = [
    ...config.apps.map((a, i) =>
      configuredApp(config, a, root, source, (f) => faults.push(`nxnw:apps[${String(i)}]${f}`)),
    ),
    ...(source?.apps ?? []).filter((a) => !config.apps.some((c) => c.id === a.id)).map(inheritedApp),
  ];
  if (source !== undefined && apps.length === 0)
    faults.push(`nxnw:migrateFrom: ${source.platformId} runs no application: there is nothing to move`);
  if (faults.length > 0)
    throw new NxnwError('BAD_CONFIG', `the configuration has faults:\n${faults.map((f) => `  ${f}`).join('\n')}`, {
      faults,
    });
  return {
    platformId,
    cloud: compileCloud(config, platformId),
    appMachines: config.cloud.appMachines,
    store: {
      kind: config.store.kind === 'cassandra' ? 'cassandra' : 'lmdb',
      nodes: config.store.nodes,
      replication: config.store.replication,
    },
    datastore: { processes: config.datastore.processes },
    cache: config.cache,
    locks: config.locks,
    edge: {
      nodes: config.edge.nodes,
      httpPort: config.edge.httpPort,
      httpsPort: config.edge.httpsPort,
      ...(certificate === undefined ? {} : { certificate }),
    },
    apps,
    join: {
      ...(config.join.listen === undefined ? {} : { listen: config.join.listen }),
      ...(config.join.address === undefined ? {} : { address: config.join.address }),
    },
    ...(config.dns === undefined ? {} : { dns: withoutUndefined(config.dns) }),
    ...(source === undefined ? {} : { source }),
  };
}

/** What the source decides: shards are inherited, the name must be the same one. */
function sourceFaults(config: StackConfig, source: JoinBundle): string[] {
  const faults: string[] = [];
  const { shards } = config.datastore;
  for (const a of source.apps)
    if (shards !== undefined && shards !== a.shards)
      faults.push(
        `nxnw:datastore.shards: application ${a.id} has ${String(a.shards)} shards on ${source.platformId} and they are inherited (given: ${String(shards)}); remove the key`,
      );
  const wanted = config.migration.apps.filter((id) => id !== 'all' && !source.apps.some((a) => a.id === id));
  for (const id of wanted)
    faults.push(
      `nxnw:migration.apps: ${source.platformId} has no application "${id}"; it has: ${source.apps.map((a) => a.id).join(', ')}`,
    );
  if (source.dns !== null && stageRank(config.stage) >= stageRank('moved') && config.dns?.name !== source.dns.name)
    faults.push(
      `nxnw:dns.name: clients of ${source.platformId} use ${source.dns.name}, and stage "${config.stage}" moves that name (given: ${config.dns?.name ?? 'none'})`,
    );
  return faults;
}

type ConfiguredApp = StackConfig['apps'][number];

function configuredApp(
  config: StackConfig,
  app: ConfiguredApp,
  root: string,
  source: JoinBundle | undefined,
  fault: (text: string) => void,
): AppSettings {
  let digest = '';
  try {
    digest = packBundle(resolve(root, app.bundle)).digest;
  } catch (e) {
    fault(`.bundle: ${asError(e).message}`);
  }
  const inherited = source?.apps.find((a) => a.id === app.id);
  return {
    id: app.id,
    bundle: digest,
    directory: app.bundle,
    instances: app.instances,
    env: app.env,
    secrets: app.secrets,
    health: app.health,
    domains: domainsOf(config, app, inherited?.domains ?? []),
    shards: inherited?.shards ?? config.datastore.shards ?? DEFAULT_SHARDS,
  };
}

function domainsOf(config: StackConfig, app: ConfiguredApp, inherited: readonly string[]): readonly string[] {
  if (app.domains.length > 0) return app.domains;
  if (config.apps.length === 1 && config.edge.domains.length > 0) return config.edge.domains;
  if (inherited.length > 0) return inherited;
  if (config.apps.length === 1 && config.dns !== undefined) return [config.dns.name];
  return [`${app.id}.${config.dns?.zone ?? `${config.platform.name}.test`}`];
}

/** An application that only the source knows: its bundle comes from there. */
function inheritedApp(app: JoinBundle['apps'][number]): AppSettings {
  return {
    id: app.id,
    bundle: app.bundle,
    directory: '',
    instances: app.instances,
    env: app.env,
    secrets: {},
    health: app.health,
    domains: app.domains.length > 0 ? app.domains : [`${app.id}.test`],
    shards: app.shards,
  };
}

/** Optional blocks that are not there, left out rather than undefined. */
function withoutUndefined(dns: NonNullable<StackConfig['dns']>): NonNullable<PlatformSettings['dns']> {
  const { rfc2136, route53, ...rest } = dns;
  return {
    ...rest,
    ...(rfc2136 === undefined ? {} : { rfc2136 }),
    ...(route53 === undefined
      ? {}
      : {
          route53: {
            hostedZoneId: route53.hostedZoneId,
            region: route53.region,
            ...(route53.endpoint === undefined ? {} : { endpoint: route53.endpoint }),
            ...(route53.credentials === undefined ? {} : { credentials: route53.credentials }),
          },
        }),
  };
}
