import { join } from 'node:path';
import { readBack } from '../load/read-back.js';
import { sumTraffic } from '../load/traffic.js';
import type { Span, Traffic } from '../load/traffic.js';
import { KINDS, check, fileSource } from '../oracle/index.js';
import type { Kind } from '../oracle/index.js';
import type { LiveMove } from './live-move.js';

const LEAST_WRITES = 0.2;

/** What a live move is measured by. Times in seconds unless named otherwise. */
export interface MoveFigures {
  readonly entities: number;
  readonly requests: number;
  readonly writes: number;
  readonly failedRequests: number;
  readonly answeredByN2: number;
  readonly n1UpS: number;
  /** How long the `up` of each stage took. */
  readonly stagesS: Readonly<Record<string, number>>;
  /** Longest latency of a request from its scheduled time, in the whole run and round the switch. */
  readonly longestMs: number;
  readonly longestRoundSwitchMs: number;
  /** For how long at most the machine did not run a 10 ms timer while the longest request waited. */
  readonly schedulingGapMs: number;
  readonly digestsEqual: boolean;
  readonly found: Readonly<Record<Kind, number>>;
  /** Everything that must not be; empty = the move was clean. */
  readonly faults: readonly string[];
  /** All of it in one line. */
  readonly line: string;
}

export interface JudgeMove extends LiveMove {
  readonly logs: readonly string[];
  readonly loaderLog: string;
  readonly lagLog: string;
  readonly spans: readonly Span[];
  readonly n1UpS: number;
  readonly digestsEqual: boolean;
}

/** Reads everything out of N2, has the oracle judge it with the clients' logs, and sums up what the clients saw. */
export async function judgeMove(o: JudgeMove): Promise<MoveFigures> {
  const dump = join(o.dir, 'dump.jsonl');
  const door = await o.door();
  try {
    await readBack({ project: o.app, door: door.endpoint, file: dump });
  } finally {
    door.close();
  }
  const oracle = await check({ logs: [o.loaderLog, ...o.logs].map(fileSource), dump: fileSource(dump) });
  const whole: Span = { name: 'whole', fromUs: 0, toUs: Infinity };
  const traffic = await sumTraffic({
    logs: o.logs.map(fileSource),
    lagLogs: [fileSource(o.lagLog)],
    spans: [whole, ...o.spans],
    isTarget: (instance) => o.n2.has(instance),
  });
  const sum = (name: string) => traffic.spans.find((s) => s.name === name);
  const figures = {
    entities: oracle.loaded,
    requests: traffic.requests,
    writes: traffic.writes,
    failedRequests: traffic.failedRequests,
    answeredByN2: traffic.seconds.reduce((n, s) => n + s.atTarget, 0),
    n1UpS: o.n1UpS,
    stagesS: Object.fromEntries(
      ['synced', 'switched', 'moved'].map((stage) => [stage, Math.round(sum(stage)?.seconds ?? NaN)]),
    ),
    longestMs: sum('whole')?.longestMs ?? NaN,
    longestRoundSwitchMs: sum('switched and after')?.longestMs ?? NaN,
    schedulingGapMs: sum('whole')?.schedulingGapMs ?? 0,
    digestsEqual: o.digestsEqual,
    found: oracle.findings.counts,
  };
  const texts = oracle.findings.kept.slice(0, 10).map((f) => `  ${f.kind} ${f.key}: ${f.text}`);
  return { ...figures, faults: [...faultsOf(figures, traffic), ...texts], line: lineOf(figures) };
}

type Counted = Omit<MoveFigures, 'faults' | 'line'>;

function faultsOf(f: Counted, traffic: Traffic): string[] {
  const faults: string[] = [];
  for (const kind of KINDS) if (f.found[kind] > 0) faults.push(`the oracle found ${f.found[kind]} ${kind}`);
  if (f.failedRequests > 0) faults.push(`${f.failedRequests} of ${f.requests} requests failed`);
  for (const x of traffic.failures.slice(0, 10)) faults.push(`  ${x.op} ${x.nonce}: ${x.why}`);
  if (!f.digestsEqual) faults.push('the verification found the stores different');
  if (f.writes < LEAST_WRITES * f.requests) faults.push(`only ${f.writes} of ${f.requests} requests wrote`);
  if (f.answeredByN2 === 0) faults.push("no request of the load was answered by N2's instances");
  return faults;
}

/** The figures as a person, or a document, shows them. */
function lineOf(f: Counted): string {
  const bad = KINDS.reduce((n, kind) => n + f.found[kind], 0);
  const stages = Object.entries(f.stagesS).map(([stage, s]) => `${stage} ${s} s`);
  return [
    `${f.entities} places, ${f.requests} requests (${f.writes} writes, ${f.answeredByN2} answered by N2), failed ${f.failedRequests}`,
    `lost ${f.found.lost}, torn ${f.found.torn}, resurrected ${f.found.resurrected}, duplicated ${f.found.duplicated}, stale ${f.found.stale}, all findings ${bad}`,
    `N1 up ${Math.round(f.n1UpS)} s, ${stages.join(', ')}`,
    `longest request ${Math.round(f.longestMs)} ms, round the switch ${Math.round(f.longestRoundSwitchMs)} ms`,
  ].join('; ');
}
