import { clientConfig } from './config.js';
import { Client } from './client.js';

/** One client process: `node main.js CONFIG-AS-JSON`. SIGTERM: sends nothing more, waits for its answers and ends. */
function main(): void {
  const client = new Client(clientConfig.parse(JSON.parse(process.argv[2] ?? '{}')));
  const tell = setInterval(() => {
    if (process.connected) process.send?.(client.stats());
  }, 1000);
  const stop = (): void => client.stop();
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('disconnect', stop);
  void client
    .run()
    .then(() => {
      if (process.connected) process.send?.(client.stats());
    })
    .catch((e: unknown) => {
      process.stderr.write(`load: ${String(e)}\n`);
      process.exitCode = 1;
    })
    .finally(() => {
      clearInterval(tell);
      if (process.connected) process.disconnect();
    });
}

main();
