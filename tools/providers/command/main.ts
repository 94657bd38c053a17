/**
 * The plugin of `@pulumi/command` for a machine where the official one cannot be had: local.Command, remote.Command and
 * remote.CopyToRemote. The engine starts it with its own address and reads the port from stdout.
 */
import { randomBytes } from 'node:crypto';
import { credentials } from '@grpc/grpc-js';
import { EngineClient } from '@pulumi/pulumi/proto/engine_grpc_pb.js';
import { LogRequest, LogSeverity } from '@pulumi/pulumi/proto/engine_pb.js';
import { main, type Provider } from '@pulumi/pulumi/provider/index.js';
import { cancelRemote } from './connection.js';
import { copy } from './copy.js';
import { faults, inputNames, parse, typeOf } from './inputs.js';
import { cancelLocal, runLocal } from './local.js';
import type { Printed, Show } from './output.js';
import { runRemote } from './remote.js';
import { hasSecret, plainFields, same, secret, type Properties } from './wire.js';

const ORPHAN_CHECK_MS = 1000;
const args = process.argv.slice(2);
const address = args.find((a) => !a.startsWith('-'));
const engine = address === undefined ? undefined : new EngineClient(address, credentials.createInsecure());

type Step = 'create' | 'update' | 'delete';
const NOTHING: Printed = { stdout: '', stderr: '' };

function text(v: unknown): string {
  return typeof v === 'string' ? v : '';
}

/** Shows what `logging` lets through as lines of the resource. */
function showOf(urn: string, logging: string): Show {
  return (stream, line) => {
    if (logging !== 'stdoutAndStderr' && logging !== stream) return;
    const request = new LogRequest().setSeverity(LogSeverity.INFO).setUrn(urn).setMessage(line);
    // A line that is lost because the engine is gone is no reason to fail: the command's result is kept in any case.
    engine?.log(request, () => undefined);
  };
}

/** Runs a step of a command; its output is that of before where the step has no command. */
async function perform(urn: string, step: Step, properties: Properties, before: Printed): Promise<Printed> {
  const type = typeOf(urn);
  // Outputs lie beside inputs in the state that a deletion gets.
  const own = Object.fromEntries(inputNames(type).map((n) => [n, properties[n]]));
  if (type === 'command:remote:CopyToRemote') {
    if (step !== 'delete') await copy(parse.copyToRemote(own));
    return NOTHING;
  }
  const o = type === 'command:local:Command' ? parse.localCommand(own) : parse.remoteCommand(own);
  const command = step === 'update' ? (o.update ?? o.create) : o[step];
  if (command === undefined) return before;
  const previous: Record<string, string> = {};
  if (o.addPreviousOutputInEnv && before.stdout !== '') previous['PULUMI_COMMAND_STDOUT'] = before.stdout;
  if (o.addPreviousOutputInEnv && before.stderr !== '') previous['PULUMI_COMMAND_STDERR'] = before.stderr;
  const { stdin, environment = {} } = o;
  const show = showOf(urn, o.logging);
  return 'connection' in o
    ? runRemote(o.connection, { command, stdin, environment, optional: previous }, show)
    : runLocal({ ...o, command, environment: { ...previous, ...environment } }, show);
}

/** Inputs as they came, with the output of a command; secret where any input is. */
function outputs(urn: string, inputs: Properties, printed: Printed): Properties {
  if (typeOf(urn) === 'command:remote:CopyToRemote') return inputs;
  const { stdout, stderr } = printed;
  return hasSecret(inputs)
    ? { ...inputs, stdout: secret(stdout), stderr: secret(stderr) }
    : { ...inputs, stdout, stderr };
}

const provider: Provider = {
  version: '1.2.1',

  check: (urn: string, _olds: Properties, news: Properties) =>
    Promise.resolve({ inputs: news, failures: faults(typeOf(urn), news) }),

  diff(_id: string, urn: string, olds: Properties, news: Properties) {
    const [was, now] = [plainFields(olds), plainFields(news)];
    const changed = inputNames(typeOf(urn)).filter((n) => !same(was[n], now[n]));
    // The npm package asks for this by replaceOnChanges, which needs a detailed diff.
    return Promise.resolve({ changes: changed.length > 0, replaces: changed.filter((n) => n === 'triggers') });
  },

  async create(urn: string, inputs: Properties) {
    const printed = await perform(urn, 'create', plainFields(inputs), NOTHING);
    const name = urn.split('::').slice(3).join('::');
    return { id: name + randomBytes(4).toString('hex'), outs: outputs(urn, inputs, printed) };
  },

  async update(_id: string, urn: string, olds: Properties, news: Properties) {
    const was = plainFields(olds);
    const before = { stdout: text(was['stdout']), stderr: text(was['stderr']) };
    const now = plainFields(news);
    // A file is copied again for itself, not because the way to the machine has changed.
    const copied = 'source' in now && same(was['source'], now['source']) && same(was['remotePath'], now['remotePath']);
    const printed = copied ? before : await perform(urn, 'update', now, before);
    return { outs: outputs(urn, news, printed) };
  },

  async delete(_id: string, urn: string, state: Properties) {
    const was = plainFields(state);
    await perform(urn, 'delete', was, { stdout: text(was['stdout']), stderr: text(was['stderr']) });
  },

  cancel() {
    endAll();
    return Promise.resolve();
  },
};

function endAll(): void {
  cancelLocal();
  cancelRemote();
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    endAll();
    process.exit(0);
  });
// An engine that was killed closes nothing: the plugin ends with it, and so does what it runs.
const parent = process.ppid;
setInterval(() => {
  if (process.ppid === parent) return;
  endAll();
  process.exit(1);
}, ORPHAN_CHECK_MS).unref();

main(provider, args).catch((e: unknown) => {
  process.stderr.write(`pulumi-resource-command: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}\n`);
  process.exit(1);
});
