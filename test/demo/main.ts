import { setMaxListeners } from 'node:events';
import { parseArgs } from 'node:util';
import { asError } from '@nxnw/platform/errors';
import { cleanUp } from './clean.js';
import { Demo } from './context.js';
import { DIR } from './places.js';
import { Screen } from './screen.js';
import { STEPS } from './steps.js';

const USAGE = `usage: npm run demo [-- OPTIONS]
  --full           all 135,233 places instead of the 20,000 largest
  --keep           leave both platforms running at the end
  --from STEP      go on from a step, against what an earlier run with --keep left
  --only STEP      run one step only, as --from
  --rate N         requests a second of the load (152)
  --clients N      load processes (3)
steps: ${STEPS.map((s) => s.name).join(' ')}
`;

interface Choice {
  readonly steps: typeof STEPS;
  readonly mode: 'fresh' | 'continue';
}

function choose(from: string | undefined, only: string | undefined): Choice | null {
  const name = only ?? from;
  if (name === undefined) return { steps: STEPS, mode: 'fresh' };
  const at = STEPS.findIndex((s) => s.name === name);
  if (at < 0) return null;
  return { steps: STEPS.slice(at, only === undefined ? undefined : at + 1), mode: at === 0 ? 'fresh' : 'continue' };
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      full: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      from: { type: 'string' },
      only: { type: 'string' },
      rate: { type: 'string', default: '152' },
      clients: { type: 'string', default: '3' },
      help: { type: 'boolean', default: false },
    },
  });
  const chosen = choose(values.from, values.only);
  const ratePerS = Number(values.rate);
  const clients = Number(values.clients);
  if (values.help || chosen === null || !(ratePerS > 0) || !Number.isInteger(clients) || clients < 1) {
    process.stderr.write(USAGE);
    return values.help ? 0 : 2;
  }
  const abort = new AbortController();
  setMaxListeners(0, abort.signal);
  // The first signal ends the step that runs and cleans up; after the second one nothing is cleaned up.
  let signals = 0;
  for (const s of ['SIGINT', 'SIGTERM'] as const)
    process.on(s, () => {
      if (++signals > 1) process.exit(130);
      abort.abort(new Error(`ended by ${s}`));
    });
  const screen = new Screen(process.stdout);
  const options = { full: values.full, keep: values.keep, ratePerS, clients };
  const demo = new Demo(options, screen, abort.signal, chosen.mode);
  let failure: Error | null = null;
  let name = '';
  try {
    for (const step of chosen.steps) {
      name = step.name;
      abort.signal.throwIfAborted();
      screen.step(step.title);
      await Promise.race([step.run(demo), aborted(abort.signal)]);
      screen.done();
    }
  } catch (e) {
    failure = asError(e);
    screen.fail(`step ${name}: ${failure.message}`);
  }
  await demo.stopLoad();
  if (values.keep && !abort.signal.aborted)
    screen.say(`kept running; \`npm run demo -- --only ${STEPS.at(-1)?.name}\` judges again, the next demo removes it`);
  else {
    screen.step('Ending everything that the demo started');
    await cleanUp();
    screen.done(`nothing runs any more; logs and report are in ${DIR}`);
  }
  return failure === null ? 0 : abort.signal.aborted ? 130 : 1;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, fail) => signal.addEventListener('abort', () => fail(asError(signal.reason)), { once: true }));
}

main().then(
  (code) => process.exit(code),
  (e: unknown) => {
    process.stderr.write(`${asError(e).message}\n`);
    process.exit(1);
  },
);
