import { once } from 'node:events';
import { z } from 'zod';
import { NxnwError } from '@nxnw/platform/errors';
import { LmdbEnv } from '@nxnw/platform/stores/lmdb-env';
import { openStore } from '@nxnw/platform/stores/index';

/**
 * A process of its own that appends to a log, for the tests that need several or that kill one. It says `ready`, waits
 * for a line on stdin, then appends slot after slot and prints a JSON line for each answer.
 */
const job = z.object({
  config: z.unknown(),
  shard: z.object({ app: z.string(), index: z.number() }),
  epoch: z.number(),
  slots: z.number(),
  mark: z.string(),
});
export type WriterJob = z.input<typeof job>;

/** What slot `slot` of the writer called `mark` holds. */
export function contentOf(mark: string, slot: number): string {
  return `${mark} ${slot} ${'.'.repeat(500)}`;
}

async function append(given: string): Promise<void> {
  const { config, shard, epoch, slots, mark } = job.parse(JSON.parse(given));
  const store = await openStore(config);
  say('ready');
  await once(process.stdin, 'data');
  for (let slot = 1; slot <= slots; slot++) {
    const outcome = await store.append(shard, { epoch, slot }, Buffer.from(contentOf(mark, slot)));
    say(JSON.stringify({ slot, won: outcome.won, held: outcome.won ? null : outcome.held.toString() }));
  }
  await store.close();
}

/** Stops itself inside a write transaction, as a process does that is suspended at the worst moment. */
async function hold(path: string): Promise<void> {
  const env = LmdbEnv.open(path, 5000);
  say('ready');
  await env.write(() => process.kill(process.pid, 'SIGSTOP'));
}

/** Appends until the store refuses (no room for more), and says what came of it. */
async function fill(dir: string): Promise<void> {
  const store = await openStore({ kind: 'lmdb', dir });
  const shard = { app: 'shop', index: 0 };
  await store.ensureApp(shard.app, 1);
  let acknowledged = 0;
  let refused: unknown;
  while (refused === undefined) {
    await store.append(shard, { epoch: 1, slot: acknowledged }, Buffer.alloc(100_000)).then(
      () => acknowledged++,
      (e: unknown) => (refused = e),
    );
  }
  const code = refused instanceof NxnwError ? `${refused.code} ${refused.message}` : String(refused);
  say(JSON.stringify({ code, acknowledged, last: await store.last(shard, 1) }));
  await store.close();
}

/** Uses a store again and again until it answers after an outage, closes it, and has nothing more to do. */
async function outlive(config: unknown, app: string): Promise<void> {
  const store = await openStore(config);
  say('ready');
  await once(process.stdin, 'data');
  process.stdin.destroy();
  for (let up = false; !up; await new Promise((later) => setTimeout(later, 100))) {
    up = await store.lastEpoch({ app, index: 0 }).then(
      () => true,
      () => false,
    );
  }
  await store.close();
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main([what = '', argument = '', app = '']: readonly string[]): Promise<void> {
  if (what === 'hold') return hold(argument);
  if (what === 'fill') return fill(argument);
  if (what === 'outlive') return outlive(JSON.parse(argument), app);
  await append(argument);
  process.exit(0);
}

if (require.main === module) {
  main(process.argv.slice(2)).catch((e: unknown) => {
    say(JSON.stringify({ error: String(e) }));
    process.exit(1);
  });
}
