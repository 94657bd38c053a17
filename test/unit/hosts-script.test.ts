import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  folderScript,
  installScript,
  quote,
  removeScript,
  type HostScript,
} from '@nxnw/components/clouds/hosts-script';

const script = (group: HostScript['group']): HostScript => ({
  platformId: 'shop-blue',
  machine: `${group}-1`,
  group,
  host: '192.0.2.1',
  needs: { memoryMiB: 1, diskMiB: 1 },
  directory: "/srv/it's here/$HOME/data-1",
  releases: '/srv/releases',
  sha256: 'a'.repeat(64),
});

describe('what is run on a host by ssh', () => {
  it('can be read by a shell, for each group', () => {
    for (const group of ['data', 'app', 'edge'] as const)
      for (const make of [folderScript, installScript, removeScript])
        execFileSync('sh', ['-n'], { input: make(script(group)) });
  });

  it('gives a shell each word as it is', () => {
    for (const word of ["it's", '$HOME', '`id`', 'a b', '', '"', '\\', "''"])
      assert.equal(execFileSync('sh', ['-c', `printf %s ${quote(word)}`], { encoding: 'utf8' }), word);
  });

  it('refuses a host without enough memory or disk before anything is made there, and goes on when it has', () => {
    const dir = mkdtempSync(join(tmpdir(), 'nxnw-host-'));
    const at = { directory: join(dir, 'data-1'), releases: join(dir, 'releases', 'data-1') };
    const run = (needs: HostScript['needs']) =>
      spawnSync('sh', [], { input: folderScript({ ...script('data'), ...at, needs }), encoding: 'utf8' });
    try {
      const memory = run({ memoryMiB: 1e9, diskMiB: 1 });
      assert.equal(memory.status, 1);
      assert.match(memory.stderr, /^\[nxnw:NO_MEMORY_ON_HOST\] cloud hosts, machine data-1 of shop-blue at 192\.0\.2\.1: \d+ MiB .* 1000000000 are needed .*run nxnw up again/); // prettier-ignore
      const disk = run({ memoryMiB: 1, diskMiB: 1e12 });
      assert.equal(disk.status, 1);
      assert.match(disk.stderr, /^\[nxnw:NO_SPACE_ON_HOST\] .*hosts\.needs\.data\.diskMiB/);
      assert.equal(existsSync(at.releases), false);
      const enough = run({ memoryMiB: 1, diskMiB: 1 });
      assert.equal(enough.status, 0, enough.stderr);
      assert.equal(existsSync(at.releases), true);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('installs what the group needs, and nothing else', () => {
    assert.match(installScript(script('data')), /openjdk-17-jre-headless/);
    assert.doesNotMatch(installScript(script('data')), /haproxy|memcached/);
    assert.match(installScript(script('edge')), /haproxy/);
  });
});
