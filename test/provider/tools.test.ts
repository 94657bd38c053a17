import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { repoRoot } from '@nxnw/tools';
import { majorMinor } from '@nxnw/tools/setup/go';

const run = promisify(execFile);

describe('set-up', () => {
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-tools-'));
  after(() => rmSync(dir, { recursive: true, force: true }));

  /** Runs a piece of code against the tools workspace with an environment of its own. */
  async function node(code: string, env: Record<string, string> = {}): Promise<string> {
    const { stdout } = await run(process.execPath, ['-e', code], {
      cwd: repoRoot,
      env: { ...process.env, ...env },
      timeout: 60_000,
    });
    return stdout.trim();
  }

  function fakePulumi(name: string, version: string): string {
    const bin = join(dir, name);
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, 'pulumi'), `#!/bin/sh\necho ${version}\n`);
    chmodSync(join(bin, 'pulumi'), 0o755);
    return bin;
  }

  const resolved = (bin: string, tools: string) =>
    node("process.stdout.write(require('@nxnw/tools').resolvePulumi())", {
      PATH: [bin, process.env['PATH'] ?? ''].join(delimiter),
      NXNW_TOOLS: tools,
    });

  it('an official pulumi on PATH is used instead of the fallback', async () => {
    const bin = fakePulumi('new', 'v3.250.1');
    assert.equal(await resolved(bin, join(dir, 'none')), join(bin, 'pulumi'));
  });

  it('a pulumi that is too old is not, and what to do is said where there is no other', async () => {
    const bin = fakePulumi('old', 'v3.229.0');
    await assert.rejects(
      resolved(bin, join(dir, 'none')),
      /PROGRAM_MISSING|npm run setup, or install Pulumi|npm run setup/,
    );
    const built = join(dir, 'built', 'bin');
    mkdirSync(built, { recursive: true });
    writeFileSync(join(built, 'pulumi'), '');
    assert.equal(await resolved(bin, join(dir, 'built')), join(built, 'pulumi'));
  });

  describe('plugins of Pulumi', () => {
    const file = (home: string, name: string) =>
      join(home, 'plugins', name, `pulumi-resource-${name.split('-')[1] ?? ''}`);
    function fakePlugin(home: string): string {
      const path = file(home, 'resource-aws-v6.83.4');
      mkdirSync(join(home, 'plugins', 'resource-aws-v6.83.4'), { recursive: true });
      writeFileSync(path, 'ELF');
      return path;
    }
    const ensure = (name: string, o: { home: string; user?: string }) =>
      node(
        `require('@nxnw/tools').ensureProviders(['${name}']).catch((e) => process.stdout.write(e.code + ' ' + e.message));`,
        {
          PATH: [oldGo(), process.env['PATH'] ?? ''].join(delimiter),
          PULUMI_HOME: o.home,
          HOME: o.user ?? dir,
          NXNW_TOOLS: join(dir, 'plugins'),
        },
      );
    function oldGo(): string {
      const bin = join(dir, 'old-go');
      mkdirSync(bin, { recursive: true });
      writeFileSync(join(bin, 'go'), '#!/bin/sh\necho go version go1.20.1 linux/amd64\n', { mode: 0o755 });
      return bin;
    }

    it('an official one is left alone, and one in the home of the user is used from there', async () => {
      const official = fakePlugin(join(dir, 'official'));
      assert.equal(await ensure('aws', { home: join(dir, 'official') }), '');
      assert.equal(readFileSync(official, 'utf8'), 'ELF');
      const users = fakePlugin(join(dir, 'user', '.pulumi'));
      assert.equal(await ensure('aws', { home: join(dir, 'linked'), user: join(dir, 'user') }), '');
      assert.match(
        readFileSync(file(join(dir, 'linked'), 'resource-aws-v6.83.4'), 'utf8'),
        new RegExp(`^exec '${users}'`, 'm'),
      );
    });

    it('says what to install where there is neither the plugin nor a Go that is new enough', async () => {
      const said = await ensure('openstack', { home: join(dir, 'none') });
      assert.match(
        said,
        /^PROGRAM_MISSING there is no Pulumi plugin openstack 3\.15\.2, and no Go >= 1\.25 .*pulumi plugin install/,
      );
    });

    it('that of command needs no build', async () => {
      assert.equal(await ensure('command', { home: join(dir, 'command') }), '');
      assert.match(
        readFileSync(file(join(dir, 'command'), 'resource-command-v1.2.1'), 'utf8'),
        /^exec 'node' '.*main\.js'/m,
      );
    });
  });

  it('reads versions as programs print them', () => {
    assert.deepEqual(majorMinor('v3.245.0'), [3, 245]);
    assert.deepEqual(majorMinor('go version go1.26.8 linux/amd64'), [1, 26]);
    assert.equal(majorMinor('none'), undefined);
  });

  it('several processes at once make a thing once, and all wait until it is there', async () => {
    const tools = join(dir, 'shared');
    const code = `
      const { once } = require('@nxnw/tools/setup/once');
      const fs = require('node:fs');
      const made = '${tools}/made';
      once({ name: 'thing', key: 'k', present: () => fs.existsSync(made), deadlineMs: 30000 }, async () => {
        await new Promise((ok) => setTimeout(ok, 300));
        fs.appendFileSync(made, 'x');
      }).then(() => process.stdout.write(fs.readFileSync(made, 'utf8')));`;
    const answers = await Promise.all([1, 2, 3].map(() => node(code, { NXNW_TOOLS: tools })));
    assert.deepEqual(answers, ['x', 'x', 'x']);
  });

  it('what was deleted, or half-made by a process that died, is made again', async () => {
    const tools = join(dir, 'again');
    const make = (end: string) => `
      const { once } = require('@nxnw/tools/setup/once');
      const fs = require('node:fs');
      const made = '${tools}/made';
      once({ name: 'thing', key: 'k', present: () => fs.existsSync(made), deadlineMs: 30000 }, async () => {
        fs.appendFileSync('${dir}/tries', 'x');
        ${end}
        fs.writeFileSync(made, '');
      });`;
    await node(make('process.exit(0);'), { NXNW_TOOLS: tools });
    await node(make(''), { NXNW_TOOLS: tools });
    await node(make(''), { NXNW_TOOLS: tools });
    rmSync(join(tools, 'made'));
    await node(make(''), { NXNW_TOOLS: tools });
    assert.equal(readFileSync(join(dir, 'tries'), 'utf8'), 'xxx');
  });

  it('says which programs are missing, and the line that installs them, where it may not install', async () => {
    const code = `
      process.getuid = () => 1000;
      require('@nxnw/tools/setup/debian').ensurePrograms(['no-such-program'])
        .catch((e) => process.stdout.write(e.code + ' ' + e.message));`;
    const text = await node(code, { NXNW_TOOLS: join(dir, 'rights') });
    assert.match(text, /^PROGRAM_MISSING missing programs: no-such-program\. .* not as root.*apt-get install -y/);
  });
});
