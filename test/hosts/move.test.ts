import assert from 'node:assert/strict';
import { join } from 'node:path';
import { operatorDoor } from '../support/door.js';
import { liveMove } from '../support/live-move.js';
import { SshLab, labAddress } from '../support/ssh-lab.js';
import { APP, HostStacks, canRunOnHosts } from './stacks.js';
import type { Machines } from './stacks.js';

const machines = (first: number): Machines => ({
  data: [labAddress(first)],
  app: [labAddress(first + 1)],
  edge: [labAddress(first + 2)],
});
const N1 = machines(21);
const N2 = machines(31);

for (const store of ['lmdb', 'cassandra']) move(store);

/**
 * A running application moves from hosts to hosts, each of them a network namespace of its own, under load and judged by
 * the oracle. Takes some minutes; needs root, iproute2 and an ssh server (set-up installs that).
 */
function move(store: string): void {
  describe(`a live move from hosts with lmdb to other hosts with ${store}`, function () {
    this.timeout(1_500_000);
    let lab: SshLab;
    let stacks: HostStacks;
    const ends: (() => unknown)[] = [];

    before(async function () {
      if (!(await canRunOnHosts())) this.skip();
      const all = [N1, N2].flatMap((m) => [...m.data, ...m.app, ...m.edge]);
      lab = await SshLab.start(all.map((address) => ({ name: address, addresses: [address] })));
      ends.push(() => lab.stop());
      stacks = await HostStacks.start(lab, N1.edge);
      ends.push(() => stacks.stop());
    });

    after(async () => {
      for (const end of ends.reverse()) await end();
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
        n2: side('green', N2, (stage) => ({
          store: { kind: store },
          datastore: { processes: 1 },
          migrateFrom: 'blue',
          stage,
        })),
        clients: stacks.clients,
        access: () => stacks.project.access('green'),
        door: () => operatorDoor(stacks.project.access('green'), N2.data[0] ?? ''),
        say: (line) => console.log(`      ${line}`),
      });
      assert.deepEqual(moved.faults, []);
    });
  });
}
