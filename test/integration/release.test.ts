import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Datastore } from '@google-cloud/datastore';
import { AgentClient } from '@nxnw/platform/agent/api';
import type { RoleSpecInput } from '@nxnw/platform/agent/spec';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';
import { ensureTools, repoRoot } from '@nxnw/tools';
import { ensureRelease, releaseDir, type Release } from '@nxnw/tools/release/build';
import { until } from '../support/agents.js';
import { z } from 'zod';

const run = promisify(execFile);
const HOST = '127.33.7.11';
const APP = 'shop';

/** What a data machine of a small platform on Cassandra runs. */
const ROLES: RoleSpecInput[] = [
  { kind: 'locks', id: 'locks', host: HOST },
  { kind: 'cassandra', id: 'store', host: HOST, clusterName: 'release', seeds: [HOST] },
  {
    kind: 'datastore',
    id: 'datastore-1',
    processId: 'datastore-1',
    peer: { host: HOST, port: 7410 },
    locks: { servers: [`${HOST}:2181`] },
    store: { kind: 'cassandra', contactPoints: [`${HOST}:9042`], replication: 1 },
    apps: [{ id: APP, shards: 2, origin: 'self', doors: [{ host: HOST, port: 8500 }] }],
  },
  {
    kind: 'relay',
    id: 'door',
    listen: { host: HOST, port: 20_000 },
    targets: [{ host: HOST, port: 8500 }],
    tlsSide: 'listen',
  },
];

const bomSchema = z.looseObject({ components: z.array(z.looseObject({ name: z.string(), version: z.string() })) });

describe('a release', function () {
  this.timeout(180_000);
  let release: Release;
  let root: string;
  let dir: string;
  let agent: AgentClient | undefined;

  before(async () => {
    await ensureTools(['zookeeper', 'cassandra']);
    release = await ensureRelease();
    root = mkdtempSync(join(tmpdir(), 'nxnw-release-'));
    dir = join(root, 'machine');
    mkdirSync(dir);
    await run('tar', ['-xzf', join(releaseDir(), release.archive), '-C', root]);
  });

  after(async () => {
    if (agent !== undefined) {
      await agent.destroy();
      await until('the machine gone', 30_000, () => Promise.resolve(!existsSync(dir)));
      agent.close();
    }
    rmSync(root, { recursive: true, force: true });
  });

  it('is built once for the same inputs, and lists what is in it', async () => {
    assert.deepEqual(await ensureRelease(), release);
    const bom = bomSchema.parse(JSON.parse(readFileSync(join(root, 'bom.json'), 'utf8')));
    const version = (name: string) => bom.components.find((c) => c.name === name)?.version;
    assert.equal(version('node'), process.versions.node);
    assert.equal(version('cassandra-all'), '5.0.8');
    assert.equal(version('zookeeper'), '3.9.5');
    const locked = z
      .looseObject({ packages: z.record(z.string(), z.looseObject({ version: z.string().optional() })) })
      .parse(JSON.parse(readFileSync(join(repoRoot, 'package-lock.json'), 'utf8')));
    assert.equal(version('lmdb'), locked.packages['node_modules/lmdb']?.version);
    assert.ok(!bom.components.some((c) => c.name.startsWith('@pulumi/')));
  });

  it('holds everything that the coordinator loads', async () => {
    const main = join(root, 'migration', 'dist', 'coordinator', 'main.js');
    await assert.rejects(run(join(root, 'bin', 'node'), [main]), /usage: .*--config FILE/);
  });

  it('runs a data machine from wherever it is unpacked, with nothing of this checkout', async () => {
    const authority = await createAuthority('release');
    const operator = await issueCertificate(authority, { name: 'operator', hosts: [] });
    const tls = await issueCertificate(authority, { name: 'data-1', hosts: [HOST] });
    const paths = { ca: join(dir, 'ca.pem'), cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') };
    for (const k of ['ca', 'cert', 'key'] as const) writeFileSync(paths[k], tls[k], { mode: 0o600 });
    const config = { platformId: 'release', machine: 'data-1', host: HOST, port: 7400, tls: paths };
    writeFileSync(join(dir, 'agent.json'), JSON.stringify(config));
    const main = join(root, 'platform', 'dist', 'agent', 'main.js');
    spawn(join(root, 'bin', 'node'), [main, '--dir', dir], {
      cwd: dir,
      detached: true,
      stdio: 'ignore',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: root },
    }).unref();
    const client = new AgentClient(`${HOST}:7400`, operator);
    await until('the agent', 20_000, () => client.status().then(Boolean, () => false));
    agent = client;
    await client.converge(ROLES, Date.now() + 120_000);
    process.env['DATASTORE_EMULATOR_HOST'] = `${HOST}:8500`;
    const datastore = new Datastore({ projectId: APP });
    const key = datastore.key(['Thing', 'one']);
    await datastore.save({ key, data: { n: 7 } });
    const [read] = await datastore.get(key);
    assert.equal(z.looseObject({ n: z.number() }).parse(read).n, 7);
    const { agentPid, roles } = await client.status();
    for (const pid of [agentPid, ...roles.flatMap((r) => r.processes.map((p) => p.pid))]) {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      assert.doesNotMatch(command, new RegExp(repoRoot), `process ${pid}`);
      if (command.includes('node'))
        assert.equal(realpathSync(`/proc/${pid}/exe`), realpathSync(join(root, 'bin/node')));
    }
  });
});
