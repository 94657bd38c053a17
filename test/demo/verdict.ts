import { KINDS } from '../oracle/index.js';
import { SLIDES } from './report.js';
import type { DemoReport, ShardSwitch, SwitchReport } from './report.js';

const STALL_LIMIT_MS = 1000;
const LEAST_WRITES = 0.3;
/** Of the whole data: writes to the loaded kinds while the load runs. */
const LEAST_WRITES_MEANWHILE = 5000;
const LEAST_HIT_RATIO = 0.95;
const LEAST_CACHE_WRITES = 100;

const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;

/** Why the demo has failed; empty = it has not. */
export function verdict(r: DemoReport): string[] {
  const faults: string[] = [];
  for (const kind of KINDS) if (r.found[kind] > 0) faults.push(`the oracle found ${r.found[kind]} ${kind}`);
  for (const f of r.findings.slice(0, 10)) faults.push(`  ${f.kind} ${f.key}: ${f.text}`);
  if (r.failedRequests > 0) faults.push(`${r.failedRequests} of ${r.requests} requests failed`);
  for (const f of r.failures.slice(0, 10)) faults.push(`  ${f.op} ${f.nonce}: ${f.why}`);
  if (r.verify?.outcome === 'different') faults.push('the verification found the stores different');
  else if (!r.digestsEqual)
    faults.push(`the verification did not come to an end: ${r.verify?.why ?? 'it was not run'}`);
  if (r.writeShare < LEAST_WRITES)
    faults.push(`${percent(r.writeShare)} of the requests wrote; at least ${percent(LEAST_WRITES)} must`);
  faults.push(...loadFaults(r), ...cacheFaults(r));
  const held = Object.values(r.switches).flatMap((s) => s.shards.map((x) => x.heldRequests));
  if (held.length > 0 && !held.some((n) => n > 0)) faults.push('no switch held a request: none met one');
  for (const [name, s] of Object.entries(r.switches)) {
    faults.push(...countedFaults(name, s));
    for (const x of s.shards)
      if (!agree(x))
        faults.push(
          `${name}: the stores do not show shard ${x.shard}'s MOVE and START alike: ${JSON.stringify(x.slots)}`,
        );
    if (s.longestStallMs - s.schedulingGapMs > STALL_LIMIT_MS)
      faults.push(
        `${name}: a request stalled ${s.longestStallMs} ms (${s.longest?.op ?? ''}); at most ${s.schedulingGapMs} ms of it were the machine's`,
      );
  }
  return faults;
}

/** The load of the whole data met enough writes, deletes too, before and behind its scan. */
function loadFaults({ full, load }: DemoReport): string[] {
  if (!full) return [];
  const { writesScanned = 0, writesNotYetScanned = 0, deletesScanned = 0, deletesNotYetScanned = 0 } = load;
  const writes = writesScanned + writesNotYetScanned;
  const faults: string[] = [];
  if (writes < LEAST_WRITES_MEANWHILE)
    faults.push(`${writes} writes met the load; at least ${LEAST_WRITES_MEANWHILE} must: load more slowly`);
  if (deletesScanned === 0 || deletesNotYetScanned === 0)
    faults.push(`${deletesScanned} deletes met the load behind its scan and ${deletesNotYetScanned} before it`);
  return faults;
}

/** N2's cache was warm, and written, right after the switch. */
function cacheFaults({ cache }: DemoReport): string[] {
  const faults: string[] = [];
  if (cache.ratio === null) faults.push("N2's cache hit rate was not measured");
  else if (cache.ratio < LEAST_HIT_RATIO) faults.push(`N2's cache hit rate was ${percent(cache.ratio)} of N1's`);
  if (cache.cacheWritesWithin2s < LEAST_CACHE_WRITES)
    faults.push(`${cache.cacheWritesWithin2s} cache writes in N2's first 2 s; at least ${LEAST_CACHE_WRITES} must be`);
  return faults;
}

