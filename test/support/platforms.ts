import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { indexer } from '@nxnw/platform/datastore/indexes';
import { encodeKey, groupOf, kindOf } from '@nxnw/platform/datastore/keys';
import type { Key } from '@nxnw/platform/datastore/keys';
import { keyMessage } from '@nxnw/platform/datastore/messages';
import { naming } from '@nxnw/platform/datastore/naming';
import { entityCodec } from '@nxnw/platform/datastore/proto';
import { queryEngine } from '@nxnw/platform/datastore/query/engine';
import { shardOf } from '@nxnw/platform/datastore/token';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import { ShardProcess } from '@nxnw/platform/shards/process';
import type { Mutation, MutationOp, ShardId } from '@nxnw/platform/shards/types';
import { openStore } from '@nxnw/platform/stores/index';
import type { Store } from '@nxnw/platform/stores/port';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';
import type { Authority } from '@nxnw/platform/wire/ca';
import { RpcServer } from '@nxnw/platform/wire/rpc';
import type { TestServer } from './servers.js';
import { startZooKeeper } from './servers.js';

/** A platform's datastore side in the test's own process: real ZooKeeper, real store, real RPC between processes. */
export interface TestPlatform {
  readonly id: string;
  readonly processes: ShardProcess[];
  readonly store: Store;
  readonly zookeeper: TestServer;
  readonly authority: Authority;
  readonly endpoints: readonly string[];
  /** Starts one more process under this name. */
  start(name: string): Promise<ShardProcess>;
  stop(): Promise<void>;
}

export interface TestPlatformOptions {
  readonly id: string;
  readonly ip: string;
  readonly processes: number;
  readonly app: string;
  readonly shards: number;
  readonly origin: 'self' | 'peer';
  /** @default an LMDB directory of its own */
  readonly store?: (dir: string) => unknown;
  readonly verbose?: boolean;
}

export async function startPlatform(o: TestPlatformOptions): Promise<TestPlatform> {
  const dir = mkdtempSync(join(tmpdir(), `nxnw-${o.id}-`));
  const zookeeper = await startZooKeeper({ ip: o.ip });
  const authority = await createAuthority(o.id);
  const config = o.store ? o.store(dir) : { kind: 'lmdb', dir };
  // one for all: an LMDB environment must not be opened twice in one operating system process
  const store = await openStore(config);
  const clients: ZooKeeper[] = [];
  const servers: RpcServer[] = [];
  const processes: ShardProcess[] = [];
  const endpoints: string[] = [];
  const start = async (name: string): Promise<ShardProcess> => {
    const zk = await ZooKeeper.connect({ servers: `${o.ip}:${zookeeper.port}`, sessionTimeoutMs: 4000 });
    const tls = await issueCertificate(authority, { name, hosts: [o.ip] });
    const server = new RpcServer();
    const log = (event: string, fields: Record<string, unknown>) => {
      if (o.verbose) console.log(o.id, name, event, JSON.stringify(fields));
    };
    const port = await freePort(o.ip);
    const process = await ShardProcess.start({
      platform: o.id, process: name, boot: randomBytes(4).toString('hex'), endpoint: `${o.ip}:${port}`, zk, store, tls, indexer,
      engine: queryEngine, naming, apps: [{ id: o.app, shards: o.shards, origin: o.origin }], log,
    }); // prettier-ignore
    process.serve(server);
    await server.listen(`${o.ip}:${port}`, tls);
    clients.push(zk);
    servers.push(server);
    processes.push(process);
    endpoints.push(`${o.ip}:${port}`);
    return process;
  };
  for (let i = 0; i < o.processes; i++) await start(`${o.id}-ds-${i}`);
  return {
    id: o.id, processes, store, zookeeper, authority, endpoints, start,
    async stop() {
      await Promise.all(processes.map((p) => p.close()));
      await Promise.all(servers.map((s) => s.close(200)));
      await Promise.all(clients.map((c) => c.close()));
      await store.close();
      await zookeeper.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  }; // prettier-ignore
}

async function freePort(ip: string): Promise<number> {
  const { createServer } = await import('node:net');
  return new Promise((ok, fail) => {
    const s = createServer();
    s.on('error', fail);
    s.listen(0, ip, () => {
      const a = s.address();
      s.close(() => ok(a !== null && typeof a === 'object' ? a.port : 0));
    });
  });
}

/** `b` joins `a`, with a certificate that `a` issued. */
export async function joinPlatforms(a: TestPlatform, b: TestPlatform): Promise<void> {
  const tls = await issueCertificate(a.authority, { name: `peer:${b.id}`, hosts: [] });
  for (const p of b.processes) p.join({ platform: a.id, endpoints: a.endpoints, tls });
}

export function rootKey(app: string, kind: string, name: string): Key {
  return { project: app, database: '', namespace: '', path: [{ kind, name }] };
}

/** A mutation of a root entity with integer and string properties. */
export function mutation(op: MutationOp, key: Key, properties: Record<string, number | string> = {}): Mutation {
  const bytes = encodeKey(key);
  const entity = entityCodec.encode({
    key: keyMessage(key),
    properties: Object.fromEntries(
      Object.entries(properties).map(([n, v]) => [n, typeof v === 'number' ? { integerValue: v } : { stringValue: v }]),
    ),
  });
  return {
    op,
    key: bytes,
    group: groupOf(bytes),
    kind: kindOf(bytes),
    entity: op === 'delete' ? null : entity,
    baseVersion: null,
    onConflict: 'server',
  };
}

export function shardOfKey(app: string, key: Buffer, shards: number): ShardId {
  return { app, index: shardOf(groupOf(key), shards) };
}

export function propertyOf(entity: Buffer, name: string): string {
  const v = entityCodec.decode(entity).properties[name];
  return v === undefined ? '' : String(v.stringValue ?? v.integerValue);
}
