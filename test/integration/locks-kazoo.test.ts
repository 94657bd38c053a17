import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import { pythonPath } from '@nxnw/tools/paths';
import type { TestServer } from '../support/servers.js';
import { startLocks, startSync, superOf } from './locks-support.js';

const SCRIPT = join(resolve(__dirname, '../../..'), 'test/integration/locks-kazoo.py');

/** Runs kazoo, a ZooKeeper client outside this project, in a process of its own. */
async function kazoo(what: 'dump' | 'draw', server: TestServer, path: string): Promise<unknown> {
  const args = [SCRIPT, what, `${server.ip}:${server.port}`, path];
  const { stdout } = await promisify(execFile)(pythonPath, args, { timeout: 30_000, maxBuffer: 64 << 20 });
  return JSON.parse(stdout);
}

describe('kazoo at N2', () => {
  let n1: TestServer;
  let n2: TestServer;
  let a: ZooKeeper;

  before(async () => {
    [n1, n2] = await Promise.all([startLocks('127.34.5.1'), startLocks('127.34.5.2')]);
    a = await ZooKeeper.connect(superOf(n1));
  });
  after(async () => {
    await a.close();
    await Promise.all([n1.stop(), n2.stop()]);
  });

  it("sees N1's tree, data and ACLs, and its next sequential child continues N1's numbering", async () => {
    await a.createRecursive('/apps/shop/queue');
    const acl = [{ perms: 31, scheme: 'digest', id: 'bob:ZZbHZqHGrNpNzDyDqe0gKuSFJ+A=' }];
    for (let i = 0; i < 500; i++) {
      const { path } = await a.create('/apps/shop/queue/n-', Buffer.from([i & 255, 0, 255]), { mode: 'persistent-sequential' }); // prettier-ignore
      if (i % 2 === 0) await a.remove(path);
      else if (i % 5 === 0) await a.setAcl(path, acl);
    }
    await a.create('/apps/shop/lock', Buffer.from('held'), { mode: 'ephemeral', acl });
    const { sync } = await startSync(superOf(n1), superOf(n2));
    try {
      await sync.caughtUp('events', 20_000);
      const [source, target] = await Promise.all([n1, n2].map((s) => kazoo('dump', s, '/apps/shop')));
      assert.deepEqual(target, source);
      assert.equal(Object.keys(target as object).length, 253);
      assert.equal(await kazoo('draw', n1, '/apps/shop/queue'), '/apps/shop/queue/n-0000000500');
      await sync.caughtUp('events', 5000);
      assert.equal(await kazoo('draw', n2, '/apps/shop/queue'), '/apps/shop/queue/n-0000000501');
      await sync.turn('reverse', 5000);
      await sync.caughtUp('events', 5000);
      assert.equal(await kazoo('draw', n1, '/apps/shop/queue'), '/apps/shop/queue/n-0000000502');
    } finally {
      await sync.stop();
    }
  });
});
