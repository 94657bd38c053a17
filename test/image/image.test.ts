import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { userData } from '@nxnw/components/clouds/user-data';
import { enrol } from '@nxnw/migration/resources/engines/enrolment';
import { AgentClient } from '@nxnw/platform/agent/api';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';
import { newToken } from '@nxnw/platform/wire/enrolment';
import { ensurePrograms } from '@nxnw/tools/setup/debian';
import { ensureImage, imageDir, type Image } from '@nxnw/tools/image/build';
import { parsePackages } from '@nxnw/tools/image/packages';
import { aptSources, debstrapArgs } from '@nxnw/tools/image/root';
import { z } from 'zod';
import { until } from '../support/agents.js';
import { GUEST, QemuMachine } from '../support/qemu-machine.js';

const GIB = 1024 ** 3;
const PLATFORM = 'imaged';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

/**
 * The image, its user data and enrolment together, on a machine that QEMU emulates. Takes three minutes, and two more where
 * the image is not built yet; that needs root and a mirror of Debian.
 */
describe('the machine image', function () {
  this.timeout(900_000);
  let image: Image;
  let dir: string;
  let machine: QemuMachine | undefined;
  let agent: AgentClient | undefined;
  const path = (name: string): string => join(imageDir(), name);

  before(async () => {
    await ensurePrograms(['mmdebstrap', 'qemu-system-x86_64', 'qemu-img', 'genisoimage']);
    image = await ensureImage();
    dir = mkdtempSync(join(tmpdir(), 'nxnw-image-'));
  });

  after(async () => {
    agent?.close();
    await machine?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('lists every Debian package and everything of the release', () => {
    const packages = parsePackages(readFileSync(path(image.packages), 'utf8'));
    const { components } = z
      .looseObject({ components: z.array(z.looseObject({ name: z.string(), version: z.string() })) })
      .parse(JSON.parse(readFileSync(path(image.bom), 'utf8')));
    const has = (name: string, version: string) => components.some((c) => c.name === name && c.version === version);
    for (const p of packages) assert.ok(has(p.name, p.version), p.name);
    for (const name of ['cloud-init', 'haproxy', 'memcached', 'openjdk-17-jre-headless', 'openssh-server'])
      assert.ok(packages.some((p) => p.name === name), name); // prettier-ignore
    assert.ok(has('node', process.versions.node));
    assert.ok(has('cassandra-all', '5.0.8'));
  });

  it('would be built of the same packages again, while Debian has no newer ones', async () => {
    const args = ['--simulate', '--verbose', ...debstrapArgs(join(dir, 'again'), await aptSources())];
    const { status, stderr: said } = spawnSync('mmdebstrap', args, { encoding: 'utf8', maxBuffer: 64e6 });
    assert.equal(status, 0, said);
    const again = new Set(
      [...said.matchAll(/^Inst (\S+)(?: \[\S+\])? \((\S+) /gm)].map(([, n, v]) => `${String(n)} ${String(v)}`),
    );
    const built = parsePackages(readFileSync(path(image.packages), 'utf8')).map((p) => `${p.name} ${p.version}`);
    // apt that only simulates may name more: it does not see what an installed package stands in for
    assert.deepEqual(
      built.filter((p) => !again.has(p)),
      [],
    );
  });

  it('starts by its own boot loader, reads its user data, and its machine is enrolled', async () => {
    const authority = await createAuthority(PLATFORM);
    const operator = await issueCertificate(authority, { name: 'operator', hosts: [] });
    const token = newToken();
    const told = { platformId: PLATFORM, machine: 'data-1', host: GUEST, port: 7400, token, ca: authority.cert };
    const port = await freePort();
    machine = await QemuMachine.start({
      dir,
      raw: path(image.raw),
      diskBytes: 6 * GIB,
      dataBytes: GIB,
      userData: userData({ ...told, dataDisk: 'own' }),
      port,
    });
    const began = Date.now();
    const booted = machine;
    const target = `127.0.0.1:${String(port)}`;
    try {
      await enrol(
        {
          authorityCert: authority.cert,
          authorityKey: authority.key,
          platformId: PLATFORM,
          machine: 'data-1',
          hosts: [GUEST, '127.0.0.1'],
          agent: target,
          serverId: 'i-1',
          token,
          operator,
          days: 365,
          waitMinutes: 6,
          cloud: 'kvm',
          console: '',
          logUrn: '',
        },
        null,
        () => assert.ok(booted.runs, 'QEMU ended'),
      );
    } catch (e) {
      console.log(booted.console().slice(-4000));
      throw e;
    }
    console.log(`      enrolled ${String(Math.round((Date.now() - began) / 1000))} s after the start`);
    agent = new AgentClient(target, operator);
    const status = await agent.status();
    assert.deepEqual([status.platformId, status.machine, status.roles], [PLATFORM, 'data-1', []]);
    await until('the end of the first boot', 60_000, () => Promise.resolve(/nxnw-first-boot: done/.test(booted.console()))); // prettier-ignore
  });

  it('runs roles with what the image brings: Java and memcached', async () => {
    assert.ok(agent, 'the machine is enrolled');
    const { status } = await agent.converge(
      [
        { kind: 'locks', id: 'locks', host: GUEST },
        { kind: 'cache', id: 'cache', app: 'shop', host: GUEST },
      ],
      Date.now() + 300_000,
    );
    assert.deepEqual(status.roles.map((r) => r.state), ['healthy', 'healthy']); // prettier-ignore
  });
});
