import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureProviders } from '@nxnw/tools';
import { TestStack } from '../provider/stack.js';
import { Sshd } from './sshd.js';

describe('remote.Command and remote.CopyToRemote by the plugin of ours, over a real ssh server', () => {
  let stack: TestStack;
  let sshd: Sshd;

  /** A program whose `connection` goes to the server by the accepted key; `extra` overrides parts of it. */
  const program = (text: string, extra: Readonly<Record<string, unknown>> = {}): string => {
    const connection = {
      host: sshd.host,
      port: sshd.port,
      user: sshd.user,
      privateKey: sshd.keys.plain,
      hostKey: sshd.hostKey,
      dialErrorLimit: 2,
      perDialTimeout: 10,
      ...extra,
    };
    return `const { remote } = require('@pulumi/command');
      const connection = ${JSON.stringify(connection)};
      ${text}`;
  };
  const up = async (text: string): Promise<string> => {
    stack.program(text);
    const ran = await stack.up();
    assert.equal(ran.code, 0, ran.text);
    return ran.text;
  };
  const fails = async (text: string): Promise<string> => {
    stack.program(text);
    const ran = await stack.up();
    assert.notEqual(ran.code, 0, ran.text);
    return ran.text;
  };
  const output = async (name: string): Promise<string> =>
    (await stack.run(['stack', 'output', name, '--show-secrets', '--stack', 'dev'])).text.trim();
  const at = (...path: string[]) => join(stack.dir, 'remote', ...path);

  before(async () => {
    stack = new TestStack('');
    await ensureProviders(['command'], join(stack.dir, 'home'));
    await stack.init();
    mkdirSync(at());
    sshd = await Sshd.start(join(stack.dir, 'sshd'));
  });
  after(async () => {
    await sshd.stop();
    stack.remove();
  });

  const lifecycle = (o: { word: string; trigger: string }) =>
    program(`
      const log = dir + '/remote/log';
      exports.stdout = new remote.Command('one', { connection,
        create: 'echo create $NXNW_WORD >> ' + log + '; echo out $NXNW_WORD; cat',
        update: 'echo update $NXNW_WORD >> ' + log + '; echo updated',
        delete: 'echo delete $NXNW_WORD >> ' + log,
        environment: { NXNW_WORD: '${o.word}' }, stdin: 'given', triggers: ['${o.trigger}'] }).stdout;`);
  const log = (): string[] => readFileSync(at('log'), 'utf8').trimEnd().split('\n');

  it('create, update, replacement by a trigger and delete each run their command once', async () => {
    await up(lifecycle({ word: 'a', trigger: '1' }));
    assert.equal(await output('stdout'), 'out a\ngiven');
    const again = await stack.quiet();
    assert.equal(again.code, 0, again.text);
    const updated = await up(lifecycle({ word: 'b', trigger: '1' }));
    assert.match(updated, /does not accept PULUMI_COMMAND_STDOUT \(AcceptEnv\): not set/);
    assert.equal(await output('stdout'), 'updated');
    await up(lifecycle({ word: 'c', trigger: '2' }));
    await up(program(''));
    assert.deepEqual(log(), ['create a', 'update b', 'create c', 'delete b', 'delete c']);
  });

  it('a command that fails is an error with its status and output', async () => {
    const text = await fails(program(`new remote.Command('bad', { connection, create: 'echo because >&2; exit 7' });`));
    assert.match(text, /process exited with status 7/);
    assert.match(text, /because/);
  });

  it('a variable that the server drops is an error, not a command without it', async () => {
    const create = 'touch ${dir}/remote/ran';
    const text = await fails(
      program(`new remote.Command('env', { connection, create: \`${create}\`, environment: { OTHER: 'x' } });`),
    );
    assert.match(text, /does not accept the environment variables OTHER/);
    assert.equal(existsSync(at('ran')), false);
  });

  it('the wrong host key, a wrong key and a closed port are named, after as many attempts as allowed', async () => {
    const command = `new remote.Command('no', { connection, create: 'true' });`;
    const other = `ssh-ed25519 ${Buffer.alloc(51, 'A').toString('base64').replace(/^..../, 'AAAA')}`;
    assert.match(await fails(program(command, { hostKey: other })), /tried 2 times .*verification failed/);
    const refused = await fails(program(command, { privateKey: sshd.keys.unknown }));
    assert.match(refused, /tried 2 times .*authentication methods failed/);
    assert.match(await fails(program(command, { port: 1, dialErrorLimit: 1 })), /127\.0\.5\.22:1, tried 1 times/);
  });

  it('a key under a passphrase is accepted, and a bastion leads to the machine', async () => {
    const locked = { privateKey: sshd.keys.locked, privateKeyPassword: sshd.passphrase };
    const { host, port, user } = sshd;
    const before = sshd.log.length;
    await up(
      program(`exports.said = new remote.Command('far', { connection, create: 'echo "$SSH_CONNECTION"' }).stdout;`, {
        ...locked,
        proxy: { host, port, user, privateKey: sshd.keys.plain, hostKey: sshd.hostKey },
      }),
    );
    // The bastion is the same server: it has let in the one key for the way, the other at its end.
    const accepted = sshd.log.slice(before).match(/Accepted publickey .* SHA256:\S+/g) ?? [];
    assert.equal(new Set(accepted.map((line) => line.split(' ').at(-1))).size, 2, sshd.log.slice(before));
    assert.match(await output('said'), new RegExp(` ${host} ${String(port)}$`));
  });

  it('files, folders and texts are copied, again when their content changes, and not otherwise', async () => {
    const source = join(stack.dir, 'payload');
    mkdirSync(join(source, 'deep'), { recursive: true });
    writeFileSync(join(source, 'a.txt'), 'one');
    writeFileSync(join(source, 'deep', 'b.bin'), Buffer.from([0, 255, 10]));
    const copies = (word: string, extra: Readonly<Record<string, unknown>> = {}) =>
      program(
        `const { FileArchive, FileAsset, StringAsset } = pulumi.asset;
        const to = (path) => dir + '/remote/' + path;
        new remote.CopyToRemote('folder', { connection, source: new FileArchive('./payload'), remotePath: to('whole') });
        new remote.CopyToRemote('content', { connection, source: new FileArchive('./payload/'), remotePath: to('content') });
        new remote.CopyToRemote('file', { connection, source: new FileAsset('./payload/a.txt'), remotePath: to('x/y/a') });
        new remote.CopyToRemote('text', { connection, source: new StringAsset('text ${word}'), remotePath: to('t/conf') });`,
        extra,
      );
    await up(copies('one'));
    assert.deepEqual(readdirSync(at('whole', 'payload')).sort(), ['a.txt', 'deep']);
    assert.deepEqual(readFileSync(at('content', 'deep', 'b.bin')), Buffer.from([0, 255, 10]));
    assert.equal(readFileSync(at('x', 'y', 'a'), 'utf8'), 'one');
    assert.equal(readFileSync(at('t', 'conf'), 'utf8'), 'text one');
    const again = await stack.quiet();
    assert.equal(again.code, 0, again.text);

    writeFileSync(join(source, 'a.txt'), 'two');
    writeFileSync(at('t', 'conf'), 'changed by hand');
    await up(copies('one', { dialErrorLimit: 3 }));
    assert.equal(readFileSync(at('x', 'y', 'a'), 'utf8'), 'two');
    assert.equal(readFileSync(at('content', 'a.txt'), 'utf8'), 'two');
    assert.equal(readFileSync(at('t', 'conf'), 'utf8'), 'changed by hand');
    await up(copies('two'));
    assert.equal(readFileSync(at('t', 'conf'), 'utf8'), 'text two');
  });

  it('what is no asset, or is none of those that can be copied, is refused before anything runs', async () => {
    const text = await fails(
      program(`new remote.CopyToRemote('no', { connection, remotePath: '/tmp/x',
        source: new pulumi.asset.AssetArchive({ a: new pulumi.asset.StringAsset('x') }) });`),
    );
    assert.match(text, /not a FileAsset, StringAsset or FileArchive/);
  });

  it('no private key gets into the state in the clear', () => {
    assert.doesNotMatch(stack.state(), /PRIVATE KEY/);
  });
});
