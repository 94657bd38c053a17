import assert from 'node:assert/strict';
import { existsSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { AgentClient } from '@nxnw/platform/agent/api';
import { destroyLocalMachine } from '@nxnw/platform/agent/local';
import { readAccess } from '@nxnw/migration/resources/engines/access';
import { ensureTools, repoRoot } from '@nxnw/tools';
import { KEY, ZONE, startKnot, type Knot } from '../integration/dns-support.js';
import { LightLoad } from '../support/light-load.js';
import { until } from '../support/agents.js';
import { TestStack, type Ran } from './stack.js';

const NETWORK = '127.67.1';
const DNS = { host: '127.67.0.53', port: 5353 };
const NAME = `gazetteer.${ZONE}`;
const TTL_S = 2;
const SALT = 'v1:jEbYAZtkvcY=:v1:OY7zsjo01BGNCDWF:6QKUiBxR70xtofC5tDYldTdgfQcjkA==';
/** What the stack's program looks for in its own project, beside node_modules. */
const LINKED = ['platform', 'migration', 'components', 'stacks', 'examples', '.tools'];

interface Shape {
  readonly appMachines: number;
  readonly processes: number;
  readonly edges: number;
  /** A value in the application's environment; another one is a roll-out. */
  readonly version: string;
}

/** NXNW_GROW_STORE=cassandra grows a platform on that store. */
const STORE = process.env['NXNW_GROW_STORE'] ?? 'lmdb';

/** A platform that serves light load while it grows, shrinks and is rolled: its clients must not see an error. */
describe('a platform that grows and changes', function () {
  this.timeout(480_000);
  let stack: TestStack;
  let knot: Knot;
  let load: LightLoad;
  let env: Record<string, string> = {};
  let shape: Shape = { appMachines: 2, processes: 2, edges: 1, version: '1' };

  before(async function () {
    this.timeout(600_000);
    await ensureTools(['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot']);
    knot = await startKnot({ ...DNS, servers: [{ name: 'ns1', host: DNS.host }] });
    stack = new TestStack("module.exports = require('@nxnw/stacks');");
    for (const name of LINKED)
      if (existsSync(join(repoRoot, name))) symlinkSync(join(repoRoot, name), join(stack.dir, name));
    env = { PULUMI_CONFIG_PASSPHRASE: 'x', NXNW_HOME: stack.dir };
    await stack.init();
    configure(shape);
    await done(stack.up(env));
    load = new LightLoad({ clients: 4, name: NAME, port: 8080, dns: DNS });
    await load.start();
  });

  after(async () => {
    await load.stop();
    for (const m of existsSync(machines()) ? readdirSync(machines()) : [])
      await destroyLocalMachine({ dir: join(machines(), m) });
    knot.stop();
    stack.remove();
  });

  const machines = () => join(stack.dir, 'machines');

  function configure(s: Shape, over: Record<string, unknown> = {}): void {
    shape = s;
    const config = {
      platform: { name: 'grow' },
      cloud: { kind: 'local', appMachines: s.appMachines, local: { directory: machines(), network: `${NETWORK}.0/24` } },
      store: { kind: STORE },
      cache: { nodes: 1 },
      datastore: { processes: s.processes, shards: 4 },
      edge: { nodes: s.edges },
      apps: [{ id: 'gazetteer', bundle: join(repoRoot, 'examples/gazetteer'), instances: 3, env: { V: s.version } }],
      dns: {
        driver: 'rfc2136', zone: ZONE, name: NAME, ttlSeconds: TTL_S, restoreTtlSeconds: TTL_S,
        rfc2136: { server: `${DNS.host}:${String(DNS.port)}`, ...KEY },
      },
      ...over,
    }; // prettier-ignore
    const keyed = Object.fromEntries(Object.entries(config).map(([k, v]) => [`nxnw:${k}`, v]));
    writeFileSync(join(stack.dir, 'Pulumi.dev.yaml'), stringify({ encryptionsalt: SALT, config: keyed }));
  }

  async function done(run: Promise<Ran>): Promise<Ran> {
    const ran = await run;
    assert.equal(ran.code, 0, ran.text);
    return ran;
  }

  /** Brings the platform to another shape under load; no client sees an error, then or in the next second. */
  async function become(change: Partial<Shape>, args: readonly string[] = []): Promise<string> {
    configure({ ...shape, ...change });
    return unseen(() => stack.run(['up', '--yes', '--skip-preview', '--stack', 'dev', ...args], env));
  }

  async function unseen(act: () => Promise<Ran>): Promise<string> {
    load.take();
    const before = load.requests;
    const { text } = await done(act());
    await new Promise((ok) => setTimeout(ok, 1500));
    const { failures, longestMs } = load.take();
    const said = `${String(load.requests - before)} requests, the longest ${String(longestMs)} ms`;
    if (process.env['NXNW_SAY'])
      console.log(`${text}\n      ${said} ${JSON.stringify(failures.slice(0, 20), null, 1)}`);
    assert.deepEqual(failures, [], said);
    assert.ok(load.requests - before > 50, said);
    return text;
  }

  /** Asks an edge how many instances are up, again and again while `act` runs; answers the fewest. */
  async function fewestUp(act: () => Promise<unknown>): Promise<number> {
    const { operator } = readAccess(stack.dir, 'dev');
    const client = new AgentClient(`${NETWORK}.201:7400`, operator);
    let fewest = Infinity;
    let on = true;
    const looking = (async () => {
      while (on) {
        const [app] = (await client.edgeCounters('edge')).apps;
        fewest = Math.min(fewest, app?.serversUp ?? 0);
        await new Promise((ok) => setTimeout(ok, 100));
      }
    })();
    try {
      await act();
    } finally {
      on = false;
      await looking;
      client.close();
    }
    return fewest;
  }

  const answers = (address: string, sinceMs: number) =>
    [...load.seen].some(([instance, atMs]) => instance.startsWith(`${address}:`) && atMs > sinceMs);

  it('gives a third app machine its share of the instances', async () => {
    await become({ appMachines: 3 });
    const nowMs = Date.now();
    await until('an answer from the third machine', 10_000, () => Promise.resolve(answers(`${NETWORK}.103`, nowMs)));
  });

  it('takes an app machine out of the edge before it goes', async () => {
    await become({ appMachines: 2 });
    assert.ok(!existsSync(join(machines(), 'app-3')));
  });

  it('rolls a change out to one app machine after another', async () => {
    const fewest = await fewestUp(() => become({ version: '2' }));
    assert.ok(fewest >= 1, `at the worst ${String(fewest)} of 3 instances were up`);
  });

  it('replaces app machines one after another, each serving before the next goes', async () => {
    const urn = (m: string) =>
      `urn:pulumi:dev::probe::nxnw:index:Platform$nxnw:index:Fleet$pulumi-nodejs:dynamic/nxnw:LocalMachine::platform-fleet-${m}`;
    const replace = ['app-1', 'app-2'].flatMap((m) => ['--replace', urn(m)]);
    let text = '';
    // the first machine takes the cache with it
    load.cached = false;
    const fewest = await fewestUp(async () => (text = await become({}, replace)));
    load.cached = true;
    assert.ok(fewest >= 1, `at the worst ${String(fewest)} of 3 instances were up`);
    assert.match(text, /LocalMachine\s+\S*app-1 .*replaced/);
  });

  it('makes an app machine anew that was lost outside of Pulumi', async () => {
    const { operator } = readAccess(stack.dir, 'dev');
    const client = new AgentClient(`${NETWORK}.102:7400`, operator);
    await client.destroy();
    client.close();
    await until('the machine gone', 30_000, () => Promise.resolve(!existsSync(join(machines(), 'app-2'))));
    await done(stack.run(['refresh', '--yes', '--skip-preview', '--stack', 'dev'], env));
    await become({});
    const nowMs = Date.now();
    await until('an answer from the machine', 10_000, () => Promise.resolve(answers(`${NETWORK}.102`, nowMs)));
  });

  it('hands shards over to more datastore processes, and back from those that go', async () => {
    await become({ processes: 4 });
    await become({ processes: 2 });
  });

  it('gives clients a second edge once it serves, and takes it away a TTL after they have forgotten it', async () => {
    await become({ edges: 2 });
    await until('a request by the second edge', 20_000, () => Promise.resolve(load.asked.has(`${NETWORK}.202`)));
    await become({ edges: 1 });
    assert.ok(!existsSync(join(machines(), 'edge-2')));
  });

  it('refuses in the preview what a running platform cannot take on', async () => {
    configure(shape, { store: { kind: STORE === 'lmdb' ? 'cassandra' : 'lmdb' }, locks: { nodes: 3 } });
    const preview = await stack.run(['preview', '--stack', 'dev'], env);
    configure(shape);
    assert.notEqual(preview.code, 0);
    assert.match(
      preview.text,
      /\[nxnw:CANNOT_CHANGE\][\s\S]*store\.kind: is [\s\S]*locks\.nodes: is 1[\s\S]*migrateFrom/,
    );
  });

  it('is quiet when nothing changes', async () => {
    const quiet = await stack.run(['preview', '--expect-no-changes', '--diff', '--stack', 'dev'], env);
    assert.equal(quiet.code, 0, quiet.text);
  });
});
