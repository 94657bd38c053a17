import { GatewayClient } from './gateway-client.js';
import { gatewayClientConfigSchema } from './gateway-config.js';
import { configOf, log, readTls, runProcess, serveHealth } from './gateway-process.js';

/** `node gateway-client-main.js --config FILE`: local ports of one machine that lead to the platform it joins. */
runProcess(async () => {
  const config = configOf(gatewayClientConfigSchema);
  const { gateways, forwards, reverse } = config;
  const client = await GatewayClient.start({ gateways, forwards, reverse, tls: readTls(config.join), log });
  // N1 may be gone for good once the migration is final: this process is well without it
  await serveHealth(config.status, readTls(config.tls), () => ({ ready: true, detail: client.status().detail }));
  log('join.ready', { forwards: forwards.length });
});
