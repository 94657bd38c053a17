import { asError } from '@nxnw/platform/errors';
import { ZooKeeper } from '@nxnw/platform/locks/client';
import { addHealth } from '@nxnw/platform/wire/health';
import { RpcServer } from '@nxnw/platform/wire/rpc';
import { readConfig } from './config.js';
import { openEngines, readTls } from './engines/index.js';
import { Host } from './host.js';
import { Journal } from './journal.js';
import { coordinatorService } from './service.js';

/** One line of JSON an event, for the agent's log. */
function log(event: string, fields: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ at: new Date().toISOString(), event, ...fields })}\n`);
}

/**
 * The coordinator: `node migration/dist/coordinator/main.js --config FILE`. It ends with code 1 when it was fenced or
 * its journal cannot be written; its supervisor starts it again, and it goes on where the journal stands.
 */
async function main(): Promise<void> {
  const at = process.argv.indexOf('--config');
  const path = at < 0 ? undefined : process.argv[at + 1];
  if (path === undefined) {
    process.stderr.write('usage: node migration/dist/coordinator/main.js --config FILE\n');
    process.exit(2);
  }
  const config = readConfig(path);
  const ending = new AbortController();
  let ready = { ready: false, detail: 'opening the journal' };

  const fatal = (e: Error): void => {
    log('coordinator.fatal', { message: e.message, stack: e.stack });
    process.exit(1);
  };
  process.on('unhandledRejection', (e) => fatal(asError(e)));

  const zk = await ZooKeeper.connect({
    servers: config.locks.servers.join(','),
    sessionTimeoutMs: config.sessionTimeoutMs,
  });
  const journal = await Journal.lead(zk, `${config.platformId}-coordinator`, ending.signal);
  const host = new Host({
    settings: config,
    journal,
    openEngines: (join) => openEngines(config, join, log),
    now: Date.now,
    log,
    fatal,
  });
  const server = new RpcServer();
  addHealth(server, () => ready);
  server.add('coordinator', coordinatorService(host));
  await server.listen(`${config.listen.host}:${config.listen.port}`, readTls(config));
  await host.resume();
  ready = { ready: true, detail: `epoch ${journal.epoch}` };
  log('coordinator.ready', { epoch: journal.epoch, listen: config.listen });

  let stopping = false;
  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    ending.abort();
    await server.close(500);
    await host.stop();
    await zk.close();
    log('coordinator.stopped', { epoch: journal.epoch });
    process.exit(0);
  };
  for (const s of ['SIGTERM', 'SIGINT'] as const)
    process.on(s, () => void stop().catch((e: unknown) => fatal(asError(e))));
}

main().catch((e: unknown) => {
  log('coordinator.failed', { message: asError(e).message, stack: asError(e).stack });
  process.exit(1);
});
