import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { MOUNT_DISK } from '@nxnw/components/clouds/first-boot';
import { enrolFile, userData } from '@nxnw/components/clouds/user-data';
import { searchPath } from '@nxnw/platform/agent/home';
import { readEnrolFile } from '@nxnw/platform/agent/identity';
import { hasCode } from '@nxnw/platform/errors';
import { createAuthority } from '@nxnw/platform/wire/ca';
import { newToken } from '@nxnw/platform/wire/enrolment';

interface CloudConfig {
  readonly write_files: readonly { path: string; permissions: string; owner: string; content: string }[];
  readonly runcmd: readonly string[][];
  readonly packages?: readonly string[];
  readonly bootcmd?: readonly string[][];
}

const token = newToken();
const args = { platformId: 'blue', machine: 'data-1', host: '10.20.0.5', port: 7400, token, ca: '' };
const release = { url: 'https://files.test/nxnw.tar.gz?a=1&b="2"', sha256: 'ab'.repeat(32) };

describe('the user data of a machine', () => {
  let dir: string;
  let ca: string;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nxnw-user-data-'));
    ca = (await createAuthority('blue')).cert;
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  const config = (text: string): CloudConfig => {
    assert.ok(text.startsWith('#cloud-config\n'));
    // cloud-init reads YAML 1.1
    assert.deepEqual(parse(text, { version: '1.1' }), parse(text));
    return parse(text) as CloudConfig;
  };

  it('tells the agent what it needs to be enrolled, in a file for root only', () => {
    const { write_files } = config(userData({ ...args, ca }));
    const file = write_files[0];
    assert.deepEqual([file?.path, file?.permissions, file?.owner], ['/var/lib/nxnw/enrol.json', '0600', 'root:root']);
    writeFileSync(join(dir, 'enrol.json'), file?.content ?? '');
    assert.deepEqual(readEnrolFile(dir), { ...args, ca });
    assert.equal(file?.content, `${enrolFile({ ...args, ca })}\n`);
  });

  it('is the same for the same arguments, and has the token once and no other secret', () => {
    const text = userData({ ...args, ca });
    assert.equal(userData({ ...args, ca }), text);
    assert.equal(text.split(token).length, 2);
    assert.doesNotMatch(text, /PRIVATE KEY/);
  });

  it('starts the agent as a service that its roles outlive', () => {
    const { write_files, runcmd } = config(userData({ ...args, ca }));
    const unit = write_files.find((f) => f.path.endsWith('/nxnw-agent.service'))?.content ?? '';
    const wanted = [
      'ExecStart=/opt/nxnw/bin/node /opt/nxnw/platform/dist/agent/main.js --dir /var/lib/nxnw',
      'Environment=NXNW_HOME=/opt/nxnw',
      'Restart=always',
      'KillMode=process',
      'RequiresMountsFor=/var/lib/nxnw/roles',
    ];
    for (const line of wanted) assert.ok(unit.split('\n').includes(line), line);
    assert.deepEqual(runcmd, [['/usr/local/sbin/nxnw-first-boot', 'none']]);
  });

  it('passes package and disk as they are given, quoted', () => {
    const { runcmd, packages, bootcmd } = config(userData({ ...args, ca, package: release, dataDisk: 'own' }));
    assert.deepEqual(runcmd, [['/usr/local/sbin/nxnw-first-boot', 'own', release.url, release.sha256]]);
    assert.deepEqual(packages, ['openjdk-17-jre-headless', 'memcached', 'haproxy']);
    assert.deepEqual(bootcmd, [['systemctl', 'mask', 'memcached.service', 'haproxy.service']]);
  });

  it('has scripts that a shell can read', () => {
    for (const f of config(userData({ ...args, ca })).write_files.filter((f) => f.permissions === '0755'))
      execFileSync('sh', ['-n', '-c', f.content]);
  });

  it('is refused for what it cannot say safely, without telling the token', () => {
    const refused = (change: object, why: RegExp) =>
      assert.throws(
        () => userData({ ...args, ca, ...change }),
        (e) => hasCode(e, 'BAD_CONFIG') && why.test(e.message) && !e.message.includes(token),
      );
    refused({ token: 'short' }, /token: /);
    refused({ machine: 'däta' }, /plain ASCII/);
    refused({ port: 0 }, /port: /);
    refused({ package: { ...release, url: 'file:///etc' } }, /package.url: /);
    refused({ package: { ...release, sha256: 'x' } }, /package.sha256: /);
    refused({ ca: 'x'.repeat(20_000) }, /bytes, and clouds take 16384/);
  });
});

