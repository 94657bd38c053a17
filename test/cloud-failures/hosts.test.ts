/**
 * What `nxnw up` says when a host that is there already cannot be a machine, by the real engine, the plugin of ours and a
 * real ssh server. Takes about 3 minutes.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ensureTools, repoRoot } from '@nxnw/tools';
import { ensureRelease } from '@nxnw/tools/release/build';
import { Sshd } from '../providers-live/sshd.js';
import { explanations, NxnwProject } from '../support/nxnw-project.js';

const SSHD = '127.66.1.13';
const MACHINES = '127.66.3';

/** The program of a process; '' where it has ended. */
function commandOf(pid: string): string {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return command.includes('agent/main.js') ? command : '';
  } catch {
    return '';
  }
}

describe('failures of hosts that are there already', function () {
  this.timeout(900_000);
  let project: NxnwProject;
  let sshd: Sshd;

  before(async () => {
    await ensureTools(['pulumi', 'sshd', 'zookeeper', 'cassandra', 'memcached', 'haproxy']);
    await ensureRelease();
    project = await NxnwProject.create(['command']);
    mkdirSync(join(project.dir, '.nxnw'));
    symlinkSync(join(repoRoot, '.nxnw', 'release'), join(project.dir, '.nxnw', 'release'));
    sshd = await Sshd.start(join(project.dir, 'sshd'), SSHD);
  });

  after(async () => {
    await sshd.stop();
    project.remove();
  });

  const installed = (): string => join(project.dir, 'machines');

  function configure(over: Readonly<Record<string, unknown>> = {}): void {
    const { user, port, keys, host } = sshd;
    const machine = (group: string, n: number) => ({ group, address: `${MACHINES}.${String(n)}`, ssh: host });
    const hosts = [machine('data', 1), machine('app', 2), machine('edge', 3)];
    project.configure({
      kind: 'hosts',
      hosts: { hosts, user, port, privateKey: keys.plain, directory: installed(), ...over },
    });
  }

  it('a key that is refused and a host that does not answer are each a line of their own', async () => {
    configure({ privateKey: sshd.keys.unknown });
    const denied = await project.up();
    assert.equal(denied.code, 1, denied.text);
    assert.match(explanations(denied)[0] ?? '', /^nxnw: CLOUD_DENIED: cloud hosts, command:remote:Command platform-fleet-\S+ \(machine \S+\)/, denied.text); // prettier-ignore
    configure({ port: 1 });
    const closed = await project.up();
    assert.equal(closed.code, 1, closed.text);
    assert.match(explanations(closed)[0] ?? '', /^nxnw: CLOUD_UNREACHABLE: cloud hosts, .*127\.66\.1\.13/, closed.text);
  });

  it('a host without enough memory or disk is refused before anything is installed, and a second up goes on', async () => {
    const enough = { memoryMiB: 1, diskMiB: 1 };
    const needs = (data: { memoryMiB: number; diskMiB: number }) => ({ needs: { data, app: enough, edge: enough } });
    configure(needs({ memoryMiB: 100_000_000, diskMiB: 1 }));
    const memory = await project.up();
    assert.equal(memory.code, 1, memory.text);
    assert.match(memory.text, /\[nxnw:NO_MEMORY_ON_HOST\] cloud hosts, machine data-1 of shop-dev at 127\.66\.1\.13: .* run nxnw up again/); // prettier-ignore
    assert.equal(existsSync(join(installed(), 'shop-dev', 'data-1')), false);
    configure(needs({ memoryMiB: 1, diskMiB: 1_000_000_000 }));
    const disk = await project.up();
    assert.match(disk.text, /\[nxnw:NO_SPACE_ON_HOST\] cloud hosts, machine data-1 of shop-dev/);
    configure(needs(enough));
    const again = await project.up();
    assert.equal(again.code, 0, again.text);
    assert.equal(existsSync(join(installed(), 'shop-dev', 'data-1', 'enrol.json')), true);
    assert.match(again.text, /\d+ unchanged/);
    const gone = await project.nxnw(['destroy', '--yes', '--skip-preview', '--non-interactive']);
    assert.equal(gone.code, 0, gone.text);
    const left = readdirSync('/proc').filter((p) => /^\d+$/.test(p) && commandOf(p).includes(installed()));
    assert.deepEqual(left.map(commandOf), [], 'agents that waited to be enrolled have ended');
  });
});
