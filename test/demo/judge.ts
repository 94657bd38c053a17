import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { NxnwError } from '@nxnw/platform/errors';
import { check, fileSource } from '../oracle/index.js';
import { readPlaces } from '../load/client.js';
import { readBack } from '../load/read-back.js';
import type { Demo } from './context.js';
import { APP, DIR, doorAddress, isOn } from './places.js';
import { loadWindow } from './progress.js';
import { countersBetween } from './counters.js';
import type { Counted } from './counters.js';
import { makeReport } from './report.js';
import type { CountedBySwitch } from './report.js';
import { showReport, verdict } from './verdict.js';
import { SWITCHES, spansOf } from './spans.js';
import type { SwitchName } from './spans.js';
import { sumTraffic } from '../load/traffic.js';

const verifyAnswer = z.looseObject({ equal: z.boolean() });

/** Verifies once more, reads everything out of N2, lets the oracle judge, and writes the report. */
export async function judge(d: Demo): Promise<void> {
  if (d.fleet !== null)
    throw new NxnwError('STILL_LOADED', 'the load must end before the dump; run the step `stop` first');
  const verify = await d.nxnw(['verify', '--stack', 'green', '--deep', '--json'], {
    allowed: [0, 1],
    onLine: () => undefined,
  });
  const answer = verifyAnswer.safeParse(JSON.parse(verify.stdout));
  const outcome = !answer.success ? 'failed' : answer.data.equal ? 'equal' : 'different';
  const why = verify.lastLines.at(-1) ?? '';
  d.fact('verify', { outcome, why, output: verify.stdout.slice(0, 20_000) });
  const words = { equal: 'both stores are equal', different: 'the stores differ, see the report', failed: why };
  d.screen.say(`verify --deep: ${words[outcome]}`);
  const dump = join(DIR, 'dump.jsonl');
  await readBack({
    project: APP,
    door: doorAddress('green'),
    file: dump,
    onProgress: (done) => d.screen.bar({ done, total: null, unit: 'entities', note: 'read back from N2' }),
    signal: d.signal,
  });
  const logs = [join(DIR, 'loader.jsonl'), ...d.logs('client')].filter((f) => existsSync(f));
  d.screen.passing('the oracle reads the logs');
  const oracle = await check({ logs: logs.map(fileSource), dump: fileSource(dump) });
  const traffic = await sumTraffic({
    logs: d.logs('client').map(fileSource),
    lagLogs: d.logs('lag').map(fileSource),
    spans: spansOf(d.state.marks),
    isTarget: (instance) => isOn('green', instance),
  });
  const { ids } = readPlaces(join(DIR, 'places.txt'));
  const window = await loadWindow(d.logs('client'), ids);
  const report = makeReport({ state: d.state, oracle, traffic, window, counted: await counters(d) });
  const file = join(DIR, 'report.json');
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  for (const line of showReport(report)) d.screen.say(line);
  d.screen.say(`the whole report: ${file}`);
  const faults = verdict(report);
  if (faults.length > 0)
    throw new NxnwError('DEMO_FAILED', `the demo has failed:\n${faults.map((f) => `  ${f}`).join('\n')}`);
}

/** What the platforms' counters rose by round each switch. */
async function counters(d: Demo): Promise<CountedBySwitch> {
  const counted: Partial<Record<SwitchName, Counted | null>> = {};
  for (const s of spansOf(d.state.marks)) {
    const name = SWITCHES.find((n) => s.name === `round ${n}`);
    if (name !== undefined) counted[name] = await countersBetween(s.fromUs, s.toUs);
  }
  return counted;
}
