import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { NxnwError, hasCode } from '@nxnw/platform/errors';
import { STAGES } from '@nxnw/migration/coordinator/api';
import type {
  CoordinatorClient,
  JournalEvent,
  MigrationStatus,
  Stage,
  VerifyAnswer,
} from '@nxnw/migration/coordinator/api';
import { actor, parseDuration, print, stackOf, withCoordinator } from './context.js';
import type { Shared } from './context.js';
import { waitForBack, waitForStage, waitForSwitch } from './follow.js';
import { showEvent, showFindings, showForecast, showStatus } from './show.js';

/** Runs a command's action; a number that it answers is the exit code. */
export type Act = <A extends unknown[]>(f: (...args: A) => Promise<unknown>) => (...args: A) => Promise<void>;

const WATCH_MS = 1000;
const VERIFY_MS = 60_000;
const DEEP_MS = 30 * 60_000;

interface Apps extends Shared {
  readonly app?: readonly string[];
}
interface Reasoned extends Shared {
  readonly reason: string;
}
interface Timed extends Shared {
  readonly timeout: string;
}

const apps = (o: Apps): readonly string[] | null => o.app ?? null;

/** Progress of a command goes to stderr, so that stdout holds the result alone. */
const tell = (e: JournalEvent): void => void process.stderr.write(`${showEvent(e)}\n`);

function show(o: Shared, s: MigrationStatus): void {
  print(o, s, (v) => showStatus(v, stackOf(o)));
}

/** The commands that speak to the coordinator; none needs Pulumi or the stack's lock. */
export function addMigrationCommands(add: (name: string, what: string) => Command, act: Act): void {
  addWatching(add, act);
  addSteering(add, act);
  addSwitching(add, act);
  addChecking(add, act);
}

function addWatching(add: (name: string, what: string) => Command, act: Act): void {
  add('status', 'one screen: stages, who serves, lag, progress, gates, next step, way back')
    .option('-w, --watch', 'go on showing it')
    .action(
      act((o: Shared & { watch?: boolean }) =>
        withCoordinator(o, async (c) => {
          do {
            if (o.watch === true && process.stdout.isTTY && o.json !== true) process.stdout.write('\x1b[2J\x1b[H');
            show(o, await c.status());
            if (o.watch === true) await sleep(WATCH_MS);
          } while (o.watch === true);
        }),
      ),
    );
  for (const name of ['events', 'history'])
    add(name, 'the journal, with actor and reason')
      .option('-f, --follow', 'go on with new ones')
      .option('--since <number>', 'only events after this number', '0')
      .action(
        act((o: Shared & { follow?: boolean; since: string }) =>
          withCoordinator(o, async (c) => {
            const ending = new AbortController();
            const stop = (): void => ending.abort();
            process.once('SIGINT', stop);
            try {
              for await (const e of c.events(Number(o.since), o.follow === true, ending.signal))
                process.stdout.write(`${o.json === true ? JSON.stringify(e) : showEvent(e)}\n`);
            } catch (e) {
              if (!hasCode(e, 'CANCELLED') || !ending.signal.aborted) throw e;
            } finally {
              process.off('SIGINT', stop);
            }
          }),
        ),
      );
  add('wait', 'until a stage is reached; exit 3 when the time is over')
    .requiredOption('--for <stage>', STAGES.join(', '))
    .option('--timeout <duration>', '0 = no limit', '30m')
    .action(
      act((o: Timed & { for: string }) => {
        const stage = parseStage(o.for);
        return withCoordinator(o, async (c) => show(o, await waitForStage(c, stage, parseDuration(o.timeout), tell)));
      }),
    );
  add('forecast', 'what the next steps would do, and how long').action(
    act((o: Shared) => withCoordinator(o, async (c) => print(o, await c.forecast(), showForecast))),
  );
  add('report', "the migration's report, JSON").action(
    act((o: Shared) => withCoordinator(o, async (c) => void process.stdout.write((await c.report()).text))),
  );
}

