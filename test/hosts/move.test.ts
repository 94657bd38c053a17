import assert from 'node:assert/strict';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { ensureRelease } from '@nxnw/tools/release/build';
import { operatorDoor } from '../support/door.js';
import { liveMove } from '../support/live-move.js';
import { SshLab, labAddress, labMissing } from '../support/ssh-lab.js';
import { APP, HostStacks } from './stacks.js';
import type { Machines } from './stacks.js';

const machines = (first: number): Machines => ({
  data: [labAddress(first)],
  app: [labAddress(first + 1)],
  edge: [labAddress(first + 2)],
});
const N1 = machines(21);
const N2 = machines(31);

/**
 * A running application moves from hosts to hosts, each platform in a network namespace of its own, under load and
 * judged by the oracle. Takes some minutes; needs root, iproute2 and an ssh server (set-up installs that).
 */
describe('a live move from hosts to other hosts', function () {
  this.timeout(1_500_000);
  let lab: SshLab;
  let stacks: HostStacks;

  before(async function () {
    const missing = labMissing();
    if (missing !== null) {
      console.log(`skipped: ${missing}`);
      this.skip();
    }
    await ensureTools(['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot', 'sshd', 'command-provider']);
    await ensureRelease();
    const all = (m: Machines) => [...m.data, ...m.app, ...m.edge];
    lab = await SshLab.start([
      { name: 'blue', addresses: all(N1) },
      { name: 'green', addresses: all(N2) },
    ]);
    stacks = await HostStacks.start(lab, N1.edge);
  });

  after(async () => {
    stacks.stop();
    await lab.stop();
  });

  const side = (stack: string, at: Machines, config: (stage: string) => Record<string, unknown>) => ({
    up: (stage: string) => {
      stacks.write(stack, at, config(stage));
      return stacks.run('up', stack);
    },
    has: (instance: string) => at.app.some((a) => instance.startsWith(`${a}:`)),
  });

  it('loses nothing, tears nothing, fails no request', async () => {
    const moved = await liveMove({
      dir: join(lab.dir, 'move'),
      app: APP,
      n1: side('blue', N1, () => ({
        datastore: { processes: 1, shards: 4 },
        apps: [{ id: APP, bundle: './examples/gazetteer', instances: 2 }],
      })),
      n2: side('green', N2, (stage) => ({ datastore: { processes: 1 }, migrateFrom: 'blue', stage })),
      clients: stacks.clients,
      access: () => stacks.project.access('green'),
      door: () => operatorDoor(stacks.project.access('green'), N2.data[0] ?? ''),
      say: (line) => console.log(`      ${line}`),
    });
    assert.deepEqual(moved.faults, []);
  });
});
