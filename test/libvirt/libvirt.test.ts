/**
 * The engine against real libvirt: its test driver, and a private libvirtd whose domains QEMU emulates (they need not
 * boot). Takes about a minute, root, and these Debian packages (apt-get install --no-install-recommends):
 * libvirt-clients libvirt-daemon-system libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils seabios ipxe-qemu
 * dnsmasq-base iptables ebtables genisoimage iproute2
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hasCode } from '@nxnw/platform/errors';
import { domainXml } from '@nxnw/migration/resources/engines/libvirt/domain-xml';
import { findDomain, stateOf } from '@nxnw/migration/resources/engines/libvirt/domains';
import { filterDiffers, makeFilter, readFilter, removeFilter, type FilterInputs } from '@nxnw/migration/resources/engines/libvirt/filters'; // prettier-ignore
import { virtualisationOf } from '@nxnw/migration/resources/engines/libvirt/host';
import {
  machineDiffers,
  makeMachine,
  readMachine,
  removeMachine,
  updateMachine,
  type DomainInputs,
} from '@nxnw/migration/resources/engines/libvirt/machines';
import { makeNetwork, readNetwork, removeNetwork, type NetworkInputs } from '@nxnw/migration/resources/engines/libvirt/networks'; // prettier-ignore
import { makeVolume, readVolume, removeVolume } from '@nxnw/migration/resources/engines/libvirt/volumes';
import { virsh, virshWithFile } from '@nxnw/migration/resources/engines/libvirt/virsh';
import { renderXml } from '@nxnw/migration/resources/engines/libvirt/xml';
import { LibvirtLab, whyNoLab } from '../support/libvirt-lab.js';
import { domainShape } from '../unit/libvirt-shapes.js';

const SLOW_MS = 120_000;

function hasVirsh(): boolean {
  try {
    execFileSync('virsh', ['--version'], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

const failsWith = (code: string, words: RegExp) => (e: unknown) => {
  assert.ok(hasCode(e, code), `${code} was expected: ${String(e)}`);
  assert.match(e.message, words);
  return true;
};

describe("libvirt's test driver", () => {
  const target = { uri: 'test:///default', resource: 'machine data-1 of shop-blue' };

  before(function () {
    if (hasVirsh()) return;
    console.log('        skipped: virsh is missing: apt-get install libvirt-clients libvirt-daemon-system');
    this.skip();
  });

  it('takes the domains that are generated, by its schema', async () => {
    const text = renderXml(domainXml(domainShape({ virtualisation: 'test' })));
    await virshWithFile(target, text, ['define', '--validate', 'FILE']);
    const wrong = text.replace('<vcpu>', '<vcpu surprise="1">');
    await assert.rejects(virshWithFile(target, wrong, ['define', '--validate', 'FILE']), failsWith('LIBVIRT_FAILED', /surprise|vcpu/)); // prettier-ignore
  });

  it('is known as what it is', async () => {
    assert.equal(await virtualisationOf(target, 'kvm', false), 'test');
    assert.equal(await stateOf(target, 'test'), 'running');
  });

  it('has no domain that nobody made, and a call on one says what it was for', async () => {
    assert.equal(await findDomain(target, 'shop-blue-data-1'), null);
    assert.equal(await stateOf(target, 'shop-blue-data-1'), 'absent');
    await assert.rejects(
      virsh(target, ['start', 'shop-blue-data-1']),
      failsWith(
        'LIBVIRT_NOT_FOUND',
        /machine data-1 of shop-blue: `virsh start` at test:\/\/\/default failed: .*refresh/,
      ),
    );
  });

  it('is given up when the signal aborts', async () => {
    const signal = AbortSignal.abort();
    await assert.rejects(virsh({ ...target, signal }, ['list']), failsWith('CANCELLED', /given up/));
  });
});

describe('hosts that cannot be used', () => {
  const at = (uri: string) => virsh({ uri, resource: 'machine data-1 of shop-blue' }, ['list']);

  before(function () {
    if (!hasVirsh()) this.skip();
  });

  it('are named with what to do: nothing listens', async () => {
    await assert.rejects(at('qemu:///system?socket=/nowhere/sock'), failsWith('LIBVIRT_UNREACHABLE', /data-1.*\/nowhere\/sock.*virsh -c/)); // prettier-ignore
    await assert.rejects(at('qemu+ssh://127.0.0.1:1/system'), failsWith('LIBVIRT_UNREACHABLE', /127\.0\.0\.1/));
  });

  it('are refused before anything runs when the URI is none of those allowed', async () => {
    for (const uri of ['qemu+ssh://-oProxyCommand=x/system', 'lxc:///', 'qemu+tcp://h/system', 'qemu:///session'])
      await assert.rejects(async () => at(uri), failsWith('BAD_CONFIG', /allowed: qemu:\/\/\/system/));
  });
});

describe('a host with libvirt', function () {
  this.timeout(SLOW_MS);
  let lab: LibvirtLab;
  let started = false;
  let inputs: DomainInputs;
  let network: NetworkInputs;
  const notes: string[] = [];
  const log = (line: string) => void notes.push(line);
  const domains = async () => (await lab.virsh('list', '--all', '--name')).split('\n').map((n) => n.trim()).filter((n) => n !== ''); // prettier-ignore
  const volumes = async (pool = 'fleet') => [...(await lab.virsh('vol-list', pool)).matchAll(/^\s*(\S+)\s+\//gm)].map((m) => m[1] ?? '').sort(); // prettier-ignore

  before(async function () {
    const why = whyNoLab();
    if (why !== null) {
      console.log(`        skipped: ${why}`);
      this.skip();
    }
    lab = await LibvirtLab.start();
    started = true;
    const { uri } = lab;
    network = {
      uri,
      name: 'nxnw-shop-blue',
      platformId: 'shop-blue',
      forward: 'route',
      subnets: [{ gateway: '10.77.0.1', prefix: 24 }],
      active: true,
    };
    inputs = {
      uri,
      kind: 'kvm',
      platformId: 'shop-blue',
      machine: 'data-1',
      address: '10.77.0.16',
      prefix: 24,
      gateway: '10.77.0.1',
      dns: [],
      network: network.name,
      pool: 'fleet',
      image: await lab.image('base.qcow2', 'qcow2', 64),
      boot: null,
      vcpus: 1,
      memoryMiB: 96,
      dataVolume: 'shop-blue-data-1-data.img',
      filter: '',
      userData: '#cloud-config\nhostname: data-1\n',
      sshKey: '',
      generation: 0,
      running: true,
    };
  });

  after(async () => {
    if (started) await lab.destroy();
  });

  it('emulates where the processor has neither svm nor vmx, though /dev/kvm may open', async () => {
    const extensions = /^flags\s*:.*\b(svm|vmx)\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'));
    const found = await virtualisationOf({ uri: lab.uri, resource: 'test' }, 'kvm', false);
    assert.equal(found, extensions ? 'kvm' : 'qemu');
    await assert.rejects(virtualisationOf({ uri: lab.uri, resource: 'test' }, 'xen', false), failsWith('LIBVIRT_UNSUITABLE', /kind xen/)); // prettier-ignore
  });

  it('gets a network that starts with it, once', async () => {
    await makeNetwork(network);
    assert.deepEqual(await makeNetwork(network), network);
    assert.deepEqual(await readNetwork(network), network);
    assert.match(await lab.virsh('net-info', network.name), /Autostart:\s+yes/);
  });

  it('refuses a network whose addresses it has already, and one that is not ours', async () => {
    await assert.rejects(makeNetwork({ ...network, name: 'nxnw-other' }), failsWith('NETWORK_OVERLAPS', /nxnw-other of shop-blue/)); // prettier-ignore
    await lab.virsh('net-undefine', 'nxnw-other');
    await assert.rejects(makeNetwork({ ...network, platformId: 'shop-green' }), failsWith('NETWORK_EXISTS', /not this platform's/)); // prettier-ignore
  });

  it('gets a disk for data, in a pool that is made when it is missing, which only grows', async () => {
    const disk = { uri: lab.uri, pool: 'fleet', name: inputs.dataVolume, gib: 1 };
    const made = await makeVolume(disk);
    assert.deepEqual(await makeVolume(disk), made);
    const grown = await makeVolume({ ...disk, gib: 2 });
    assert.equal((await readVolume(made))?.gib, 2);
    assert.equal(grown.gib, 2);
    await assert.rejects(makeVolume(disk), failsWith('DISK_EXISTS', /2 GiB.*1 GiB were asked for/));
  });

  it('makes nothing of a machine whose image is not there, or that it has no memory for', async () => {
    await assert.rejects(makeMachine({ ...inputs, image: '/var/lib/libvirt/base/none.qcow2' }, log), failsWith('NO_IMAGE', /none\.qcow2/)); // prettier-ignore
    await assert.rejects(makeMachine({ ...inputs, image: '/nowhere/none.qcow2' }, log), failsWith('NO_IMAGE', /none\.qcow2/)); // prettier-ignore
    await assert.rejects(makeMachine({ ...inputs, memoryMiB: 9_000_000 }, log), failsWith('NO_MEMORY_ON_HOST', /has \d+ MiB of memory left.*9000000 MiB are needed/)); // prettier-ignore
    await assert.rejects(makeMachine({ ...inputs, network: 'none' }, log), failsWith('NO_NETWORK', /none/));
    assert.deepEqual(await domains(), []);
    assert.deepEqual(await volumes(), [inputs.dataVolume]);
  });

  it('makes a machine that runs, and makes it once', async () => {
    const made = await makeMachine(inputs, log);
    assert.match(made.uuid, /^[0-9a-f-]{36}$/);
    assert.deepEqual(await domains(), ['shop-blue-data-1']);
    assert.equal((await lab.virsh('domstate', 'shop-blue-data-1')).trim(), 'running');
    assert.match(await lab.virsh('dominfo', 'shop-blue-data-1'), /Autostart:\s+enable/);
    assert.deepEqual(await makeMachine(inputs, log), made);
    assert.deepEqual(await readMachine(made), made);
    assert.deepEqual(machineDiffers(made, inputs), { changes: false, replaces: [] });
  });

  it('has the seed with the user data, readable by its owner only', async () => {
    const [, path = ''] = /^Path:?\s*(\S+)/m.exec(`Path: ${await lab.virsh('vol-path', '--pool', 'fleet', 'shop-blue-data-1-seed.iso')}`) ?? []; // prettier-ignore
    const iso = lab.fileOf(path).toString('latin1');
    assert.match(iso, /hostname: data-1/);
    assert.match(iso, /"10\.77\.0\.16\/24"/);
    assert.match(await lab.virsh('vol-dumpxml', '--pool', 'fleet', 'shop-blue-data-1-seed.iso'), /<mode>0600<\/mode>/);
  });

  it('keeps a name for who has it', async () => {
    await assert.rejects(makeMachine({ ...inputs, userData: 'other' }, log), failsWith('MACHINE_EXISTS', /other settings.*undefine shop-blue-data-1/)); // prettier-ignore
    const foreign = renderXml(domainXml(domainShape({ name: 'shop-blue-app-1', virtualisation: 'qemu', mark: { platformId: 'x', machine: 'y', image: '', spec: '' } }))); // prettier-ignore
    const target = { uri: lab.uri, resource: 'test' };
    await virshWithFile(target, foreign, ['define', 'FILE']);
    const app = { ...inputs, machine: 'app-1', dataVolume: '' };
    await assert.rejects(makeMachine(app, log), failsWith('MACHINE_EXISTS', /not of this platform/));
    await removeMachine({ ...app, uuid: '' });
    assert.deepEqual((await domains()).sort(), ['shop-blue-app-1', 'shop-blue-data-1']);
    await lab.virsh('undefine', 'shop-blue-app-1');
  });

  it('shows what others changed, and update takes it back', async () => {
    const made = await makeMachine(inputs, log);
    await lab.virsh('destroy', 'shop-blue-data-1');
    await lab.virsh('setmaxmem', 'shop-blue-data-1', '131072', '--config');
    await lab.virsh('setvcpus', 'shop-blue-data-1', '2', '--config', '--maximum');
    const found = await readMachine(made);
    assert.ok(found !== null);
    assert.deepEqual([found.memoryMiB, found.vcpus, found.running, found.uuid], [128, 2, false, made.uuid]);
    assert.deepEqual(machineDiffers(found, inputs), { changes: true, replaces: [] });
    assert.deepEqual(await updateMachine(found, inputs, log), made);
    assert.deepEqual(await readMachine(made), made);
  });

  it('changes memory in place and says that a restart is needed', async () => {
    const made = await makeMachine(inputs, log);
    notes.length = 0;
    const more = { ...inputs, memoryMiB: 112 };
    const updated = await updateMachine(made, more, log);
    assert.equal(updated.uuid, made.uuid);
    assert.match(notes.join('\n'), /memoryMiB 96 -> 112: in force once shop-blue-data-1 was shut down and started/);
    assert.equal((await readMachine(updated))?.memoryMiB, 112);
    await updateMachine(updated, inputs, log);
  });

  it('grows the disk of a machine that runs', async () => {
    const disk = { uri: lab.uri, pool: 'fleet', name: inputs.dataVolume, gib: 3 };
    await makeVolume(disk);
    assert.match(await lab.virsh('domblkinfo', 'shop-blue-data-1', 'vdb'), /Capacity:\s+3221225472/);
  });

  it('lets only what the filter names in to a machine, and takes new rules while it runs', async () => {
    const filter: FilterInputs = {
      uri: lab.uri,
      name: 'nxnw-shop-blue-app',
      rules: [
        { source: '10.77.0.16-10.77.0.18', first: 11211, last: 11212, what: 'memcached' },
        { source: '0.0.0.0/0', first: 7400, last: 7400, what: 'agent' },
        { source: '192.168.4.0/24', first: 22, last: 22, what: 'ssh' },
        { source: '10.77.0.9', first: 9100, last: 9119, what: 'applications' },
      ],
    };
    await makeFilter(filter);
    assert.deepEqual(await readFilter(filter), filter);
    const app = { ...inputs, machine: 'app-1', address: '10.77.0.96', dataVolume: '', filter: filter.name };
    const made = await makeMachine(app, log);
    const rules = () => lab.inside('iptables-save');
    assert.match(await rules(), /-p tcp -m iprange --src-range 10\.77\.0\.16-10\.77\.0\.18 .*--dport 11211:11212|10\.77\.0\.16-10\.77\.0\.18/); // prettier-ignore
    const fewer = { ...filter, rules: filter.rules.slice(1) };
    assert.deepEqual(filterDiffers(filter, fewer), { changes: true, replaces: [] });
    await makeFilter(fewer);
    assert.doesNotMatch(await rules(), /10\.77\.0\.16-10\.77\.0\.18/);
    assert.equal((await readMachine(made))?.filter, filter.name);
    await removeMachine(made);
    await removeFilter(fewer);
    assert.equal(await readFilter(fewer), null);
  });

  it('finds machines and disks again after a restart, and starts what should run', async () => {
    const made = await makeMachine(inputs, log);
    await lab.virsh('autostart', '--disable', 'shop-blue-data-1');
    await lab.down();
    await lab.up();
    const found = await readMachine(made);
    assert.deepEqual(found, { ...made, running: false });
    assert.deepEqual(await readNetwork(network), network);
    assert.deepEqual(await updateMachine(found ?? made, inputs, log), made);
  });

  it('removes a machine and keeps its disk for data, on which the next one stands', async () => {
    const made = await makeMachine(inputs, log);
    await removeMachine(made, 500);
    assert.equal(await readMachine(made), null);
    assert.deepEqual(await volumes(), [inputs.dataVolume]);
    await removeMachine(made, 500);
    const next = await makeMachine({ ...inputs, generation: 1 }, log);
    assert.notEqual(next.uuid, made.uuid);
    await removeMachine(next, 0);
    const disk = { uri: lab.uri, pool: 'fleet', name: inputs.dataVolume, gib: 3, path: '' };
    await removeVolume(disk);
    assert.equal(await readVolume(disk), null);
    await removeNetwork(network);
    assert.equal(await readNetwork(network), null);
  });
});
