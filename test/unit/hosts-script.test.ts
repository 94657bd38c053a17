import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
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

  it('installs what the group needs, and nothing else', () => {
    assert.match(installScript(script('data')), /openjdk-17-jre-headless/);
    assert.doesNotMatch(installScript(script('data')), /haproxy|memcached/);
    assert.match(installScript(script('edge')), /haproxy/);
  });
});
