import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { NxnwError } from '../errors.js';
import { ZooKeeper } from '../locks/client.js';
import { blobPath, readBlob } from '../agent/blobs.js';
import { findProgram } from '../agent/home.js';
import { keepExisting } from '../agent/plan.js';
import type { MachineContext, RolePlan } from '../agent/plan.js';
import { CALM_COMPILERS, KEEP_CODE } from '../agent/roles/node.js';
import { probeHttp } from '../agent/roles/probes.js';
import type { AppSpec, Endpoint } from '../agent/spec.js';
import { readManifest, unpackBundle } from './bundle.js';
import type { Manifest } from './bundle.js';

/** The file that NXNW_SERVING names: `serving` or `standby`. */
export function servingFile(machineDir: string, role: string): string {
  return join(machineDir, 'roles', role, 'serving');
}

/** The instances of an application, from its bundle; each is a process of its own. */
export function planApp(spec: AppSpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const code = unpacked(spec.bundle, machine.dir);
  const manifest = readManifest(code);
  const [command, ...args] = commandOf(manifest, code);
  const serving = servingFile(machine.dir, spec.id);
  const ports = spec.instances.map((i) => i.port);
  if (new Set(ports).size < ports.length)
    throw new NxnwError('INVALID_SPEC', `role ${spec.id}: two instances have the same port (${ports.join(', ')})`);
  return {
    dirs: [dir],
    files: [
      { path: serving, content: spec.serving ? 'serving\n' : 'standby\n', onChange: 'nothing', merge: keepExisting },
    ],
    version: spec.bundle.slice(0, 12),
    prepare: () => makeChroot(spec),
    processes: spec.instances.map((at) => ({
      name: `${spec.id}-${at.port}`,
      command: command ?? '',
      args,
      env: environmentOf(spec, manifest, at, serving),
      cwd: code,
      listens: [{ ...at, protocol: 'tcp' }],
      probe: (signal) => probeHttp(at, spec.health, signal),
      stopSignal: 'SIGTERM',
      stopGraceMs: 10_000,
    })),
  };
}

/** The unpacked bundle's folder; throws BUNDLE_MISSING when it has not been uploaded. */
function unpacked(digest: string, machineDir: string): string {
  const target = join(machineDir, 'apps', digest);
  if (existsSync(target)) return target;
  if (!existsSync(blobPath(machineDir, digest)))
    throw new NxnwError(
      'BUNDLE_MISSING',
      `the bundle ${digest} is not on this machine; upload it first, then apply again`,
      { digest },
    );
  unpackBundle(readBlob(machineDir, digest), target);
  return target;
}

function commandOf(m: Manifest, code: string): string[] {
  const words = typeof m.entrypoint === 'string' ? m.entrypoint.split(' ').filter((w) => w !== '') : m.entrypoint;
  if (m.runtime === 'node') return [process.execPath, ...KEEP_CODE, ...CALM_COMPILERS, ...words];
  if (m.runtime === 'python') return [findProgram('python3'), ...words];
  const program = words[0] ?? '';
  const inBundle = join(code, program);
  return [existsSync(inBundle) ? inBundle : findProgram(program), ...words.slice(1)];
}

const list = (endpoints: readonly Endpoint[]): string => endpoints.map((e) => `${e.host}:${e.port}`).join(',');

function environmentOf(spec: AppSpec, m: Manifest, at: Endpoint, serving: string): Record<string, string> {
  return {
    NODE_ENV: 'production',
    PYTHONUNBUFFERED: '1',
    ...m.env,
    ...spec.env,
    ...spec.secrets,
    HOST: at.host,
    PORT: `${at.port}`,
    NXNW_APP: spec.app,
    NXNW_SERVING: serving,
    DATASTORE_PROJECT_ID: spec.app,
    GOOGLE_CLOUD_PROJECT: spec.app,
    ...(spec.datastore ? { DATASTORE_EMULATOR_HOST: list([spec.datastore]) } : {}),
    ...(spec.memcache.length > 0 ? { MEMCACHE_SERVERS: list(spec.memcache) } : {}),
    ...(spec.locks.length > 0 ? { ZOOKEEPER_SERVERS: `${spec.locks.join(',')}/apps/${spec.app}` } : {}),
  };
}

/** A client cannot make its own chroot. */
async function makeChroot(spec: AppSpec): Promise<void> {
  if (spec.locks.length === 0) return;
  const zk = await ZooKeeper.connect({ servers: spec.locks.join(','), connectTimeoutMs: 15_000 });
  try {
    await zk.createRecursive(`/apps/${spec.app}`);
  } finally {
    await zk.close();
  }
}
