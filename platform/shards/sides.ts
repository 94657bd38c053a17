import { NxnwError, hasCode } from '../errors.js';
import { within } from '../waiting.js';
import { CallStream } from '../wire/calls.js';
import type { TlsMaterial } from '../wire/rpc.js';
import { RpcClient } from '../wire/rpc.js';
import type { ConfirmAnswer, FollowBatch, LoadBegin, ScanAnswer } from './api.js';
import type { HandoverFacts } from './control.js';
import type { PeerLink } from './host-options.js';
import type { SlotImage } from './log.js';
import type { PeerShard } from './replica.js';
import type { Side } from './router.js';
import type { Position, ShardId } from './types.js';
import { shardName } from './types.js';

/** Asked for each request of an application, with small requests and answers. The others go by calls of their own. */
const OFTEN = new Set(['lookup', 'query', 'commit', 'prepare', 'decide', 'note', 'txStatus', 'ids', 'reserve']);

/** Connections by endpoint, made once. */
export class Connections {
  private readonly clients = new Map<string, RpcClient>();
  private readonly streams = new Map<string, CallStream>();

  constructor(private readonly tls: TlsMaterial) {}

  to(endpoint: string): RpcClient {
    let c = this.clients.get(endpoint);
    if (!c) this.clients.set(endpoint, (c = new RpcClient(endpoint, this.tls)));
    return c;
  }

  /** Many calls on one stream. */
  streamTo(endpoint: string): CallStream {
    let s = this.streams.get(endpoint);
    if (!s) this.streams.set(endpoint, (s = new CallStream(this.to(endpoint))));
    return s;
  }

  close(): void {
    for (const s of this.streams.values()) s.close();
    for (const c of this.clients.values()) c.close();
    this.streams.clear();
    this.clients.clear();
  }
}

export interface HereOptions {
  readonly platform: string;
  /** Serves the request in this process, if it holds the shard. */
  readonly local: (method: string, shard: ShardId, body: Record<string, unknown>) => Promise<unknown> | null;
  /** Endpoint of the shard's holder on this platform, as ZooKeeper says. */
  readonly holder: (shard: ShardId) => string | undefined;
  readonly connections: Connections;
}

/** This platform's side: this process, or the one that ZooKeeper names. */
export function hereSide(o: HereOptions): Side {
  return {
    platform: o.platform,
    forget: () => undefined,
    async call<T>(method: string, shard: ShardId, body: Record<string, unknown>, deadlineMs: number): Promise<T> {
      const local = o.local(method, shard, body);
      // in the same process the answer's shape is the same promise as over the wire
      if (local) return (await local) as T;
      const endpoint = o.holder(shard);
      if (!endpoint) throw new NxnwError('NOT_OWNER', `no process holds shard ${shardName(shard)} at the moment`);
      const path = `shards.${method}`;
      return OFTEN.has(method)
        ? o.connections.streamTo(endpoint).call<T>(path, body, deadlineMs)
        : o.connections.to(endpoint).call<T>(path, body, { deadlineMs });
    },
  };
}

/** How one platform reaches another's datastore processes: it connects to them, or they are connected to it. */
export interface PeerChannel {
  readonly platform: string;
  /** Processes that can be asked now. */
  endpoints(): readonly string[];
  call<T>(endpoint: string, path: string, body: unknown, deadlineMs: number): Promise<T>;
}

export interface JoinedPlatform {
  readonly platform: string;
  /** Its datastore processes, by the names that they have there. */
  readonly endpoints: readonly string[];
  /** Where each of them is reached from here. @default there */
  readonly via?: Readonly<Record<string, string>>;
  /** Accepted there. */
  readonly tls: TlsMaterial;
}

/** Where a process of the other platform is reached. Throws UNAVAILABLE for one that the join does not name. */
export function placeOf(o: JoinedPlatform, endpoint: string): string {
  const place = o.via === undefined ? endpoint : o.via[endpoint];
  if (place !== undefined) return place;
  throw new NxnwError(
    'UNAVAILABLE',
    `${endpoint} of platform ${o.platform} is not in the join bundle (it has ${o.endpoints.join(', ')}); make a new one with \`nxnw join\``,
  );
}

/** The other platform, by connecting to it with a certificate that it accepts. */
export function connectingChannel(o: JoinedPlatform): PeerChannel & { close(): void } {
  const connections = new Connections(o.tls);
  return {
    platform: o.platform,
    endpoints: () => o.endpoints,
    call: async (endpoint, path, body, deadlineMs) =>
      connections.to(placeOf(o, endpoint)).call(path, body, { deadlineMs }),
    close: () => connections.close(),
  };
}