function parseStage(text: string): Stage {
  const stage = STAGES.find((s) => s === text);
  if (stage === undefined) throw new NxnwError('USAGE', `no stage "${text}"; there are: ${STAGES.join(', ')}`);
  return stage;
}

function addSteering(add: (name: string, what: string) => Command, act: Act): void {
  const plain = (name: string, what: string, ask: (c: CoordinatorClient) => Promise<MigrationStatus>): void => {
    add(name, what).action(act((o: Shared) => withCoordinator(o, async (c) => show(o, await ask(c)))));
  };
  add('pause', 'stop the load and verification, for a while')
    .option('--follow', "following too: N1's log piles up, and a switch waits until it is worked off")
    .requiredOption('--reason <text>')
    .action(
      act((o: Reasoned & { follow?: boolean }) =>
        withCoordinator(o, async (c) => {
          show(o, await c.pause(o.follow === true ? 'follow' : 'load', actor(), o.reason));
        }),
      ),
    );
  plain('resume', 'go on after a pause', (c) => c.resume(actor()));
  add('throttle', 'how fast the load may be')
    .option('--entities-per-s <n>', 'for each application; `auto` = as fast as N1 allows')
    .option('--source-latency-ratio <n>', "how much slower N1's commits may become, for instance 1.1")
    .action(
      act((o: Shared & { entitiesPerS?: string; sourceLatencyRatio?: string }) => {
        const rate =
          o.entitiesPerS === undefined || o.entitiesPerS === 'auto'
            ? (o.entitiesPerS ?? null)
            : positive(o.entitiesPerS);
        const ratio = o.sourceLatencyRatio === undefined ? null : positive(o.sourceLatencyRatio);
        if (rate === null && ratio === null)
          throw new NxnwError('USAGE', 'give --entities-per-s or --source-latency-ratio, or both');
        const value = rate === 'auto' || typeof rate === 'number' ? rate : null;
        return withCoordinator(o, async (c) => show(o, await c.throttle(value, ratio, actor())));
      }),
    );
  add('hold', 'no switch may begin')
    .requiredOption('--reason <text>')
    .action(act((o: Reasoned) => withCoordinator(o, async (c) => show(o, await c.hold(actor(), o.reason)))));
  add('release', 'take a latch or a hold away')
    .option('--latch', 'the latch of a way back')
    .option('--hold', 'what `nxnw hold` set')
    .action(
      act((o: Shared & { latch?: boolean; hold?: boolean }) => {
        if ((o.latch === true) === (o.hold === true)) throw new NxnwError('USAGE', 'give either --latch or --hold');
        return withCoordinator(o, async (c) => show(o, await c.release(o.latch === true ? 'latch' : 'hold', actor())));
      }),
    );
}

function positive(text: string): number {
  const n = Number(text);
  if (!Number.isFinite(n) || n <= 0) throw new NxnwError('USAGE', `"${text}" is not a number above 0`);
  return n;
}