/** Nothing was unavailable or tried again round a switch. */
function countedFaults(name: string, s: SwitchReport): string[] {
  const errors = Object.entries(s.errorsRound).map(([code, n]) => `${n} ${code}`);
  if (s.appRetriesRound > 0) errors.push(`${s.appRetriesRound} retries of the application`);
  if (s.countersRound === null) errors.push('the doors and HAProxy were not sampled');
  else for (const [what, n] of Object.entries(s.countersRound)) if (n > 0) errors.push(`${n} ${what}`);
  return errors.map((e) => `round ${name}: ${e}`);
}

/** Both stores hold the same MOVE, and the same START behind it. */
function agree(x: ShardSwitch): boolean {
  const [a, b] = x.slots;
  if (x.slots.length !== 2 || !a?.move?.startsWith('move ') || !a.start?.startsWith('start ')) return false;
  return a.move === b?.move && a.start === b.start;
}

/** The report as a person reads it. */
export function showReport(r: DemoReport): string[] {
  const n = (x: number): string => x.toLocaleString('en', { maximumFractionDigits: 1 });
  const share = (x: number | null): string => (x === null ? 'not measured' : `${(100 * x).toFixed(1)} %`);
  const lines = [
    `moved: ${n(r.entities)} entities, ${n(r.bytes / 1e6)} MB; both stores ${r.verify?.outcome ?? 'not verified'}`,
    `requests: ${n(r.requests)} (${share(r.writeShare)} writes), failed: ${r.failedRequests}; refused on contended places: ${r.conflicts}`,
    `the oracle: lost ${r.lost}, torn ${r.torn}, resurrected ${r.resurrected}, duplicated ${r.duplicated}, duplicate ids ${r.duplicateIds}, stale ${r.stale}`,
  ];
  const { load } = r;
  if (load.msPerEntity !== null)
    lines.push(
      `loaded into N2 in ${n(load.seconds ?? 0)} s, ${load.msPerEntity.toFixed(3)} ms an entity (slides: ${SLIDES.loadMsPerEntity.value.join('-')} ms); lag at most ${n(load.maxLagMs ?? 0)} ms`,
      `  meanwhile ${load.writesScanned} writes to places already scanned (${load.deletesScanned} deletes), ${load.writesNotYetScanned} to places not yet scanned (${load.deletesNotYetScanned} deletes)`,
    );
  // N1 served alone then, so this is what the machine itself made of the load
  const alone = r.latency.find((s) => s.name === 'synced');
  if (alone) lines.push(`longest wait while N2 came up and was loaded, with no switch: ${n(alone.longestMs)} ms`);
  for (const [name, s] of Object.entries(r.switches)) {
    lines.push(`longest stall, ${name}: ${n(s.longestStallMs)} ms (goal < 200 ms; slides: ${SLIDES.switchS.value} s)`);
    if (s.longestStallMs > STALL_LIMIT_MS)
      lines.push(
        `  by ${s.longest?.op ?? '?'}; the machine did not run a 10 ms timer for ${n(s.schedulingGapMs)} ms in it`,
      );
    if (s.shards.length > 0) {
      const held = s.shards.reduce((sum, x) => sum + x.heldRequests, 0);
      // on the way back N2's processes are asked by nobody, so none of them sees a first answer
      const longest = Math.max(...s.shards.map((x) => x.firstAnswerMs ?? x.holdMs));
      lines.push(
        `  ${s.shards.length} shards, ${held} requests held, longest hold${s.shards.some((x) => x.firstAnswerMs !== null) ? ' → first answer' : ''} ${n(longest)} ms`,
      );
    }
  }
  lines.push(
    `N2's cache hit rate in its first 10 s: ${share(r.cache.n2First10sHitRate)}; N1's before: ${share(r.cache.n1HitRate)}; ${r.cache.cacheWritesWithin2s} cache writes in its first 2 s`,
  );
  for (const c of r.dns.changes.slice(1))
    lines.push(`DNS: clients saw ${c.addresses.join(', ')} within ${Math.max(0, ...c.clientsS)} s of the first`);
  return lines;
}
