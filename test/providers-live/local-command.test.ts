import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureProviders } from '@nxnw/tools';
import { TestStack } from '../provider/stack.js';

/** A program with one command that appends what it does to a file. */
const program = (o: { word: string; trigger: string }): string => `
  const { local } = require('@pulumi/command');
  const log = dir + '/log';
  const one = new local.Command('one', {
    create: 'echo create $WORD >> ' + log + '; echo out $WORD; echo err >&2',
    update: 'echo "update $WORD after $PULUMI_COMMAND_STDOUT/$PULUMI_COMMAND_STDERR" >> ' + log + '; cat',
    delete: 'echo delete $WORD >> ' + log,
    environment: { WORD: '${o.word}' },
    stdin: 'given',
    triggers: ['${o.trigger}'],
  });
  exports.stdout = one.stdout;
  exports.stderr = one.stderr;`;

describe('local.Command by the plugin of ours', () => {
  let stack: TestStack;
  const log = (): string[] => readFileSync(join(stack.dir, 'log'), 'utf8').trimEnd().split('\n');
  const output = async (name: string): Promise<string> =>
    (await stack.run(['stack', 'output', name, '--show-secrets', '--stack', 'dev'])).text.trim();
  const up = async (text: string): Promise<string> => {
    stack.program(text);
    const ran = await stack.up();
    assert.equal(ran.code, 0, ran.text);
    return ran.text;
  };

  before(async () => {
    stack = new TestStack(program({ word: 'a', trigger: '1' }));
    await ensureProviders(['command'], join(stack.dir, 'home'));
    await stack.init();
  });
  after(() => stack.remove());

  it('runs create once, keeps what it printed, and shows it', async () => {
    const text = await up(program({ word: 'a', trigger: '1' }));
    assert.match(text, /out a/);
    assert.deepEqual(log(), ['create a']);
    assert.equal(await output('stdout'), 'out a');
    assert.equal(await output('stderr'), 'err');
    const again = await stack.quiet();
    assert.equal(again.code, 0, again.text);
    const refreshed = await stack.quietRefresh();
    assert.equal(refreshed.code, 0, refreshed.text);
  });

  it('runs update with the output of before when an input has changed', async () => {
    await up(program({ word: 'b', trigger: '1' }));
    assert.deepEqual(log(), ['create a', 'update b after out a/err']);
    assert.equal(await output('stdout'), 'given');
  });

  it('is replaced when a trigger has changed: create, then the delete of the old one', async () => {
    await up(program({ word: 'c', trigger: '2' }));
    assert.deepEqual(log().slice(2), ['create c', 'delete b']);
  });

  it('runs delete when it is destroyed', async () => {
    const ran = await stack.destroy();
    assert.equal(ran.code, 0, ran.text);
    assert.deepEqual(log().slice(4), ['delete c']);
  });

  it('a command that fails is an error with its status and output, and is tried again', async () => {
    stack.program(`const { local } = require('@pulumi/command');
      new local.Command('bad', { create: 'echo because >&2; test -e ' + dir + '/repaired || exit 7' });`);
    const failed = await stack.up();
    assert.notEqual(failed.code, 0);
    assert.match(failed.text, /exit status 7: running/);
    assert.match(failed.text, /because/);
    writeFileSync(join(stack.dir, 'repaired'), '');
    const repaired = await stack.up();
    assert.equal(repaired.code, 0, repaired.text);
  });

  it('an input that the plugin does not serve is refused by its name', async () => {
    stack.program(`const { local } = require('@pulumi/command');
      new local.Command('globs', { create: 'true', archivePaths: ['*'] });`);
    const ran = await stack.up();
    assert.notEqual(ran.code, 0);
    assert.match(ran.text, /archivePaths/);
  });

  it('what a command with a secret prints is a secret', async () => {
    await up(`const { local } = require('@pulumi/command');
      const word = pulumi.secret('hunter' + 2);
      exports.said = new local.Command('quiet', { create: word.apply((w) => 'echo ' + w), logging: 'none' }).stdout;`);
    assert.equal(await output('said'), 'hunter2');
    assert.doesNotMatch(stack.state(), /hunter2/);
  });

  for (const signal of ['SIGINT', 'SIGKILL'] as const)
    it(`a command ends with all it has started when the engine gets ${signal}`, async () => {
      stack.program(`const { local } = require('@pulumi/command');
        new local.Command('slow', { create: 'echo $$ > ' + dir + '/pid; echo rea""dy; sleep 600 & wait' });`);
      let sent = false;
      const ran = await stack.run(['up', '--yes', '--skip-preview', '--stack', 'dev'], {}, (text, kill) => {
        if (sent || !text.includes('ready')) return;
        sent = true;
        kill(signal);
      });
      assert.ok(sent, ran.text);
      assert.notEqual(ran.code, 0);
      const group = Number(readFileSync(join(stack.dir, 'pid'), 'utf8'));
      await until(() => !alive(-group));
    });
});

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(done: () => boolean): Promise<void> {
  for (const end = Date.now() + 5000; !done(); await sleep(50)) assert.ok(Date.now() < end, 'not within 5 s');
}
