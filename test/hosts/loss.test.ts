import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { untilServing } from '../load/ask.js';
import { Fleet } from '../load/fleet.js';
import { loadPlaces } from '../load/loader.js';
import { readBack } from '../load/read-back.js';
import { sumTraffic } from '../load/traffic.js';
import { check, fileSource } from '../oracle/index.js';
import { through, until } from '../support/agents.js';
import { operatorDoor } from '../support/door.js';
import { SshLab, labAddress } from '../support/ssh-lab.js';
import { APP, EDGE_PORT, HostStacks, NAME, canRunOnHosts } from './stacks.js';
import type { Machines } from './stacks.js';

const DATA = labAddress(41);
const AT: Machines = { data: [DATA], app: [labAddress(42), labAddress(43)], edge: [labAddress(44), labAddress(45)] };
const WITHOUT_MS = 8000;
const AGAIN_MS = 120_000;

/**
 * Two app machines, two edges and clients that know both and whose writes may be repeated: one of each dies under load
 * with everything on it, and is made anew. Takes some minutes; needs root, iproute2 and an ssh server (set-up installs that).
 */
describe('a platform on hosts that loses a machine under load', function () {
  this.timeout(900_000);
  let lab: SshLab;
  let stacks: HostStacks;
  const ends: (() => unknown)[] = [];
  let fleet: Fleet | null = null;

  before(async function () {
    if (!(await canRunOnHosts())) this.skip();
    const named = (group: keyof Machines) =>
      AT[group].map((address, i) => ({ name: `${group}-${String(i + 1)}`, addresses: [address] }));
    lab = await SshLab.start([...named('data'), ...named('app'), ...named('edge')]);
    ends.push(() => lab.stop());
    stacks = await HostStacks.start(lab, AT.edge);
    ends.push(() => stacks.stop());
    stacks.write('blue', AT, {
      datastore: { processes: 1, shards: 4 },
      apps: [{ id: APP, bundle: './examples/gazetteer', instances: 2 }],
    });
    await stacks.run('up', 'blue');
    await untilServing(stacks.clients, AGAIN_MS);
    const placesFile = join(lab.dir, 'places.txt');
    await loadPlaces({
      count: 2000,
      target: stacks.clients,
      log: join(lab.dir, 'loader.jsonl'),
      placesFile,
      run: 'loss',
      onProgress: () => undefined,
    });
    fleet = new Fleet({ clients: 2, ratePerS: 10, target: stacks.clients, placesFile, dir: join(lab.dir, 'load'), seed: 3, repeatable: true }); // prettier-ignore
    await delay(WITHOUT_MS);
  });

  after(async () => {
    await fleet?.stop();
    for (const end of ends.reverse()) await end();
  });

  /** The machine dies with its disk, the platform serves without it for a while, then refresh and up make it anew. */
  async function lose(machine: string): Promise<void> {
    await lab.crash(machine);
    stacks.wipe('blue', machine);
    await delay(WITHOUT_MS);
    await lab.boot(machine);
    await stacks.run('refresh', 'blue');
    await stacks.run('up', 'blue');
    fleet?.checkAlive();
  }

  it('replaces an app machine, and its application takes requests again', async () => {
    await lose('app-1');
    const [address = ''] = AT.app;
    const seen = () => Object.keys(fleet?.stats().instances ?? {}).some((i) => i.startsWith(`${address}:`));
    await until('requests at the new app machine', AGAIN_MS, () => Promise.resolve(seen()));
  });

  it('replaces an edge, and it takes requests again', async () => {
    await lose('edge-1');
    const [address = ''] = AT.edge;
    await until('the new edge', AGAIN_MS, async () => {
      const seen = await through(address, EDGE_PORT, NAME, '/healthz').catch(() => null);
      return seen?.status === 200;
    });
    await delay(WITHOUT_MS);
  });

  it('the clients saw no error, and the oracle finds nothing wrong', async () => {
    assert.ok(fleet);
    const { logs, lagLog } = fleet;
    await fleet.stop();
    fleet = null;
    const door = await operatorDoor(stacks.project.access('blue'), DATA);
    const dump = join(lab.dir, 'dump.jsonl');
    await readBack({ project: APP, door: door.endpoint, file: dump }).finally(() => door.close());
    const oracle = await check({
      logs: [join(lab.dir, 'loader.jsonl'), ...logs].map(fileSource),
      dump: fileSource(dump),
    });
    const traffic = await sumTraffic({
      logs: logs.map(fileSource),
      lagLogs: [fileSource(lagLog)],
      spans: [{ name: 'whole', fromUs: 0, toUs: Infinity }],
      isTarget: () => false,
    });
    console.log(
      `      ${traffic.requests} requests, ${traffic.writes} writes, ${traffic.failedRequests} failed; longest ${Math.round(traffic.spans[0]?.longestMs ?? NaN)} ms; the oracle: ${JSON.stringify(oracle.findings.counts)}`,
    );
    assert.deepEqual(oracle.findings.kept, []);
    assert.deepEqual(traffic.failures, []);
  });
});