const FIND_MS = 2000;

/** The other platform's side: its processes are asked, all at once, who of them holds a shard. */
export class PeerSide implements Side {
  private readonly holders = new Map<string, string>();
  /** Searches that are under way: requests that come meanwhile wait for the same one. */
  private readonly searches = new Map<string, Promise<string>>();

  constructor(private readonly channel: PeerChannel) {}

  get platform(): string {
    return this.channel.platform;
  }

  endpoints(): readonly string[] {
    return this.channel.endpoints();
  }

  ask<T>(endpoint: string, path: string, body: unknown, deadlineMs: number): Promise<T> {
    return this.channel.call<T>(endpoint, path, body, deadlineMs);
  }

  forget(shard: ShardId): void {
    this.holders.delete(shardName(shard));
  }

  private holder(shard: ShardId): Promise<string> {
    const name = shardName(shard);
    const known = this.holders.get(name);
    if (known) return Promise.resolve(known);
    let search = this.searches.get(name);
    if (!search) {
      search = this.search(shard)
        .then((endpoint) => {
          this.holders.set(name, endpoint);
          return endpoint;
        })
        .finally(() => this.searches.delete(name));
      this.searches.set(name, search);
    }
    return search;
  }

  /** A process that says that it holds the shard itself is believed first: what the others say may be old. */
  private async search(shard: ShardId): Promise<string> {
    const byMs = Date.now() + FIND_MS;
    const all = this.channel.endpoints();
    const answers = all.map(async (endpoint) => ({
      endpoint,
      said: (await this.ask<{ endpoint: string | null }>(endpoint, 'shards.whereIs', { shard }, byMs)).endpoint,
    }));
    try {
      return await Promise.any(
        answers.map(async (a) => {
          const { endpoint, said } = await a;
          if (said === endpoint) return endpoint;
          throw new NxnwError('NOT_OWNER', `${endpoint} does not hold the shard itself`);
        }),
      );
    } catch (e) {
      const heard = (await Promise.allSettled(answers)).flatMap((a) =>
        a.status === 'fulfilled' ? [a.value.said] : [],
      );
      const hearsay = heard.find((said) => said !== null);
      if (hearsay) return hearsay;
      throw new NxnwError(
        'UNAVAILABLE',
        `no process of platform ${this.platform} (${all.join(', ') || 'none connected'}) says who holds shard ${shardName(shard)}`,
        {},
        e,
      );
    }
  }

  async call<T>(method: string, shard: ShardId, body: Record<string, unknown>, deadlineMs: number): Promise<T> {
    const endpoint = await within(
      deadlineMs - Date.now(),
      this.holder(shard),
      () => new NxnwError('UNAVAILABLE', `who holds shard ${shardName(shard)} was not found out in time`),
    );
    try {
      return await this.ask<T>(endpoint, `shards.${method}`, body, deadlineMs);
    } catch (e) {
      if (hasCode(e, 'NOT_OWNER', 'UNAVAILABLE')) this.forget(shard);
      throw e;
    }
  }
}

/** The peer may come and go: each call finds it anew. */
export function anyPeer(peer: () => PeerLink | null, name: string): PeerShard {
  const link = () => {
    const p = peer();
    if (!p) throw new NxnwError('UNAVAILABLE', `${name}: the other platform is not joined`);
    return p;
  };
  return {
    loadBegin: (d) => link().loadBegin(d),
    scan: (after, d) => link().scan(after, d),
    pull: (from, durable, d) => link().pull(from, durable, d),
  };
}

/** The peer as one shard's host and replica see it. */
export function peerLink(side: PeerSide, shard: ShardId, own: string): PeerLink {
  const call = async <T>(method: string, body: Record<string, unknown>, deadlineMs: number): Promise<T> => {
    try {
      return await side.call<T>(method, shard, { ...body, shard, deadlineMs }, deadlineMs);
    } catch (e) {
      if (hasCode(e, 'NOT_OWNER')) side.forget(shard);
      throw e;
    }
  };
  return {
    platform: side.platform,
    loadBegin: (d) => call<LoadBegin>('loadBegin', { platform: own }, d),
    scan: (after, d) => call<ScanAnswer>('scan', { after }, d),
    confirm: (r, d) => call<ConfirmAnswer>('confirm', { ...r }, d),
    open: (image: SlotImage, facts: HandoverFacts, d) => call<{ start: Position }>('open', { image, facts }, d),
    pull: (from, durable, d) => call<FollowBatch>('pull', { platform: own, from, durable }, d),
  };
}
