import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NxnwError } from '@nxnw/platform/errors';
import { within } from './wan-lab.js';

/**
 * Real servers for tests: one process each, in a temporary directory of its own, on the loopback address that the test
 * gives (each test file takes its own 127.x.y.z, so that files can run side by side). What a test leaves behind is
 * killed when the test process ends.
 */
export interface TestServer {
  readonly ip: string;
  readonly port: number;
  /** Holds configuration, data and `server.log`. */
  readonly dir: string;
  readonly pid: number;
  /** Sends the signal; waits for the process to end unless the signal is SIGSTOP or SIGCONT. @default SIGKILL */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Ends the process if it still runs, starts it on the same data and waits until it serves. */
  restart(): Promise<void>;
  /** Ends the process and removes the directory. */
  stop(): Promise<void>;
}

interface Recipe {
  readonly name: string;
  readonly ip: string;
  readonly port: number;
  readonly dir: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** What a client says first, and whether the answer is that of a server that serves. An open port says nothing. */
  readonly hello: Buffer;
  readonly serves: (answer: Buffer) => boolean;
  readonly startMs: number;
}

const ROOT = resolve(__dirname, '../../..');
const running = new Set<ChildProcess>();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** Folder of a server's jars, put there by the project's set-up; NXNW_TOOLS names another tools folder. */
export function jars(name: 'cassandra' | 'zookeeper'): string {
  const lib = join(process.env['NXNW_TOOLS'] ?? join(ROOT, '.tools'), 'lib', name);
  if (existsSync(lib)) return lib;
  throw new NxnwError('TOOL_MISSING', `no ${name} jars in ${lib}; run the project's set-up first (npm test does it)`);
}

const java = (): string => (process.env['JAVA_HOME'] ? join(process.env['JAVA_HOME'], 'bin/java') : 'java');

/**
 * Cassandra 5 on port 9042; durable (`batch`) unless `periodic` is asked for. Data centre `datacenter1`. Its timers may be
 * `timerSlackNs` late. @default 50000, the system's
 */
export function startCassandra(options: {
  ip: string;
  commitlogSync?: 'batch' | 'periodic';
  timerSlackNs?: number;
}): Promise<TestServer> {
  const { ip, commitlogSync = 'batch', timerSlackNs = 50_000 } = options;
  const lib = jars('cassandra');
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-cassandra-'));
  writeFileSync(join(dir, 'logback.xml'), LOGBACK);
  writeFileSync(join(dir, 'cassandra.yaml'), cassandraYaml(ip, commitlogSync));
  const opens = ['java.base/sun.nio.ch', 'java.base/jdk.internal.ref', 'java.base/java.io'];
  return start({
    name: 'cassandra',
    ip,
    port: 9042,
    dir,
    command: '/bin/sh',
    args: [
      ...['-c', `echo ${timerSlackNs} > /proc/self/timerslack_ns; exec "$0" "$@"`, java()],
      ...'-Xms96m -Xmx256m -XX:MaxDirectMemorySize=64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1'.split(' '),
      ...opens.map((o) => `--add-opens=${o}=ALL-UNNAMED`),
      `-javaagent:${lib}/jamm-0.4.0.jar`,
      `-Dcassandra.config=file://${dir}/cassandra.yaml`,
      `-Dcassandra.storagedir=${dir}/data`,
      '-Dcassandra-foreground=yes',
      '-Dcassandra.skip_wait_for_gossip_to_settle=0',
      ...['-cp', `${dir}:${lib}/*`, 'org.apache.cassandra.service.CassandraDaemon'],
    ],
    hello: Buffer.from([4, 0, 0, 0, 5, 0, 0, 0, 0]), // OPTIONS
    serves: (answer) => answer[0] === 0x84 && answer[4] === 6, // SUPPORTED
    startMs: 90_000,
  });
}

/** One standalone ZooKeeper. `jvm` are further options of the Java machine, for instance a super user's digest. */
export function startZooKeeper(options: {
  ip: string;
  port?: number;
  jvm?: readonly string[];
  /** Network namespace to run it in. @default this one */
  inside?: string;
}): Promise<TestServer> {
  const { ip, port = 2181, jvm = [], inside } = options;
  const lib = jars('zookeeper');
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-zookeeper-'));
  writeFileSync(join(dir, 'zoo.cfg'), zooCfg(dir, ip, port));
  const [command, args] = within(inside, java(), [
    ...'-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn'.split(' '),
    ...jvm,
    ...['-cp', `${dir}:${lib}/*`, 'org.apache.zookeeper.server.quorum.QuorumPeerMain', join(dir, 'zoo.cfg')],
  ]);
  return start({
    name: 'zookeeper',
    ip,
    port,
    dir,
    command,
    args,
    hello: zooKeeperSession(),
    serves: (answer) => answer.length >= 20 && answer.readBigInt64BE(12) !== 0n, // a session id
    startMs: 30_000,
  });
}

