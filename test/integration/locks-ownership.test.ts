import assert from 'node:assert/strict';
import { hasCode } from '@nxnw/platform/errors';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import { AppRegistry, ProcessSession, ShardLocks } from '@nxnw/platform/locks/ownership';
import { ShardClaims } from '@nxnw/platform/locks/shard-claims';
import type { ShardId } from '@nxnw/platform/shards/types';
import { startZooKeeper } from '../support/servers.js';
import type { TestServer } from '../support/servers.js';
import { Relay, eventually } from './locks-support.js';

const IP = '127.34.2.1';

class Process {
  readonly mine = new Set<number>();
  readonly lost: number[] = [];
  readonly failures: unknown[] = [];

  private constructor(
    readonly zk: ZooKeeper,
    readonly session: ProcessSession,
    readonly locks: ShardLocks,
    readonly apps: AppRegistry,
    readonly claims: ShardClaims,
  ) {}

  static async start(name: string, servers: string): Promise<Process> {
    const zk = await ZooKeeper.connect({ servers, sessionTimeoutMs: 1000 });
    const failures: unknown[] = [];
    const failed = (e: unknown) => failures.push(e);
    const boot = String(Math.random());
    const session = await ProcessSession.start({ zk, process: name, endpoint: `${IP}:1`, boot, failed });
    const locks = await ShardLocks.open(session, failed);
    const apps = await AppRegistry.open(zk, failed);
    const mine = new Set<number>();
    const lost: number[] = [];
    const claims = new ShardClaims({
      session,
      locks,
      apps,
      patienceMs: 300,
      rebalanceMs: 300,
      acquired: (s: ShardId) => mine.add(s.index),
      releasing: (s: ShardId) => {
        mine.delete(s.index);
        return Promise.resolve();
      },
      lost: () => {
        lost.push(mine.size);
        mine.clear();
      },
      failed,
    });
    const p = new Process(zk, session, locks, apps, claims);
    Object.assign(p, { mine, lost, failures });
    return p;
  }

  async stop(): Promise<void> {
    this.claims.close();
    this.locks.close();
    this.apps.close();
    await this.session.close();
    await this.zk.close();
  }
}

describe('ownership of shards in ZooKeeper', () => {
  let server: TestServer;
  const servers = `${IP}:2181`;
  const running: Process[] = [];

  async function start(name: string, at = servers): Promise<Process> {
    const p = await Process.start(name, at);
    running.push(p);
    return p;
  }

  before(async () => {
    server = await startZooKeeper({ ip: IP });
  });
  afterEach(async () => {
    for (const p of running.splice(0)) await p.stop();
    const zk = await ZooKeeper.connect({ servers });
    await zk.removeRecursive('/nxnw');
    await zk.close();
  });
  after(() => server.stop());

  it('refuses another number of shards for an application, and tells every process of a new one', async () => {
    const a = await start('a');
    const b = await start('b');
    await a.apps.ensure('shop', { shards: 8, origin: 'self', generation: 1 });
    await eventually('b knows', () => b.apps.get('shop')?.shards === 8);
    await a.apps.ensure('shop', { shards: 8, origin: 'self', generation: 1 });
    await assert.rejects(b.apps.ensure('shop', { shards: 4, origin: 'self', generation: 1 }), (e) => hasCode(e, 'SHARDS_DIFFER')); // prettier-ignore
    const read = await b.apps.read('shop');
    await b.apps.update('shop', { shards: 8, origin: 'peer', generation: 2 }, read?.version ?? -1);
    await eventually('a knows the change', () => a.apps.get('shop')?.generation === 2);
  });

  it('takes orphans, gives a newcomer its part, and takes over from one that leaves', async () => {
    const a = await start('a');
    await a.apps.ensure('shop', { shards: 8, origin: 'self', generation: 1 });
    await eventually('a has all', () => a.mine.size === 8);
    const b = await start('b');
    await eventually('half each', () => a.mine.size === 4 && b.mine.size === 4);
    await eventually('both know the owners', () => {
      const owners = (p: Process) => Array.from({ length: 8 }, (_, index) => p.locks.owner({ app: 'shop', index })?.process);
      return [a, b].every((p) => owners(p).every((o, i) => o === (a.mine.has(i) ? 'a' : 'b')));
    }); // prettier-ignore
    await b.stop();
    running.pop();
    await eventually('a has all again', () => a.mine.size === 8);
    assert.deepEqual(a.failures, []);
  });

  it('never lets two processes hold a shard, and ends the lease before another takes over', async () => {
    const relay = await Relay.start(server, '127.34.2.2');
    const a = await start('a', relay.servers);
    await a.apps.ensure('shop', { shards: 4, origin: 'self', generation: 1 });
    await eventually('a has all', () => a.mine.size === 4);
    const b = await start('b');
    relay.freeze();
    let leaseEndedBefore = false;
    await eventually('b takes over', () => {
      if (b.mine.size < 4) leaseEndedBefore = !a.session.hasLease();
      return b.mine.size === 4;
    });
    assert(leaseEndedBefore);
    assert(!a.session.hasLease());
    relay.heal();
    await eventually('a heard that its session is over', () => a.lost.length > 0 && a.mine.size === 0);
    await eventually('a is back', () => a.session.registered && a.session.hasLease());
    assert.equal(a.mine.size + b.mine.size <= 4, true);
    await relay.close();
  });

  it('keeps a lease while the server answers, of half the session time from the send time', async () => {
    const a = await start('a');
    for (let i = 0; i < 20; i++) {
      const left = a.session.leaseUntilMs() - performance.now();
      assert(left > 0 && left <= a.zk.sessionTimeoutMs / 2, String(left));
      await new Promise((ok) => setTimeout(ok, 50));
    }
  });

  it('replaces the node of an earlier start of the same process, which then holds nothing', async () => {
    const a = await start('a');
    await a.apps.ensure('shop', { shards: 2, origin: 'self', generation: 1 });
    await eventually('a has all', () => a.mine.size === 2);
    const again = await start('a');
    await eventually('the first has lost all', () => a.lost.length > 0 && !a.session.hasLease());
    await eventually('the second has all', () => again.mine.size === 2);
    assert(a.failures.some((e) => hasCode(e, 'FENCED')));
  });
});