/** The script with real wipefs, blkid and mkfs.ext4 on files; only what lists disks and mounts them is stood in for. */
describe('the disk of a machine', function () {
  this.timeout(20_000);
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nxnw-disk-'));
    const program = (name: string, text: string) => {
      writeFileSync(join(dir, name), `#!/bin/sh\nPATH='${searchPath()}'\n${text}`);
      chmodSync(join(dir, name), 0o755);
    };
    writeFileSync(join(dir, 'fstab'), '');
    writeFileSync(join(dir, 'disks'), '');
    program('lsblk', `[ "$1" = --nodeps ] && exec cat '${dir}/disks'\nexec echo disk\n`);
    program('mount', `echo "$1" >>'${dir}/mounted'\n`);
    program('mountpoint', `grep -qx "$2" '${dir}/mounted' 2>/dev/null\n`);
    program(
      'blkid',
      `[ "$3" = --probe ] && exec blkid "$@"\nwhile read -r path rest; do
  [ "$(blkid --probe --output value --match-tag LABEL "$path")" = "\${4#LABEL=}" ] && echo "$path"
done <'${dir}/disks'\nexit 0\n`,
    );
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const disk = (name: string, kind = 'disk', readOnly = '0'): string => {
    const path = join(dir, name);
    writeFileSync(path, '');
    truncateSync(path, 16 << 20);
    writeFileSync(join(dir, 'disks'), `${path} ${kind} ${readOnly}\n`, { flag: 'a' });
    return path;
  };
  const run = () => {
    const script = MOUNT_DISK.replaceAll('/etc/fstab', `${dir}/fstab`).replaceAll('/var/lib/nxnw', dir);
    const env = { PATH: `${dir}:${searchPath()}`, NXNW_DISK_WAIT_S: '2' };
    const { status, stderr } = spawnSync('sh', ['-c', script], { env, encoding: 'utf8' });
    return { status, stderr };
  };
  const label = (path: string) => spawnSync('blkid', ['-p', '-o', 'value', '-s', 'LABEL', path], { env: { PATH: searchPath() }, encoding: 'utf8' }).stdout.trim(); // prettier-ignore
  const mkfs = (...a: string[]) => execFileSync('mkfs.ext4', ['-q', ...a], { env: { PATH: searchPath() } });

  it('is the one that is blank; it is formatted once and mounted again at each boot', () => {
    const taken = disk('system');
    mkfs(taken);
    const fresh = disk('fresh');
    disk('cd', 'rom');
    disk('sealed', 'disk', '1');
    const before = readFileSync(taken);
    assert.deepEqual(run(), { status: 0, stderr: '' });
    assert.equal(label(fresh), 'nxnw-data');
    assert.ok(readFileSync(taken).equals(before));
    assert.equal(readFileSync(join(dir, 'mounted'), 'utf8'), `${dir}/roles\n`);
    const formatted = readFileSync(fresh);
    assert.deepEqual(run(), { status: 0, stderr: '' });
    assert.ok(readFileSync(fresh).equals(formatted), 'it is not formatted again');
    assert.equal(readFileSync(join(dir, 'fstab'), 'utf8').split('\n').length, 2);
  });

  it('is found by its label when it comes from an earlier machine, beside a blank one', () => {
    const blank = disk('blank');
    const old = disk('old');
    mkfs('-L', 'nxnw-data', old);
    const before = readFileSync(old);
    assert.equal(run().status, 0);
    assert.ok(readFileSync(old).equals(before));
    assert.equal(label(blank), '');
  });

  it('is never one that has a partition table or another signature', () => {
    const table = disk('table');
    const bytes = Buffer.alloc(512);
    bytes.set([0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0], 446);
    bytes.set([0x55, 0xaa], 510);
    writeFileSync(table, bytes, { flag: 'r+' });
    const physical = disk('lvm');
    const lvm = Buffer.alloc(1024);
    lvm.write('LABELONE', 512, 'latin1');
    lvm.writeUInt32LE(1, 520);
    lvm.writeUInt32LE(32, 532);
    lvm.write('LVM2 001', 536, 'latin1');
    writeFileSync(physical, lvm, { flag: 'r+' });
    const swap = disk('swap');
    execFileSync('mkswap', [swap], { env: { PATH: searchPath() }, stdio: 'ignore' });
    const before = [table, physical, swap].map((p) => readFileSync(p));
    const { status, stderr } = run();
    assert.equal(status, 1);
    assert.match(stderr, /no disk labelled nxnw-data and no blank one came within 2 s/);
    assert.deepEqual([table, physical, swap].map((p, i) => before[i]?.equals(readFileSync(p))), [true, true, true]); // prettier-ignore
  });

  it('is none of two that are blank: which one it is has to be said', () => {
    const two = [disk('one'), disk('two')];
    const { status, stderr } = run();
    assert.equal(status, 1);
    assert.match(stderr, /several disks are blank/);
    assert.deepEqual(two.map(label), ['', '']);
  });
});
