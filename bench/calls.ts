import { CallStream, addCalls } from '@nxnw/platform/wire/calls';
import { RpcClient, RpcServer } from '@nxnw/platform/wire/rpc';

/**
 * What a small call between two datastore processes costs both ends together, in processor time (decision 030):
 * `node bench/dist/calls.js [calls a second]` (100 without). Each way has a warm-up, then a measured stretch; both ends
 * are in this process, without TLS.
 */
const RATE = Number(process.argv[2] ?? 100);
const WARM_MS = 5000;
const MEASURED_MS = 10_000;
const BODY = { shard: { app: 'bench', index: 3 }, keys: [Buffer.alloc(40, 1)], atUs: 1, deadlineMs: 1 };
const ANSWER = { rows: [Buffer.alloc(300, 2)], at: { epoch: 1, slot: 7 } };
const CALL_MS = 5000;

/** Milliseconds of a core for one call. */
async function measure(call: () => Promise<unknown>): Promise<number> {
  const failures: unknown[] = [];
  const run = async (ms: number): Promise<number> => {
    const began = performance.now();
    let sent = 0;
    while (performance.now() - began < ms) {
      for (const due = ((performance.now() - began) * RATE) / 1000; sent < due; sent++)
        call().catch((e: unknown) => failures.push(e));
      await new Promise((ok) => setTimeout(ok, 5));
    }
    return sent;
  };
  await run(WARM_MS);
  const before = process.cpuUsage();
  const sent = await run(MEASURED_MS);
  const { user, system } = process.cpuUsage(before);
  if (failures.length > 0) throw failures[0];
  return (user + system) / 1000 / sent;
}

async function main(): Promise<void> {
  const server = new RpcServer();
  server.add('shards', { unary: { lookup: () => Promise.resolve(ANSWER) } });
  addCalls(server, () => Promise.resolve(ANSWER));
  const client = new RpcClient(`127.0.0.1:${await server.listen('127.0.0.1:0', null)}`, null);
  const stream = new CallStream(client);
  const nothing = await measure(() => Promise.resolve());
  const unary = await measure(() => client.call('shards.lookup', BODY, { deadlineMs: Date.now() + CALL_MS }));
  const streamed = await measure(() => stream.call('shards.lookup', BODY, Date.now() + CALL_MS));
  const shown = (ms: number) => `${(ms - nothing).toFixed(2)} ms`;
  console.table({ 'a call of its own': shown(unary), 'on a stream of many': shown(streamed) });
  console.log(`ratio ${((unary - nothing) / (streamed - nothing)).toFixed(1)}`);
  stream.close();
  client.close();
  await server.close();
}

main().catch((e: unknown) => {
  console.error(e);
  process.exitCode = 1;
});