function addSwitching(add: (name: string, what: string) => Command, act: Act): void {
  add('switch', 'switch to N2; the same gates as stage switched')
    .option('--app <id...>', 'only these applications')
    .option('--timeout <duration>', 'how long to wait for its end', '10m')
    .action(
      act((o: Apps & Timed) =>
        withCoordinator(o, async (c) => {
          await c.switch(apps(o), actor());
          show(o, await waitForSwitch(c, apps(o), parseDuration(o.timeout), tell));
        }),
      ),
    );
  add('back', 'go back to N1, and latch: no switch begins until `nxnw release --latch` or a raised attempt')
    .requiredOption('--reason <text>')
    .option('--app <id...>', 'only these applications')
    .option('--timeout <duration>', 'how long to wait for its end', '10m')
    .action(
      act((o: Apps & Timed & Reasoned) =>
        withCoordinator(o, async (c) => {
          await c.back(apps(o), actor(), o.reason);
          show(o, await waitForBack(c, apps(o), parseDuration(o.timeout), tell));
        }),
      ),
    );
  add('rehearse', 'there and back, measured; ends with N1 serving and no latch')
    .option('--app <id...>', 'only these applications')
    .option('--timeout <duration>', 'for each way', '10m')
    .action(
      act((o: Apps & Timed) =>
        withCoordinator(o, async (c) => {
          const timeoutMs = parseDuration(o.timeout);
          await c.switch(apps(o), actor());
          const there = stalls(await waitForSwitch(c, apps(o), timeoutMs, tell));
          await c.back(apps(o), actor(), 'rehearsal');
          const back = stalls(await waitForBack(c, apps(o), timeoutMs, tell));
          await c.release('latch', actor());
          print(o, { there, back }, (r) => `there: ${showStalls(r.there)}\nback:  ${showStalls(r.back)}`);
        }),
      ),
    );
}

interface Stalls {
  readonly shards: number;
  readonly longestMs: number;
  readonly heldRequests: number;
}

function stalls(s: MigrationStatus): Stalls {
  const all = s.apps.flatMap((a) => a.handovers);
  return {
    shards: all.length,
    longestMs: Math.max(0, ...all.map((h) => h.firstAnswerMs ?? h.holdMs)),
    heldRequests: all.reduce((n, h) => n + h.heldRequests, 0),
  };
}

function showStalls(r: Stalls): string {
  return `${r.shards} shards, longest hold to first answer ${r.longestMs} ms, ${r.heldRequests} requests held`;
}

function addChecking(add: (name: string, what: string) => Command, act: Act): void {
  add('verify', 'compare both sides at one log position; exit 1 when they differ')
    .option('--deep', 'scan both stores anew and name the keys that differ')
    .option('--limit <n>', 'most keys to name', '100')
    .action(
      act((o: Shared & { deep?: boolean; limit: string }) =>
        withCoordinator(o, async (c) => {
          const deep = o.deep === true;
          const answer = await c.verify(deep, positive(o.limit), deep ? DEEP_MS : VERIFY_MS);
          print(o, answer, showVerify);
          return answer.equal ? 0 : 1;
        }),
      ),
    );
  add('diff', 'the keys that differ, as JSON lines')
    .option('--limit <n>', 'most keys to name', '1000')
    .action(
      act((o: Shared & { limit: string }) =>
        withCoordinator(o, async (c) => {
          const answer = await c.verify(true, positive(o.limit), DEEP_MS);
          if (answer.deep) for (const d of answer.differences) process.stdout.write(`${JSON.stringify(d)}\n`);
          return answer.equal ? 0 : 1;
        }),
      ),
    );
  add(
    'doctor',
    'reach, versions, health, clocks, round trip, bandwidth, disk, from both ends; exit 1 when something is bad',
  ).action(
    act((o: Shared) =>
      withCoordinator(o, async (c) => {
        const findings = await c.doctor();
        print(o, findings, showFindings);
        return findings.every((f) => f.ok) ? 0 : 1;
      }),
    ),
  );
}

function showVerify(v: VerifyAnswer): string {
  if (v.deep) {
    const lines = v.differences.map((d) => `${d.what.padEnd(14)} ${d.shard.app}/${d.shard.index}  ${d.key}`);
    return [...lines, `${v.differences.length} keys differ`].join('\n');
  }
  const lines = v.checks.map(
    (k) =>
      `${k.equal ? 'equal' : 'DIFFERS'} ${k.shard.app}/${k.shard.index} at ${k.at.epoch}.${k.at.slot} ${k.here.slice(0, 16)}${k.equal ? '' : ` ≠ ${k.there.slice(0, 16)}`}`,
  );
  return [...lines, `${v.checks.filter((k) => !k.equal).length} of ${v.checks.length} shards differ`].join('\n');
}
