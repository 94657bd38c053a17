/**
 * The Node language host beside our own build of `pulumi` (the official one cannot be built from a registry). The
 * engine starts it with its address as the last argument and reads the port from stdout. It starts programs by
 * `@pulumi/pulumi/cmd/run`, policy packs and plugins by the scripts beside that one.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import {
  Server,
  ServerCredentials,
  status,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { Empty } from 'google-protobuf/google/protobuf/empty_pb.js';
import { LanguageRuntimeService } from '@pulumi/pulumi/proto/language_grpc_pb.js';
import * as language from '@pulumi/pulumi/proto/language_pb.js';
import { PluginInfo } from '@pulumi/pulumi/proto/plugin_pb.js';
import { ALREADY_REPORTED, configEnvironment, runArguments } from './run-request.js';

const engineAddress = process.argv.at(-1) ?? '';
const ORPHAN_CHECK_MS = 1000;
const children = new Set<ChildProcess>();

/** Path of a script of the `@pulumi/pulumi` that the program in `dir` uses. */
function pulumiScript(dir: string, name: string): string {
  return createRequire(join(dir, 'program.js')).resolve(`@pulumi/pulumi/cmd/${name}`);
}

function start(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): ChildProcess {
  const child = spawn(process.execPath, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  child.once('close', () => children.delete(child));
  return child;
}

/** Exit code of a child; a signal counts as 1. */
function ended(child: ChildProcess): Promise<number> {
  return new Promise((ok, fail) => {
    child.once('error', fail);
    child.once('close', (code) => {
      ok(code ?? 1);
    });
  });
}

function failed(e: unknown): { code: status; details: string } {
  return { code: status.UNKNOWN, details: e instanceof Error ? (e.stack ?? e.message) : String(e) };
}

type Call<In> = ServerUnaryCall<In, unknown>;

/** A handler from a plain function of the request. */
function unary<In, Out>(answer: (request: In) => Out | Promise<Out>) {
  return (call: Call<In>, done: sendUnaryData<Out>): void => {
    Promise.resolve(call.request)
      .then(answer)
      .then(
        (out) => {
          done(null, out);
        },
        (e: unknown) => {
          done(failed(e));
        },
      );
  };
}

async function runProgram(request: language.RunRequest): Promise<language.RunResponse> {
  const dir = request.getInfo()?.getProgramDirectory() ?? request.getPwd();
  const child = start(
    ['--enable-source-maps', pulumiScript(dir, 'run'), ...runArguments(request, engineAddress)],
    request.getPwd(),
    { ...process.env, ...configEnvironment(request), PULUMI_NODEJS_TYPESCRIPT: 'false' },
  );
  // What the program prints reaches the engine by its log; the rest (loader errors) goes where the engine shows it.
  child.stdout?.pipe(process.stderr);
  child.stderr?.pipe(process.stderr);
  const code = await ended(child);
  const response = new language.RunResponse();
  if (code === ALREADY_REPORTED) response.setBail(true);
  else if (code !== 0) response.setError(`program exited with code ${String(code)}`);
  return response;
}

function runPlugin(call: ServerWritableStream<language.RunPluginRequest, language.RunPluginResponse>): void {
  const request = call.request;
  const dir = request.getInfo()?.getProgramDirectory() ?? request.getProgram();
  const args = request.getArgsList();
  const policy = request.getKind() === 'analyzer';
  const [script, cwd] = policy ? ['run-policy-pack', dir] : ['run-plugin', request.getPwd()];
  const programArgs = policy ? [...args, dir] : [dir, ...args];
  const env = { ...process.env };
  for (const pair of request.getEnvList()) {
    const at = pair.indexOf('=');
    if (at > 0) env[pair.slice(0, at)] = pair.slice(at + 1);
  }
  const child = start([pulumiScript(dir, script), ...programArgs], cwd, env);
  call.on('cancelled', () => child.kill('SIGTERM'));
  child.stdout?.on('data', (chunk: Buffer) => call.write(new language.RunPluginResponse().setStdout(chunk)));
  child.stderr?.on('data', (chunk: Buffer) => call.write(new language.RunPluginResponse().setStderr(chunk)));
  ended(child).then(
    (code) => {
      call.write(new language.RunPluginResponse().setExitcode(code));
      call.end();
    },
    (e: unknown) => call.emit('error', failed(e)),
  );
}

function about(): language.AboutResponse {
  return new language.AboutResponse().setExecutable(process.execPath).setVersion(process.version);
}

const server = new Server();
server.addService(LanguageRuntimeService, {
  handshake: unary(() => new language.LanguageHandshakeResponse()),
  getPluginInfo: unary(() => new PluginInfo().setVersion('1.0.0')),
  getRequiredPackages: unary(() => new language.GetRequiredPackagesResponse()),
  getRequiredPlugins: unary(() => new language.GetRequiredPluginsResponse()),
  getProgramDependencies: unary(() => new language.GetProgramDependenciesResponse()),
  runtimeOptionsPrompts: unary(() => new language.RuntimeOptionsResponse()),
  about: unary(about),
  run: unary(runProgram),
  runPlugin,
  cancel: unary(() => {
    for (const child of children) child.kill('SIGINT');
    return new Empty();
  }),
});
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (e, port) => {
  if (e) {
    process.stderr.write(`pulumi-language-nodejs: cannot listen: ${e.message}\n`);
    process.exit(1);
  }
  process.stdout.write(`${String(port)}\n`);
});
process.on('SIGTERM', () => process.exit(0));
// An engine that was killed closes nothing: its host ends with it, and so does the program.
const engine = process.ppid;
setInterval(() => {
  if (process.ppid === engine) return;
  for (const child of children) child.kill('SIGTERM');
  process.exit(1);
}, ORPHAN_CHECK_MS).unref();
// The engine closes its plugins by SIGINT. A Ctrl-C at the terminal reaches this process too, while the program runs;
// then it is the engine's to handle, and it says so by `cancel`.
process.on('SIGINT', () => {
  if (children.size === 0) process.exit(0);
});
