import { createServer } from 'node:http';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { NxnwError, asError } from '../errors.js';
import { armFaults } from '../fault-env.js';
import { RpcServer } from '../wire/rpc.js';
import { addHealth } from '../wire/health.js';
import { Agent } from './agent.js';
import { serveEnrolment } from './enrol.js';
import { writeAtomic } from './files.js';
import { KeyRotation, clearLeftovers, installIdentity, readEnrolFile } from './identity.js';
import type { EnrolFile } from './identity.js';
import { rotateLogs } from './logs.js';
import { metricsText } from './metrics.js';
import { checkPortFree } from './ports.js';
import { identify, isAlive } from './procfs.js';
import { agentService } from './service.js';
import { spawnAgent } from './spawn.js';
import { agentRecordPath, fingerprint, readAgentConfig, readAgentRecord, readTls } from './state.js';
import { removeMachine } from './teardown.js';

const ROTATE_EVERY_MS = 30_000;
const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime });

/**
 * `node main.js --dir DIR`: the agent of one machine, until SIGTERM. Its roles outlive it. A machine that has no
 * `agent.json` but an `enrol.json` waits to be enrolled, and serves nothing else.
 */
async function main(): Promise<void> {
  armFaults(process.env['NXNW_FAULT']);
  const { values } = parseArgs({ options: { dir: { type: 'string' } } });
  if (values.dir === undefined) throw new NxnwError('USAGE', 'usage: main.js --dir DIRECTORY (with its agent.json)');
  const dir = resolve(values.dir);
  const other = readAgentRecord(dir);
  if (other && other.pid !== process.pid && isAlive(other))
    throw new NxnwError('AGENT_RUNNING', `the agent of ${dir} runs already, as process ${other.pid}`, { dir });
  const told = readEnrolFile(dir);
  await (told === null ? serve(dir) : waitForEnrolment(dir, told));
}

async function serve(dir: string): Promise<void> {
  const config = readAgentConfig(dir);
  const tls = readTls(config.tls);
  await checkPortFree({ host: config.host, port: config.port, protocol: 'tcp' });
  clearLeftovers(dir, config);
  const { platformId, machine } = config;
  const agent = new Agent({ platformId, machine, dir, tlsPaths: config.tls, tls }, (event, fields) =>
    log.info(fields, event),
  );
  const server = new RpcServer();
  const end = endingOf(server, () => agent.leave());
  const endings = {
    destroy: () => end('destroy', () => removeMachine(dir)),
    successor: () => end('successor', () => succeed(dir)),
  };
  server.add('agent', agentService(agent, new KeyRotation(dir, config, tls.ca), endings));
  addHealth(server, () => ({ ready: true, detail: `agent of ${machine}` }));
  record(dir, fingerprint(config, tls));
  await server.listen(`${config.host}:${config.port}`, tls);
  agent.begin();
  if (config.metricsPort !== undefined) serveMetrics(agent, config.host, config.metricsPort);
  setInterval(() => rotateLogs(dir), ROTATE_EVERY_MS).unref();
  log.info({ machine, host: config.host, port: config.port, pid: process.pid }, 'agent.ready');
}

async function waitForEnrolment(dir: string, told: EnrolFile): Promise<void> {
  const { token: _, ca: _ca, ...config } = told;
  await checkPortFree({ host: config.host, port: config.port, protocol: 'tcp' });
  const server = new RpcServer();
  const end = endingOf(server, () => undefined);
  record(dir, '');
  await serveEnrolment(server, told, async (tls) => {
    await installIdentity(dir, config, tls);
    log.info({ machine: config.machine }, 'agent.enrolled');
    end('enrolled', () => succeed(dir));
  });
  log.info({ machine: config.machine, host: config.host, port: config.port, pid: process.pid }, 'agent.enrolling');
}

type End = (why: string, last: () => Promise<void> | void) => void;

/** What ends the process, by SIGTERM too: closes the doors, leaves the roles alone, then does `last`. */
function endingOf(server: RpcServer, leave: () => Promise<void> | void): End {
  let ending = false;
  const end: End = (why, last) => {
    if (ending) return;
    ending = true;
    log.info({ why }, 'agent.ends');
    setImmediate(() => {
      void server
        .close()
        .then(leave)
        .then(last)
        .then(
          () => process.exit(0),
          (e: unknown) => {
            log.error({ error: asError(e).message }, 'agent.endFailed');
            process.exit(1);
          },
        );
    });
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => end(signal, () => undefined));
  return end;
}

/** Tells which process is the agent of the directory. */
function record(dir: string, config: string): void {
  writeAtomic(agentRecordPath(dir), JSON.stringify({ ...identify(process.pid), config }));
}

/** Under systemd the unit starts the successor. */
function succeed(dir: string): void {
  writeAtomic(agentRecordPath(dir), JSON.stringify({ pid: 0, startTicks: '', config: '' }));
  if (process.env['INVOCATION_ID'] === undefined) spawnAgent(dir);
}

function serveMetrics(agent: Agent, host: string, port: number): void {
  createServer((request, response) => {
    if (request.url !== '/metrics') return void response.writeHead(404).end();
    metricsText(agent).then(
      (text) => response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(text),
      (e: unknown) => response.writeHead(500).end(asError(e).message),
    );
  })
    .on('error', (e) => log.error({ error: e.message, port }, 'metrics.notServed'))
    .listen(port, host);
}

main().catch((e: unknown) => {
  const code = e instanceof NxnwError ? e.code : 'INTERNAL';
  log.fatal({ code, error: asError(e).message }, 'agent.failed');
  process.exit(1);
});