export function startMemcached(options: { ip: string; port?: number; memoryMiB?: number }): Promise<TestServer> {
  const { ip, port = 11211, memoryMiB = 64 } = options;
  return start({
    name: 'memcached',
    ip,
    port,
    dir: mkdtempSync(join(tmpdir(), 'nxnw-memcached-')),
    command: 'memcached',
    args: ['-u', 'nobody', '-l', ip, '-p', String(port), '-U', '0', '-m', String(memoryMiB)],
    hello: Buffer.from('version\r\n'),
    serves: (answer) => answer.toString().startsWith('VERSION'),
    startMs: 10_000,
  });
}

async function start(recipe: Recipe): Promise<TestServer> {
  const { ip, port, dir, name } = recipe;
  let child = await launch(recipe);
  const kill = async (signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    if (signal === 'SIGSTOP' || signal === 'SIGCONT') return void child.kill(signal);
    const ended = once(child, 'exit', { signal: AbortSignal.timeout(30_000) });
    child.kill(signal);
    await ended.catch((e: unknown) => Promise.reject(new NxnwError('TIMEOUT', `${name} on ${ip} did not end within 30 s of ${signal}`, {}, e))); // prettier-ignore
  };
  return {
    ip,
    port,
    dir,
    get pid() {
      return child.pid ?? 0;
    },
    kill,
    async restart() {
      await kill();
      child = await launch(recipe);
    },
    async stop() {
      await kill();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Starts the process and waits until it serves; an early end or a time-out carries the end of its log. */
async function launch(recipe: Recipe): Promise<ChildProcess> {
  const { name, ip, port, dir } = recipe;
  if (await answers(recipe))
    throw new NxnwError('PORT_IN_USE', `${name}: ${ip}:${port} already serves; use another address`);
  const log = join(dir, 'server.log');
  mkdirSync(dir, { recursive: true });
  const out = openSync(log, 'a');
  const child = spawn(recipe.command, recipe.args, {
    cwd: dir,
    stdio: ['ignore', out, out],
    env: { ...process.env, ...recipe.env },
  });
  closeSync(out);
  running.add(child);
  let why = '';
  child.once('error', (e) => (why = e.message));
  child.once('exit', (code, signal) => {
    running.delete(child);
    why = `ended with ${code ?? signal}`;
  });
  const deadline = Date.now() + recipe.startMs;
  while (!(await answers(recipe))) {
    if (why === '' && Date.now() > deadline) why = `does not serve after ${recipe.startMs / 1000} s`;
    if (why !== '') {
      child.kill('SIGKILL');
      const tail = existsSync(log) ? readFileSync(log, 'utf8').slice(-2000) : '';
      throw new NxnwError('SERVER_START', `${name} on ${ip}:${port} ${why}; its log ${log} ends with:\n${tail}`);
    }
    await delay(50);
  }
  return child;
}

/** True when the server answers a client's first request as one that serves; at most one second. */
function answers(recipe: Recipe): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host: recipe.ip, port: recipe.port });
    let got = Buffer.alloc(0);
    const finish = (ok: boolean): void => {
      socket.destroy();
      done(ok);
    };
    socket.setTimeout(1000, () => finish(false));
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
    socket.once('connect', () => socket.write(recipe.hello));
    socket.on('data', (chunk) => {
      got = Buffer.concat([got, chunk]);
      if (recipe.serves(got)) finish(true);
    });
  });
}

/** A new session's ConnectRequest, and a closeSession right behind it, so that the probe leaves no session. */
function zooKeeperSession(): Buffer {
  const open = Buffer.alloc(4 + 44);
  open.writeInt32BE(44, 0);
  open.writeInt32BE(4000, 16); // session time-out, ms
  open.writeInt32BE(16, 28); // password length
  const close = Buffer.alloc(4 + 8);
  close.writeInt32BE(8, 0);
  close.writeInt32BE(1, 4);
  close.writeInt32BE(-11, 8);
  return Buffer.concat([open, close]);
}

const LOGBACK = `<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{20} %msg%n</pattern></encoder></appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
`;

/** Small caches: 400-480 MB of memory in all. Long time-outs: a busy machine is no fault that a test looks for. */
function cassandraYaml(ip: string, commitlogSync: 'batch' | 'periodic'): string {
  return `cluster_name: test
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
listen_address: ${ip}
rpc_address: ${ip}
storage_port: 7000
native_transport_port: 9042
commitlog_sync: ${commitlogSync}
${commitlogSync === 'periodic' ? 'commitlog_sync_period: 1000ms\n' : ''}commitlog_segment_size: 4MiB
commitlog_total_space: 32MiB
memtable_heap_space: 32MiB
memtable_offheap_space: 32MiB
networking_cache_size: 8MiB
file_cache_enabled: false
key_cache_size: 4MiB
counter_cache_size: 0MiB
read_request_timeout: 20s
range_request_timeout: 20s
write_request_timeout: 20s
cas_contention_timeout: 20s
request_timeout: 20s
concurrent_reads: 4
concurrent_writes: 8
native_transport_max_threads: 16
auto_snapshot: false
hinted_handoff_enabled: false
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "${ip}"}]
`;
}

function zooCfg(dir: string, ip: string, port: number): string {
  return `tickTime=500
dataDir=${dir}/data
clientPort=${port}
clientPortAddress=${ip}
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=ruok
preAllocSize=1024
snapCount=10000
`;
}
