import assert from 'node:assert/strict';
import { openStore } from '@nxnw/platform/stores/index';
import { startCassandra, type TestServer } from '../support/servers.js';
import { storeContract } from './store-contract.js';
import { Writer } from './store-processes.js';

const ip = '127.32.0.10';
const config = { kind: 'cassandra', contactPoints: [ip], requestTimeoutMs: 20_000 };
let server: TestServer;

storeContract({
  kind: 'cassandra',
  config,
  start: async () => {
    server = await startCassandra({ ip });
  },
  stop: () => server.stop(),
  crash: async (writer) => {
    await server.kill('SIGKILL');
    await writer.ended();
    await server.restart();
  },
});

describe('store cassandra that cannot be trusted or reached', function () {
  this.timeout(120_000);

  it('is refused with one copy and a periodic commit log, by the name of the setting', async () => {
    const periodic = await startCassandra({ ip: '127.32.0.11', commitlogSync: 'periodic' });
    const store = await openStore({ kind: 'cassandra', contactPoints: [periodic.ip] });
    await assert.rejects(store.checkSafety(), {
      code: 'FAILED_PRECONDITION',
      message: /commitlog_sync: periodic.*batch or group/,
    });

    await store.ensureApp('shop', 1);
    const shard = { app: 'shop', index: 0 };
    await store.append(shard, { epoch: 1, slot: 0 }, Buffer.from('START'));
    const impatient = await openStore({ kind: 'cassandra', contactPoints: [periodic.ip], requestTimeoutMs: 500 });
    await periodic.kill('SIGSTOP');
    const bytes = Buffer.from('one and the same');
    await assert.rejects(impatient.append(shard, { epoch: 1, slot: 1 }, bytes), { code: 'UNAVAILABLE' });
    await periodic.kill('SIGCONT');
    const again = await store.append(shard, { epoch: 1, slot: 1 }, bytes);
    assert.ok(again.won || again.held.equals(bytes), 'the unknown append, or the second try of it, holds the slot');
    await impatient.close();
    await store.close();
    await periodic.stop();
  });

  it('is found again after an outage, and leaves nothing running when it is closed', async () => {
    const node = await startCassandra({ ip: '127.32.0.13' });
    const outlive = { kind: 'cassandra', contactPoints: [node.ip] };
    const store = await openStore(outlive);
    await store.ensureApp('shop', 1);
    await store.close();
    const user = new Writer({ outlive, app: 'shop' });
    await user.ready();
    await node.kill('SIGKILL');
    await new Promise((later) => setTimeout(later, 1000)); // the driver's own reaction to the outage
    await node.restart();
    user.go();
    await user.finished();
    assert.equal(user.child.exitCode, 0);
    await node.stop();
  });

  it('says which addresses it could not reach', async () => {
    await assert.rejects(openStore({ kind: 'cassandra', contactPoints: ['127.32.0.12'], requestTimeoutMs: 1000 }), { code: 'UNAVAILABLE', message: /127\.32\.0\.12 port 9042/ }); // prettier-ignore
  });
});
