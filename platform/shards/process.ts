import { performance } from 'node:perf_hooks';
import { NxnwError, asError } from '../errors.js';
import type { AppRecord } from '../locks/ownership.js';
import { AppRegistry, ProcessSession, ShardLocks } from '../locks/ownership.js';
import { LiveTree } from '../locks/live-tree.js';
import { ShardClaims } from '../locks/shard-claims.js';
import type { ZooKeeper } from '../locks/client.js';
import type { Store } from '../stores/port.js';
import { addCalls } from '../wire/calls.js';
import type { RpcServer, TlsMaterial } from '../wire/rpc.js';
import { TunnelClient, TunnelServer } from '../wire/tunnel.js';
import type { MigrationIntent } from './control.js';
import { addControlService } from './control-service.js';
import { ShardHost } from './host.js';
import { Router } from './router.js';
import { SHARD_METHODS, serveShard, shardDispatch } from './service.js';
import { Connections, PeerSide, connectingChannel, hereSide, peerLink, placeOf } from './sides.js';
import type { JoinedPlatform } from './sides.js';
import type { Indexer, QueryEngine, ShardId } from './types.js';
import { shardName } from './types.js';
import type { KeyNaming } from './verify.js';

export const MIGRATIONS = '/nxnw/migrations';

export interface ShardProcessOptions {
  readonly platform: string;
  readonly process: string;
  readonly boot: string;
  readonly endpoint: string;
  readonly zk: ZooKeeper;
  readonly store: Store;
  readonly tls: TlsMaterial;
  readonly indexer: Indexer;
  readonly engine: QueryEngine;
  readonly naming: KeyNaming;
  readonly apps: readonly { readonly id: string; readonly shards: number; readonly origin: 'self' | 'peer' }[];
  readonly log: (event: string, fields: Record<string, unknown>) => void;
  /** @default 60000 */
  readonly historyMs?: number;
}

const HISTORY_MS = 60_000;
const LOADS_AT_ONCE = 2;
const LEASE_POLL_MS = 10;

/** Wall clock that never runs backwards within the process: microseconds since 1970 (slewed, never jumped). */
export function steadyClock(
  wallMs: () => number = Date.now,
  monoMs: () => number = () => performance.now(),
): () => number {
  let lastMono = monoMs();
  let now = wallMs();
  return () => {
    const mono = monoMs();
    const passed = Math.max(0, mono - lastMono);
    lastMono = mono;
    now += passed;
    // a step of the wall clock is taken over slowly: by a hundredth of the time that passes
    const off = wallMs() - now;
    now += Math.sign(off) * Math.min(Math.abs(off), passed / 100);
    return Math.floor(now * 1000);
  };
}

const FOLLOW_BACK: MigrationIntent = {
  follow: true,
  load: 'on',
  entitiesPerS: null,
  sourceLatencyRatio: 1.1,
  serving: true,
};
const NOTHING: MigrationIntent = {
  follow: false,
  load: 'off',
  entitiesPerS: null,
  sourceLatencyRatio: 1.1,
  serving: false,
};

/**
 * A datastore process's shards: takes their locks, hosts owners and replicas, answers other processes, and routes its
 * own door's requests. The platform's ZooKeeper gives hints only; each shard's log decides.
 */
export class ShardProcess {
  readonly router: Router;
  private readonly hosts = new Map<string, ShardHost>();
  private readonly connections: Connections;
  private peerSide: PeerSide | null = null;
  private leave: (() => void) | null = null;
  private readonly tunnels = new TunnelServer(() => this.tunnelsChanged());
  private readonly dispatch = shardDispatch({
    host: (s) => this.hosts.get(shardName(s)),
    holder: (s) => this.holder(s),
  });
  private claims: ShardClaims | null = null;
  private loading = 0;
  private loadQueue: (() => void)[] = [];
  private readonly nowUs = steadyClock();
  readonly nowMs = (): number => this.nowUs() / 1000;

  private constructor(
    readonly o: ShardProcessOptions,
    readonly session: ProcessSession,
    readonly locks: ShardLocks,
    readonly apps: AppRegistry,
    private readonly intents: LiveTree<MigrationIntent>,
  ) {
    this.connections = new Connections(o.tls);
    const here = hereSide({
      platform: o.platform,
      local: (method, shard, body) => {
        const host = this.hosts.get(shardName(shard));
        return host ? serveShard(host, method, body) : null;
      },
      holder: (shard) => this.holder(shard),
      connections: this.connections,
    });
    this.router = new Router({
      here,
      peer: () => this.peerSide,
      shardCount: (app) => this.shardCount(app),
      writable: (app) => this.writable(app),
      nowMs: this.nowMs,
      firstAnswer: (shard) => this.hosts.get(shardName(shard))?.firstAnswer(),
      owned: (app) =>
        [...this.hosts.values()].filter((h) => h.o.shard.app === app && h.owner).map((h) => h.o.shard.index),
    });
  }

