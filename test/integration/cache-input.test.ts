import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createCacheWarmupGroup } from '@nxnw/migration/cache/group';
import { createCacheWarmup } from '@nxnw/migration/cache/warmup';
import { RawClient, assertEqual, startCache, within, type Cache } from './cache-support.js';

describe('cache warm-up of an application', function () {
  this.timeout(60_000);
  const caches: Cache[] = [];
  const start = async (ip: string): Promise<Cache> => {
    const c = await startCache(ip);
    caches.push(c);
    return c;
  };
  afterEach(() => Promise.all(caches.splice(0).map((c) => c.stop())));

  it('warms all its cache machines, switches them together and turns them', async () => {
    const [a1, b1, a2, b2] = await Promise.all(['127.35.4.1', '127.35.4.2', '127.35.4.3', '127.35.4.4'].map(start));
    assert.ok(a1 && b1 && a2 && b2);
    const group = createCacheWarmupGroup({ sources: [a1.at, b1.at], targets: [a2.at, b2.at], turnedRestMs: 0 });
    await group.start(within(10_000));
    for (let i = 0; i < 50; i++) await (i % 2 ? a1 : b1).app.set(`k${i}`, 'v', {});
    await group.fence(within(5000));
    await group.awaitWhole(within(5000));
    assert.deepEqual(await group.warmth(40), { sampled: 40, present: 40, equal: 40 });
    assert.deepEqual(await group.invalidate(within(5000)), { flushed: false });
    await group.turn(within(5000));
    await a2.app.set('back', 'x', {});
    await group.fence(within(5000));
    await group.awaitWhole(within(5000));
    assert.equal((await a1.app.get('back')).value?.toString(), 'x');
    assert.deepEqual(
      group.status().map((s) => s.source),
      ['127.35.4.3:11211', '127.35.4.4:11211'],
    );
    await group.close();
  });

  it('is all copying again when one of its machines cannot be switched', async () => {
    const [a1, b1, a2, b2] = await Promise.all(['127.35.4.1', '127.35.4.2', '127.35.4.3', '127.35.4.4'].map(start));
    assert.ok(a1 && b1 && a2 && b2);
    const group = createCacheWarmupGroup({ sources: [a1.at, b1.at], targets: [a2.at, b2.at], timeoutMs: 1000 });
    await group.start(within(10_000));
    await group.awaitWhole(within(5000));
    await b2.server.kill('SIGSTOP');
    await assert.rejects(group.invalidate(within(800)));
    assert.deepEqual(
      group.status().map((s) => s.mode),
      ['copy', 'copy'],
    );
    await b2.server.kill('SIGCONT');
    await group.awaitWhole(within(10_000));
    await group.invalidate(within(5000));
    await group.close();
  });

  it('an unreachable memcached, an unsuitable one and one that is both sides are refused by name', async () => {
    const ok = await start('127.35.4.1');
    const nobody = createCacheWarmup({ source: { host: '127.35.4.9', port: 11211 }, target: ok.at, timeoutMs: 300 });
    await assert.rejects(nobody.start(within(1000)), { code: 'CACHE_UNREACHABLE', message: /127\.35\.4\.9:11211/ });
    assert.throws(() => createCacheWarmup({ source: ok.at, target: ok.at }), { code: 'CACHE_OPTIONS' });
    assert.throws(() => createCacheWarmupGroup({ sources: [ok.at], targets: [] }), { code: 'CACHE_MACHINES_DIFFER', message: /1 cache machines and N2 0/ }); // prettier-ignore

    const args = ['-u', 'nobody', '-l', '127.35.4.8', '-p', '11211', '-U', '0', '-C'];
    const withoutCas: ChildProcess = spawn('memcached', args, { stdio: 'ignore' });
    await once(withoutCas, 'spawn');
    const refused = createCacheWarmup({ source: { host: '127.35.4.8', port: 11211 }, target: ok.at });
    await assert.rejects(refused.start(within(2000)), {
      code: 'CACHE_UNSUITABLE',
      message: /cas_enabled is no, must be yes/,
    });
    withoutCas.kill('SIGKILL');
  });

  it('what M2 cannot hold is absent there, not stale', async () => {
    const m1 = await start('127.35.4.1');
    const args = ['-u', 'nobody', '-l', '127.35.4.7', '-p', '11211', '-U', '0', '-I', '512k'];
    const small = spawn('memcached', args, { stdio: 'ignore' });
    await once(small, 'spawn');
    const at = { host: '127.35.4.7', port: 11211 };
    const w = createCacheWarmup({ source: m1.at, target: at });
    await w.start(within(5000));
    await m1.app.set('k', 'small', {});
    await w.fence(within(5000));
    const raw = await RawClient.open(at);
    assert.equal((await raw.held('k'))?.value, 'small\r\n');
    await m1.app.set('k', Buffer.alloc(800_000, 'x'), {});
    await w.fence(within(5000));
    assert.equal(await raw.held('k'), null);
    assert.ok(w.status().counts.refused >= 1);
    raw.close();
    await w.close();
    small.kill('SIGKILL');
  });

  it('a key that only the binary protocol can name is counted, and disturbs nothing', async () => {
    const [m1, m2] = await Promise.all([start('127.35.4.1'), start('127.35.4.2')]);
    assert.ok(m1 && m2);
    const w = createCacheWarmup({ source: m1.at, target: m2.at });
    await w.start(within(5000));
    await m1.app.set(' '.repeat(230), 'x', {});
    await m1.app.set('plain', 'y', {});
    await w.fence(within(5000));
    await w.awaitWhole(within(5000));
    assert.ok(w.status().counts.unnameable >= 1);
    await assertEqual(m1, m2, ['plain']);
    await w.close();
  });
});
