import { Gateway } from './gateway.js';
import { gatewayConfigSchema } from './gateway-config.js';
import { configOf, log, readTls, runProcess, serveHealth } from './gateway-process.js';

/** `node gateway-main.js --config FILE`: the join port of one machine. */
runProcess(async () => {
  const config = configOf(gatewayConfigSchema);
  const tls = readTls(config.tls);
  const { gateway } = await Gateway.start({
    listen: config.listen,
    tls,
    allow: config.allow,
    reverse: new Map(config.reverse.map((r) => [r.target, r.listen])),
    log,
  });
  await serveHealth(config.status, tls, () => {
    const { sessions, connections } = gateway.counts();
    return { ready: true, detail: `${sessions} sessions of other platforms, ${connections} connections` };
  });
  log('join.ready', { at: `${config.listen.host}:${config.listen.port}` });
});