  static async start(o: ShardProcessOptions): Promise<ShardProcess> {
    await o.store.checkSafety();
    const failed = (e: unknown) => o.log('process.failed', { error: asError(e).message });
    const { zk } = o;
    const apps = await AppRegistry.open(zk, failed);
    for (const a of o.apps) {
      await apps.ensure(a.id, { shards: a.shards, origin: a.origin, generation: 0 });
      await o.store.ensureApp(a.id, a.shards);
    }
    const session = await ProcessSession.start({ zk, process: o.process, endpoint: o.endpoint, boot: o.boot, failed });
    const locks = await ShardLocks.open(session, failed);
    // bound late: the tree reports changes before the process exists
    let self: ShardProcess | null = null;
    const intents = await LiveTree.open<MigrationIntent>({
      zk,
      root: MIGRATIONS,
      parse: (path, data) =>
        path === MIGRATIONS || data.length === 0
          ? null
          : { ...NOTHING, ...(JSON.parse(data.toString('utf8')) as MigrationIntent) },
      changed: () => self?.wakeAll(),
      failed,
    });
    const process = new ShardProcess(o, session, locks, apps, intents);
    self = process;
    process.claims = new ShardClaims({
      session,
      locks,
      apps,
      acquired: (shard) => process.acquired(shard),
      releasing: (shard) => process.release(shard),
      lost: () => process.lost(),
      failed: (e) => failed(e),
    });
    return process;
  }

  /** Adds `shards.*`, `control.*` and the tunnels of a joining platform to the process's server. */
  serve(server: RpcServer): void {
    server.add('shards', {
      unary: Object.fromEntries(SHARD_METHODS.map((m) => [m, (body: unknown) => this.dispatch(m, body)])),
    });
    addCalls(server, (path, body) => this.answerMember(path, body));
    addControlService(server, this);
    this.tunnels.addTo(server);
  }

  /** More paths for callers on the other platform, beside `shards.*`. */
  readonly extra = new Map<string, (body: unknown) => Promise<unknown>>();

  private answerPeer(path: string, body: unknown): Promise<unknown> {
    return this.extra.get(path)?.(body) ?? this.answerMember(path, body);
  }

  private answerMember(path: string, body: unknown): Promise<unknown> {
    if (path.startsWith('shards.')) return this.dispatch(path.slice('shards.'.length), body);
    return Promise.reject(new NxnwError('UNIMPLEMENTED', `no method ${path}`));
  }

  get platform(): string {
    return this.o.platform;
  }

  get peer(): PeerSide | null {
    return this.peerSide;
  }

  allHosts(app: string): ShardHost[] {
    return [...this.hosts.values()].filter((h) => h.o.shard.app === app);
  }

  all(): ShardHost[] {
    return [...this.hosts.values()];
  }

  callMember<T>(endpoint: string, path: string, body: unknown, deadlineMs: number): Promise<T> {
    return this.connections.to(endpoint).call<T>(path, body, { deadlineMs });
  }

  host(shard: ShardId): ShardHost | undefined {
    return this.hosts.get(shardName(shard));
  }

  /** Endpoint of the shard's holder on this platform. A lock that names this process without its host is an old one. */
  holder(shard: ShardId): string | undefined {
    if (this.hosts.has(shardName(shard))) return this.o.endpoint;
    const endpoint = this.locks.owner(shard)?.endpoint;
    return endpoint === this.o.endpoint ? undefined : endpoint;
  }

  /** Joins another platform: this one connects, and is asked over the same connections (one port, one direction). */
  join(o: JoinedPlatform): void {
    const channel = connectingChannel(o);
    this.peerSide = new PeerSide(channel);
    const hello = { platform: this.o.platform, endpoint: this.o.endpoint };
    const failed = (e: Error) => this.o.log('peer.tunnel', { error: e.message });
    const clients = o.endpoints.map(
      (e) => new TunnelClient(placeOf(o, e), o.tls, hello, (path, body) => this.answerPeer(path, body), failed),
    );
    this.leave = () => {
      for (const c of clients) c.close();
      channel.close();
    };
    this.wakeAll();
  }

