import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { markedProcesses } from '@nxnw/platform/agent/procfs';
import { readAgentConfig, readAgentRecord } from '@nxnw/platform/agent/state';
import { repoRoot } from '@nxnw/tools';
import { stringify } from 'yaml';
import { TestStack } from '../provider/stack.js';
import { through, tinyApp, until } from '../support/agents.js';
import { SshLab, labAddress } from '../support/ssh-lab.js';
import { canRunOnHosts } from './stacks.js';

const DATA = labAddress(11);
const APP = labAddress(12);
const EDGE = labAddress(13);
const PORT = 8080;

/**
 * A platform on machines that are there already: two hosts in network namespaces, with a real sshd each, reached by
 * the command plugin. Takes 2 minutes; needs root, iproute2 and an ssh server (set-up installs that).
 */
describe('a platform on hosts that are there already', function () {
  this.timeout(300_000);
  let lab: SshLab;
  let stack: TestStack;
  const ends: (() => unknown)[] = [];

  before(async function () {
    if (!(await canRunOnHosts())) this.skip();
    lab = await SshLab.start([
      { name: 'one', addresses: [DATA] },
      { name: 'two', addresses: [APP, EDGE] },
    ]);
    ends.push(() => lab.stop());
    stack = new TestStack("module.exports = require('@nxnw/stacks');");
    ends.push(() => stack.remove());
    mkdirSync(join(stack.dir, '.nxnw'));
    symlinkSync(join(repoRoot, '.nxnw', 'release'), join(stack.dir, '.nxnw', 'release'));
    await stack.init();
  });

  after(async () => {
    for (const end of ends.reverse()) await end();
  });

  const home = (): Record<string, string> => ({
    NXNW_HOME: stack.dir,
    PULUMI_CONFIG_PASSPHRASE: 'x',
    PULUMI_HOME: join(repoRoot, '.nxnw', 'pulumi-home'),
  });

  function configure(over: Record<string, unknown> = {}): void {
    const hosts = [
      { group: 'data', address: DATA },
      { group: 'app', address: APP },
      { group: 'edge', address: EDGE },
    ];
    const directory = join(lab.dir, 'nxnw');
    const config = {
      'nxnw:platform': { name: 'shop', protect: false },
      'nxnw:cloud': { kind: 'hosts', appMachines: 1, hosts: { hosts, directory, privateKey: lab.privateKey, ...over } },
      'nxnw:apps': [{ id: 'shop', bundle: tinyApp(), instances: 1, domains: ['shop.test'] }],
    };
    const salt = 'v1:jEbYAZtkvcY=:v1:OY7zsjo01BGNCDWF:6QKUiBxR70xtofC5tDYldTdgfQcjkA==';
    writeFileSync(join(stack.dir, 'Pulumi.dev.yaml'), stringify({ encryptionsalt: salt, config }));
  }

  const machine = (name: string): string => join(lab.dir, 'nxnw', 'shop-dev', name);

  it('names a host that does not let the operator in, and goes on from there when it does', async () => {
    configure({ user: 'nobody-here' });
    const refused = await stack.up(home());
    assert.notEqual(refused.code, 0);
    assert.match(refused.text, new RegExp(`${DATA}|${APP}|${EDGE}`));
  });

  it('comes up by ssh alone: each machine makes its own key, and applications serve', async () => {
    configure();
    const up = await stack.up(home());
    assert.equal(up.code, 0, up.text);
    const seen = await through(EDGE, PORT, 'shop.test');
    assert.equal(seen.status, 200);
    assert.equal(seen.env['DATASTORE_EMULATOR_HOST'], '127.0.0.1:8500');
    for (const name of ['data-1', 'app-1', 'edge-1']) {
      assert.ok(!existsSync(join(machine(name), 'enrol.json')), `${name} keeps no token`);
      const { tls } = readAgentConfig(machine(name));
      const pem = readFileSync(tls.key, 'utf8').split('\n')[1] ?? '';
      assert.ok(pem.length > 20 && !stack.state().includes(pem), `the key of ${name} never left it`);
    }
  });

  it('is quiet while nothing changes', async () => {
    const preview = await stack.run(['preview', '--expect-no-changes', '--diff', '--stack', 'dev'], home());
    assert.equal(preview.code, 0, preview.text);
    const refresh = await stack.run(['refresh', '--preview-only', '--expect-no-changes', '--stack', 'dev'], home());
    assert.equal(refresh.code, 0, refresh.text);
  });

  it('makes a machine anew that was lost, with a fresh token', async () => {
    const agent = readAgentRecord(machine('app-1'));
    assert.ok(agent);
    process.kill(agent.pid, 'SIGKILL');
    for (const p of markedProcesses(machine('app-1'))) process.kill(p.pid, 'SIGKILL');
    rmSync(machine('app-1'), { recursive: true });
    await until('the edge without its application', 20_000, async () => (await through(EDGE, PORT, 'shop.test')).status !== 200); // prettier-ignore
    const refresh = await stack.run(['refresh', '--yes', '--skip-preview', '--stack', 'dev'], home());
    assert.equal(refresh.code, 0, refresh.text);
    const up = await stack.up(home());
    assert.equal(up.code, 0, up.text);
    await until('the application again', 20_000, async () => (await through(EDGE, PORT, 'shop.test')).status === 200);
  });

  it('leaves nothing of itself on the hosts when it goes', async () => {
    const gone = await stack.run(['destroy', '--yes', '--skip-preview', '--stack', 'dev'], home());
    assert.equal(gone.code, 0, gone.text);
    for (const name of ['data-1', 'app-1', 'edge-1']) {
      assert.ok(!existsSync(machine(name)), name);
      assert.ok(!existsSync(machine(join('releases', name))), `the release of ${name}`);
    }
  });
});
