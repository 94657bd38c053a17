import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '@nxnw/platform/errors';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import { issueCertificate } from '@nxnw/platform/wire/ca';
import { CoordinatorClient } from '@nxnw/migration/coordinator/api';
import type { MigrationStatus, Stage } from '@nxnw/migration/coordinator/api';
import { Journal } from '@nxnw/migration/coordinator/journal';
import { APP, MigrationPair, SHARDS } from '../support/migration-pair.js';
import { mutation, rootKey, shardOfKey } from '../support/platforms.js';

const ACTOR = 'test';

describe('the coordinator, with real engines', function () {
  this.timeout(300_000);
  let pair: MigrationPair;
  let client: CoordinatorClient;

  before(async () => {
    pair = await MigrationPair.create('127.37.1', '127.37.2');
    client = pair.client();
  });

  after(async () => {
    client.close();
    await pair.stop();
  });

  const start = (wantedStage: Stage, attempt = 1): Promise<MigrationStatus> =>
    client.startMigration({ attempt, apps: ['all'], wantedStage, join: pair.join(), options: {}, actor: ACTOR });

  /** The status as soon as it is as wished; a coordinator that is being restarted is waited for. */
  async function until(what: string, wished: (s: MigrationStatus) => boolean, ms = 60_000): Promise<MigrationStatus> {
    const end = Date.now() + ms;
    let last: unknown;
    for (;;) {
      try {
        const s = await client.status(3000);
        if (wished(s)) return s;
        last = JSON.stringify({ phases: s.phases, events: s.events, gates: s.gates.filter((g) => !g.open) }, null, 1);
      } catch (e) {
        if (!hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw e;
        last = e;
      }
      if (Date.now() > end) throw new Error(`not in time: ${what}; last: ${String(last)}`);
      await sleep(50);
    }
  }

  const serving = (s: MigrationStatus): string => s.apps[0]?.serving ?? '';

  async function put(side: 'blue' | 'green', name: string, n: number): Promise<void> {
    const m = mutation('upsert', rootKey(APP, 'Item', name), { n });
    const shard = shardOfKey(APP, m.key, SHARDS);
    const router = pair[side].platform.processes[0]?.router;
    ok(router);
    const shards = [{ shard, mutations: [m], reads: { keys: [], ranges: [] } }];
    await router.commit({ app: APP, tx: null, beganUs: 0, shards }, Date.now() + 15_000);
  }

  async function has(side: 'blue' | 'green', name: string): Promise<boolean> {
    const { key } = mutation('upsert', rootKey(APP, 'Item', name));
    const router = pair[side].platform.processes[0]?.router;
    const a = await router?.lookup(shardOfKey(APP, key, SHARDS), [key], null, Date.now() + 15_000);
    return a?.rows[0] !== null && a?.rows[0] !== undefined;
  }

  /** Requests through N1's edge and commits at N1's datastore, one after the other, until `stop`. */
  let stopLoad: () => Promise<unknown> = () => Promise.resolve();
  afterEach(() => stopLoad());

  function load(): { stop(): Promise<{ requests: number; failed: string[]; written: string[] }> } {
    let going = true;
    const failed: string[] = [];
    const written: string[] = [];
    let requests = 0;
    const http = (async () => {
      while (going) {
        requests++;
        await pair.request().catch((e: unknown) => failed.push(String(e)));
        await sleep(10);
      }
    })();
    const writes = (async () => {
      for (let i = 0; going; i++) {
        const name = `load-${Date.now()}-${i}`;
        await put('blue', name, i).then(
          () => written.push(name),
          (e: unknown) => failed.push(String(e)),
        );
        await sleep(10);
      }
    })();
    const stop = async () => {
      going = false;
      await Promise.all([http, writes]);
      return { requests, failed, written };
    };
    stopLoad = stop;
    return { stop };
  }

  /**
   * Kills the coordinator (-9) behind every new kind of journal event while `over` does not hold, and starts it again.
   * Answers behind which events.
   */
  async function killEverywhere(over: (s: MigrationStatus) => boolean): Promise<string[]> {
    const killed = new Set<string>();
    const end = Date.now() + 240_000;
    let number = (await until('an answer', () => true)).events.at(-1)?.number ?? 0;
    for (;;) {
      const s = await until('an answer', () => true);
      if (over(s)) return [...killed];
      const fresh = s.events.find((e) => e.number > number && !killed.has(`${e.what} ${e.text}`));
      if (fresh !== undefined) {
        number = fresh.number;
        killed.add(`${fresh.what} ${fresh.text}`);
        await pair.killCoordinator();
        await pair.startCoordinator();
      }
      if (Date.now() > end) throw new Error(`not over: ${JSON.stringify(s.events)}`);
      await sleep(5);
    }
  }

  it('says that there is no migration before one was started', async () => {
    await pair.startCoordinator();
    await rejects(client.status(), (e) => hasCode(e, 'NO_MIGRATION'));
    deepEqual((await client.undoPhase('Cutover', ACTOR, 'test')).outcome, 'forgotten');
  });

  it('refuses a start that cannot be, and makes nothing', async () => {
    const ask = (join: unknown, apps = ['all']) =>
      client.startMigration({ attempt: 1, apps, wantedStage: 'synced', join, options: {}, actor: ACTOR });
    const good = pair.join();
    await rejects(ask({ ...good, protocols: [99] }), (e) => hasCode(e, 'NO_COMMON_PROTOCOL') && /99.*green speaks 1/.test(e.message)); // prettier-ignore
    await rejects(ask({ ...good, expiresAtMs: 1000 }), (e) => hasCode(e, 'JOIN_EXPIRED'));
    await rejects(ask({ ...good, edges: [] }), (e) => hasCode(e, 'BAD_JOIN') && e.message.includes('edges'));
    await rejects(ask(good, ['blog']), (e) => hasCode(e, 'BAD_CONFIG') && e.message.includes('shop'));
    const other = good.apps.map((a) => ({ ...a, shards: 16 }));
    await rejects(ask({ ...good, apps: other }), (e) => hasCode(e, 'SHARDS_DIFFER') && /16.*4/.test(e.message));
    await rejects(client.status(), (e) => hasCode(e, 'NO_MIGRATION'));
  });

  it('lets only an operator change anything', async () => {
    const tls = await issueCertificate(pair.green.platform.authority, { name: 'datastore-1', hosts: [] });
    const stranger = new CoordinatorClient(pair.coordinatorTarget, tls);
    await rejects(stranger.pause('load', ACTOR, 'test'), (e) => hasCode(e, 'FORBIDDEN'));
    stranger.close();
  });

  it('reaches synced by itself, killed behind every event on the way', async () => {
    for (let i = 0; i < 200; i++) await put('blue', `item-${i}`, i);
    await start('synced');
    const killed = await killEverywhere((s) => s.stage.reached === 'synced');
    ok(killed.length >= 4, killed.join(', '));
    const s = await until('gates open', (x) => x.gates.every((g) => g.open));
    equal(serving(s), 'source');
    const facts = await client.facts();
    equal(facts.entities, 200);
    ok((await client.verify(true, 10, 30_000)).equal);
  });

  it('holds the source lease on N1 while it is a source', async () => {
    deepEqual(
      (await pair.blue.agent.status()).holds.map((h) => h.name),
      ['source-of-green'],
    );
  });

  it('keeps a pause over a restart, and shows it', async () => {
    await client.pause('load', ACTOR, 'night shift');
    await pair.killCoordinator();
    await pair.startCoordinator();
    equal((await client.status()).pause?.reason, 'night shift');
    await client.resume(ACTOR);
  });

  it('refuses a switch while it is held', async () => {
    await client.hold(ACTOR, 'sale');
    await rejects(client.switch(null, ACTOR), (e) => hasCode(e, 'HELD') && e.message.includes('sale'));
    await client.release('hold', ACTOR);
  });

  it('switches under load, killed behind every step, with no failed request and no lost write', async () => {
    await until('gates open', (x) => x.gates.every((g) => g.open));
    const running = load();
    await start('switched');
    await client.startPhase('Cutover', ACTOR);
    const killed = await killEverywhere((s) => s.stage.reached === 'switched');
    const { requests, failed, written } = await running.stop();
    deepEqual(failed, []);
    ok(requests > 50 && written.length > 50, `${requests} requests, ${written.length} writes`);
    ok(killed.filter((k) => k.startsWith('switch.step')).length >= 5, killed.join(', '));
    const s = await client.status();
    equal(s.apps[0]?.shardsAtTarget, SHARDS);
    ok(s.back.command);
    for (const name of written) ok(await has('green', name), name);
    equal(await pair.request(), pair.green.host);
  });

  it('forgets a renamed phase and refuses to end while N2 serves', async () => {
    equal((await client.undoPhase('Cutover', ACTOR, 'renamed')).outcome, 'forgotten');
    await rejects(client.endMigration(ACTOR, 'destroy'), (e) => hasCode(e, 'SWITCHED'));
  });

  it('goes back under load, killed behind every step, latches, and switches again with a raised attempt', async () => {
    const running = load();
    await client.back(null, ACTOR, 'errors seen');
    const killed = await killEverywhere((s) => serving(s) === 'source');
    deepEqual((await running.stop()).failed, []);
    ok(killed.filter((k) => k.startsWith('back.step')).length >= 5, killed.join(', '));
    equal(await pair.request(), pair.blue.host);
    await rejects(
      client.startPhase('Cutover', ACTOR),
      (e) => hasCode(e, 'LATCHED') && e.message.includes('errors seen'),
    );
    await start('switched', 2);
    const again = load();
    await client.startPhase('Cutover', ACTOR);
    await until('switched', (s) => s.stage.reached === 'switched');
    const { failed, written } = await again.stop();
    deepEqual(failed, []);
    for (const name of written) ok(await has('green', name), name);
  });

  it('finds its way again from the logs when its journal is lost', async () => {
    await pair.killCoordinator();
    const zk = await ZooKeeper.connect({ servers: `${pair.green.platform.zookeeper.ip}:2181` });
    await zk.removeRecursive('/nxnw/coordinator');
    await zk.close();
    await pair.startCoordinator();
    await rejects(client.status(), (e) => hasCode(e, 'NO_MIGRATION'));
    const running = load();
    await start('switched', 2);
    const s = await until('switched', (x) => x.stage.reached === 'switched');
    deepEqual((await running.stop()).failed, []);
    ok(s.events.length > 0 && s.apps[0]?.shardsAtTarget === SHARDS);
    equal(await pair.request(), pair.green.host);
  });

  it('moves DNS, takes it back with everything else, and moves it again', async () => {
    const leadsTo = async (): Promise<string> => (await pair.addressOfName()).map((a) => a.address).join();
    equal(await leadsTo(), pair.blue.host);
    await client.startPhase('DnsHandoff', ACTOR);
    await until('moved', (s) => s.stage.reached === 'moved');
    equal(await leadsTo(), pair.green.host);
    await client.back(null, ACTOR, 'second thoughts');
    await until('back', (s) => serving(s) === 'source');
    equal(await leadsTo(), pair.blue.host);
    await client.release('latch', ACTOR);
    await client.switch(null, ACTOR);
    await until('switched', (s) => s.stage.reached === 'switched');
    await client.startPhase('DnsHandoff', ACTOR);
    const killed = await killEverywhere((s) => s.stage.reached === 'moved');
    ok(killed.length >= 3, killed.join(', '));
    equal(await leadsTo(), pair.green.host);
  });

  it('finalises, and then there is no way back', async () => {
    await start('finalized', 2);
    await client.startPhase('Finalize', ACTOR);
    const killed = await killEverywhere((s) => s.stage.reached === 'finalized');
    ok(killed.length >= 3, killed.join(', '));
    await rejects(client.back(null, ACTOR, 'too late'), (e) => hasCode(e, 'FINALIZED'));
    equal((await client.status()).back.command, null);
    deepEqual((await pair.blue.agent.status()).holds, []);
    const report = JSON.parse((await client.report()).text) as { apps: { shards: { handover: unknown }[] }[] };
    equal(report.apps[0]?.shards.length, SHARDS);
    ok((await client.facts()).report);
    equal((await pair.addressOfName())[0]?.ttl, 60);
    equal((await client.endMigration(ACTOR, 'migrateFrom taken out')).outcome, 'forgotten');
  });

  it('numbers its events without gaps and streams them', async () => {
    const ending = new AbortController();
    const numbers: number[] = [];
    for await (const e of client.events(0, false, ending.signal)) numbers.push(e.number);
    deepEqual(numbers, numbers.map((_, i) => i + 1)); // prettier-ignore
  });

  it('fences a coordinator that was superseded', async () => {
    await pair.killCoordinator();
    const connect = () =>
      ZooKeeper.connect({ servers: `${pair.green.platform.zookeeper.ip}:2181`, sessionTimeoutMs: 4000 });
    const [a, b] = [await connect(), await connect()];
    const signal = AbortSignal.timeout(20_000);
    const old = await Journal.lead(a, 'green-coordinator', signal);
    ok(old.restored);
    const next = await Journal.lead(b, 'green-coordinator', signal);
    equal(next.epoch, old.epoch + 1);
    await rejects(old.check(), (e) => hasCode(e, 'FENCED'));
    await rejects(old.write(old.restored, [], Date.now()), (e) => hasCode(e, 'FENCED'));
    await next.check();
    await Promise.all([a.close(), b.close()]);
  });
});