  /** The other platform's processes came or went. */
  private tunnelsChanged(): void {
    const c = this.tunnels.connected();
    if (c && this.peerSide?.platform !== c.platform) {
      const { tunnels } = this;
      this.peerSide = new PeerSide({
        platform: c.platform,
        endpoints: () => tunnels.connected()?.endpoints ?? [],
        call: (endpoint, path, body, deadlineMs) => tunnels.call(endpoint, path, body, deadlineMs),
      });
    }
    this.wakeAll();
  }

  intent(app: string): MigrationIntent {
    const given = this.intents.get(`${MIGRATIONS}/${app}`);
    return given ?? (this.apps.get(app)?.origin === 'self' ? FOLLOW_BACK : NOTHING);
  }

  private wakeAll(): void {
    for (const h of this.hosts.values()) h.lookAgain();
  }

  private async shardCount(app: string): Promise<number> {
    const record = this.apps.get(app) ?? (await this.apps.read(app))?.record;
    if (!record) throw new NxnwError('NOT_FOUND', `application ${app} is not known on platform ${this.o.platform}`);
    return record.shards;
  }

  private writable(app: string): void {
    if (this.apps.get(app)?.origin === 'self' || this.intent(app).serving) return;
    throw new NxnwError(
      'FAILED_PRECONDITION',
      `application ${app} is in standby on platform ${this.o.platform}: reads go through to the platform that serves it, writes are refused until the switch`,
    );
  }

  private acquired(shard: ShardId): void {
    const name = shardName(shard);
    if (this.hosts.has(name)) return;
    const record = (): AppRecord | undefined => this.apps.get(shard.app);
    const host = new ShardHost({
      shard,
      shards: record()?.shards ?? 1,
      store: this.o.store,
      platform: this.o.platform,
      process: this.o.process,
      indexer: this.o.indexer,
      engine: this.o.engine,
      naming: this.o.naming,
      mayFound: () => record()?.origin === 'self',
      peer: () => (this.peerSide ? peerLink(this.peerSide, shard, this.o.platform) : null),
      intent: () => this.intent(shard.app),
      loadSlot: (run) => this.loadSlot(run),
      calls: this.router,
      leased: (deadlineMs) => this.leased(deadlineMs),
      historyMs: this.o.historyMs ?? HISTORY_MS,
      nowMs: this.nowMs,
      nowUs: this.nowUs,
      log: this.o.log,
    });
    this.hosts.set(name, host);
  }

  private async release(shard: ShardId): Promise<void> {
    const host = this.hosts.get(shardName(shard));
    this.hosts.delete(shardName(shard));
    await host?.close();
  }

  /** The session is gone: other processes take the shards; what is in flight here is settled by their END. */
  private lost(): void {
    this.o.log('process.sessionLost', { shards: this.hosts.size });
    for (const host of this.hosts.values())
      void host.close().catch((e: unknown) => this.o.log('process.failed', { error: asError(e).message }));
    this.hosts.clear();
  }

  private async loadSlot<T>(run: () => Promise<T>): Promise<T> {
    while (this.loading >= LOADS_AT_ONCE) await new Promise<void>((ok) => this.loadQueue.push(ok));
    this.loading++;
    try {
      return await run();
    } finally {
      this.loading--;
      this.loadQueue.shift()?.();
    }
  }

  /** Reads need a lease (C12). It is renewed by the session's heartbeat, which tells nobody: looked at every 10 ms. */
  private async leased(deadlineMs: number): Promise<void> {
    while (!this.session.hasLease()) {
      if (Date.now() >= deadlineMs)
        throw new NxnwError(
          'UNAVAILABLE',
          `process ${this.o.process} has no lease from ZooKeeper; another one may own its shards`,
        );
      await new Promise<void>((ok) => setTimeout(ok, LEASE_POLL_MS));
    }
  }

  /** Gives every shard up, each as soon as what it had under way is known: another process takes it then. */
  async close(): Promise<void> {
    this.claims?.close();
    const giveUp = async ({ shard }: ShardHost['o']): Promise<void> => {
      await this.release(shard);
      await this.locks
        .release(shard)
        .catch((e: unknown) => this.o.log('process.failed', { error: asError(e).message }));
    };
    await Promise.all([...this.hosts.values()].map((h) => giveUp(h.o)));
    this.locks.close();
    this.apps.close();
    this.intents.close();
    await this.session.close();
    this.leave?.();
    this.connections.close();
  }
}
