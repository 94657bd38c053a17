import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { createLockSync } from '@nxnw/migration/locks/sync';
import { NxnwError } from '@nxnw/platform/errors';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import type { MultiOp } from '@nxnw/platform/locks/client';
import { pythonPath } from '@nxnw/tools/paths';
import { startLocks, superOf } from '@nxnw/test/integration/locks-support';
import type { TestServer } from '@nxnw/test/support/servers';

/**
 * How many nodes a second the lock sync copies, over a copier made with kazoo that has 64 requests in flight. Both copy
 * the same tree of N1 to an empty ZooKeeper, in turn, in this one run; the sync copies sequence numbers too.
 * Usage: node bench/dist/locks.js [nodes] [pairs]
 */
const NODES = Number(process.argv[2] ?? 20_000);
const PAIRS = Number(process.argv[3] ?? 5);
const CHILDREN = 200;
const KAZOO = resolve(__dirname, '../locks-kazoo.py');

async function fill(zk: ZooKeeper): Promise<void> {
  const data = Buffer.alloc(200, 'x');
  await zk.createRecursive('/apps/shop');
  for (let dir = 0; dir * CHILDREN < NODES; dir++) {
    const path = `/apps/shop/d${dir}`;
    const ops: MultiOp[] = [{ op: 'create', path, data }];
    for (let i = 1; i < CHILDREN; i++)
      ops.push({ op: 'create', path: `${path}/n-`, data, mode: 'persistent-sequential' });
    await zk.multi(ops);
  }
}

async function ours(source: TestServer, target: TestServer): Promise<number> {
  const began = performance.now();
  const sync = await createLockSync({
    source: superOf(source),
    target: superOf(target),
    name: 'shop',
    paths: ['/apps/shop'],
    holder: 'bench',
    scrubNodesPerS: 0,
    failed: (e) => console.error(e),
  });
  await sync.caughtUp('events', 300_000);
  const rate = (sync.status().progress.done * 1000) / (performance.now() - began);
  await sync.stop();
  return rate;
}

async function kazoo(source: TestServer, target: TestServer): Promise<number> {
  const args = [KAZOO, ...[source, target].map((s) => `${s.ip}:${s.port}`), '/apps/shop'];
  const { stdout } = await promisify(execFile)(pythonPath, args, { timeout: 600_000 });
  const answer: unknown = JSON.parse(stdout);
  if (typeof answer === 'object' && answer !== null && 'nodes' in answer && 'seconds' in answer)
    return Number(answer.nodes) / Number(answer.seconds);
  throw new NxnwError('BENCH', `the kazoo copier answered ${stdout}`);
}

async function onEmpty(source: TestServer, copy: (s: TestServer, t: TestServer) => Promise<number>): Promise<number> {
  const target = await startLocks('127.34.9.2');
  try {
    return await copy(source, target);
  } finally {
    await target.stop();
  }
}

async function main(): Promise<void> {
  const source = await startLocks('127.34.9.1');
  const zk = await ZooKeeper.connect(superOf(source));
  try {
    await fill(zk);
    const ratios: number[] = [];
    for (let i = 0; i < PAIRS; i++) {
      const [mine, theirs] = [await onEmpty(source, ours), await onEmpty(source, kazoo)];
      ratios.push(mine / theirs);
      console.log(
        `lock sync ${mine.toFixed(0)} nodes/s, kazoo ${theirs.toFixed(0)} nodes/s: ${(mine / theirs).toFixed(1)}x`,
      );
    }
    ratios.sort((x, y) => x - y);
    console.log(
      `median ${(ratios[Math.floor(PAIRS / 2)] ?? 0).toFixed(1)}x, lowest ${(ratios[0] ?? 0).toFixed(1)}x (goal 3x)`,
    );
  } finally {
    await zk.close();
    await source.stop();
  }
}

main().catch((e: unknown) => {
  console.error(e);
  process.exitCode = 1;
});
