import { deepStrictEqual, ok, strictEqual, throws } from 'node:assert';
import { parseAb } from '../demo/ab.js';
import { readRetries, readUnavailable } from '../demo/counters.js';
import { makeReport } from '../demo/report.js';
import type { DemoReport } from '../demo/report.js';
import { showReport, verdict } from '../demo/verdict.js';
import { spansOf } from '../demo/spans.js';
import { hitRate, sumTraffic } from '../load/traffic.js';
import type { Traffic } from '../load/traffic.js';
import { check, listSource } from '../oracle/index.js';
import type { OracleReport } from '../oracle/index.js';
import type { DemoState } from '../demo/context.js';

const SECOND = 1e6;

function request(at: number, ms: number, more: object = {}): object {
  const base = { k: 'req', nonce: `n${at}`, op: 'get', status: 200, failed: null, instance: '127.1.1.101:9100' };
  return { ...base, at, ms, cache: 'hit', retries: 0, ...more };
}

function sum(lines: object[], gaps: object[] = []): Promise<Traffic> {
  return sumTraffic({
    logs: [listSource('c0', lines)],
    lagLogs: [listSource('lag', gaps)],
    spans: [{ name: 'switch', fromUs: 10 * SECOND, toUs: 20 * SECOND }],
    isTarget: (i) => i.startsWith('127.1.2.'),
  });
}

describe("the demo's figures", () => {
  it('count a request in every span that any of its time lies in', async () => {
    const t = await sum([request(9.9 * SECOND, 50), request(9.5 * SECOND, 800), request(21 * SECOND, 5)]);
    strictEqual(t.requests, 3);
    strictEqual(t.spans[0]?.requests, 1);
    strictEqual(t.spans[0].longestMs, 800);
  });

  it('find the longest stall with the scheduling gap that lies in it', async () => {
    const gaps = [
      { k: 'gap', at: 12.2 * SECOND, gapUs: 150_000 },
      { k: 'gap', at: 19 * SECOND, gapUs: 900_000 },
      { k: 'lag', at: 13 * SECOND, gapUs: 150_000 },
    ];
    const t = await sum([request(12 * SECOND, 400, { op: 'sign' }), request(15 * SECOND, 9)], gaps);
    const [span] = t.spans;
    deepStrictEqual([span?.longest?.op, span?.longestMs, span?.schedulingGapMs], ['sign', 400, 150]);
  });

  it('keep failures, retries and datastore errors apart, and do not count a refusal on a contended place', async () => {
    const t = await sum([
      request(11 * SECOND, 5, { failed: 'status 503', status: 503 }),
      request(12 * SECOND, 5, { retries: 1, errors: 'UNAVAILABLE' }),
      request(13 * SECOND, 5, { status: 409, error: 'ABORTED', errors: 'ABORTED', op: 'move' }),
    ]);
    deepStrictEqual([t.failedRequests, t.conflicts, t.writes], [1, 1, 1]);
    deepStrictEqual([t.spans[0]?.datastoreErrors, t.spans[0]?.appRetries], [{ UNAVAILABLE: 1 }, 1]);
    strictEqual(t.failures[0]?.why, 'status 503');
  });

  it('tell the hit rates of both sides apart, and when the target answered first', async () => {
    const t = await sum([
      request(10 * SECOND, 1),
      request(10.1 * SECOND, 1, { cache: 'miss' }),
      request(12 * SECOND, 2, { instance: '127.1.2.101:9100' }),
    ]);
    strictEqual(hitRate(t, 'source', 0, 5), 0.5);
    strictEqual(hitRate(t, 'target', 0, 5), 1);
    strictEqual(hitRate(t, 'target', 3, 5), null);
    strictEqual(t.firstAtTargetUs, 12.002 * SECOND);
  });

  it('note each change of the address that a client saw', async () => {
    const dns = (at: number, address: string) => ({ k: 'dns', atUs: at, addresses: [address], ttlS: 5 });
    const t = await sum([dns(1, 'a'), dns(2, 'a'), dns(3, 'b'), request(4, 1)]);
    deepStrictEqual(t.dns.map((d) => [d.atUs, d.addresses[0]]), [[1, 'a'], [3, 'b']]); // prettier-ignore
  });
});

const AB = `
Complete requests:      500
Failed requests:        0
Non-2xx responses:      3
Requests per second:    512.25 [#/sec] (mean)
Percentage of the requests served within a certain time (ms)
  50%      3
  99%      9
 100%     20 (longest request)
`;

describe('the reader of what ApacheBench prints', () => {
  it('takes counts, rate and percentiles', () => {
    const expected = { requests: 500, failed: 0, non2xx: 3, perSecond: 512.25, p50Ms: 3, p99Ms: 9, maxMs: 20 };
    deepStrictEqual(parseAb(AB), expected);
  });

  it('refuses a text without a result', () => {
    throws(() => parseAb('apr_socket_connect(): Connection refused'), /ab printed no result/);
  });
});

describe("the readers of the platforms' counters", () => {
  it('sum what doors answered with UNAVAILABLE', () => {
    const of = (code: string, n: number) =>
      `nxnw_datastore_requests_total{project="g",method="Commit",code="${code}"} ${n}`;
    strictEqual(readUnavailable([of('OK', 9), of('UNAVAILABLE', 2), of('UNAVAILABLE', 3), ''].join('\n')), 5);
  });

  it("sum HAProxy's retries and redispatches of all backends, and of no single server", () => {
    const csv = '# pxname,svname,wretr,wredis,\nb1,s1,5,1,\nb1,BACKEND,5,1,\nb2,BACKEND,2,0,\nf,FRONTEND,,,\n';
    strictEqual(readRetries(csv), 8);
  });
});

describe("the demo's verdict", () => {
  const marks = { traffic: 0, 'switched.begin': 10 * SECOND, 'switched.end': 12 * SECOND };
  const shard = { shard: 0, authority: 'green', entities: 10, bytes: 100, digest: 'ab' };
  const position = { epoch: 2, slot: 7 };
  const held = { move: 'move 0011', start: 'start 2233' };
  const handover = {
    slots: [
      { platform: 'nxnw-green', ...held },
      { platform: 'nxnw-blue', ...held },
    ],
    from: 'nxnw-blue',
    to: 'nxnw-green',
    move: position,
    start: position,
    heldRequests: 3,
    holdMs: 9,
    firstAnswerMs: 12,
    atMs: 1,
  };
  const state: DemoState = {
    full: false,
    zone: null,
    attempt: 1,
    stage: 'moved',
    clockOffsetUs: 0,
    marks,
    facts: {
      verify: { outcome: 'equal', why: '' },
      'report-switched': { apps: [{ app: 'gazetteer', shards: [{ ...shard, handover }] }] },
    },
  };

  async function report(lines: object[], gaps: object[] = []) {
    const traffic = await sumTraffic({
      logs: [listSource('c0', lines)],
      lagLogs: [listSource('lag', gaps)],
      spans: spansOf(marks),
      isTarget: () => false,
    });
    const start = { k: 'start', nonce: 'g', at: 1, op: 'ids', groups: [] };
    const again = { ...start, nonce: 'h', at: 5 };
    const end = (nonce: string, at: number) => ({ k: 'end', nonce, at, outcome: 'ok', status: 200, ids: ['7'] });
    const oracle = await check({ logs: [listSource('log', [start, end('g', 2), again, end('h', 6)])] });
    const counted = { switched: { doorUnavailable: 0, haproxyRetries: 0 } };
    const of = (o: OracleReport) => measured(makeReport({ state, oracle: o, traffic, window: null, counted }));
    return { clean: of(await check({ logs: [] })), dirty: of(oracle) };
  }

  /** With the shares of a whole run, which these few lines do not have. */
  const measured = (r: DemoReport): DemoReport => ({
    ...r,
    writeShare: 0.33,
    cache: { ...r.cache, ratio: 1, cacheWritesWithin2s: 120 },
  });

  it('is empty when nothing failed and nothing was found', async () => {
    const { clean } = await report([request(11 * SECOND, 90)]);
    deepStrictEqual(verdict(clean), []);
    strictEqual(clean.switches.switched?.shards[0]?.move, '2.7');
    strictEqual(clean.longestStallMs.switched, 90);
    ok(
      showReport(clean).some((l) => l.includes('46.4 s')),
      'the slides stand beside the stall',
    );
  });

  it('names a load that was too light, a cold cache, and what was tried again round a switch', async () => {
    const { clean } = await report([request(11 * SECOND, 90)]);
    const { switched } = clean.switches;
    ok(switched);
    const tried = { ...switched, appRetriesRound: 2, countersRound: { doorUnavailable: 3, haproxyRetries: 0 } };
    const cache = { ...clean.cache, ratio: 0.9, cacheWritesWithin2s: 99 };
    const text = verdict({ ...clean, writeShare: 0.29, cache, switches: { switched: tried } }).join('\n');
    for (const words of ['29.0 %', '90.0 %', '99 cache writes', '2 retries', '3 doorUnavailable'])
      ok(text.includes(words), `${words}: ${text}`);
    strictEqual(verdict({ ...clean, switches: { switched: { ...switched, countersRound: null } } }).length, 1);
  });

  it('names a load of the whole data that met too few writes, and switches that held nothing', async () => {
    const { clean } = await report([request(11 * SECOND, 90)]);
    const met = { writesScanned: 4000, writesNotYetScanned: 1000, deletesScanned: 3, deletesNotYetScanned: 2 };
    deepStrictEqual(verdict({ ...clean, full: true, load: { ...clean.load, ...met } }), []);
    const few = verdict({
      ...clean,
      full: true,
      load: { ...clean.load, ...met, writesScanned: 3999, deletesScanned: 0 },
    });
    ok(
      few.some((f) => f.startsWith('4999 writes met the load')) && few.some((f) => f.startsWith('0 deletes')),
      few.join(),
    );
    const { switched } = clean.switches;
    ok(switched);
    const shards = switched.shards.map((x) => ({ ...x, heldRequests: 0 }));
    deepStrictEqual(verdict({ ...clean, switches: { switched: { ...switched, shards } } }).length, 1);
  });

  it('names a shard whose MOVE the two stores do not show alike', async () => {
    const { clean } = await report([]);
    const [shard] = clean.switches.switched?.shards ?? [];
    ok(shard && clean.switches.switched);
    const slots = [shard.slots[0], { ...shard.slots[1], move: 'move 4455' }] as typeof shard.slots;
    const switches = { switched: { ...clean.switches.switched, shards: [{ ...shard, slots }] } };
    ok(verdict({ ...clean, switches }).some((f) => f.includes('MOVE and START')));
  });

  it('names what the oracle found, failed requests and a stall that the machine does not explain', async () => {
    const lines = [request(11 * SECOND, 1900), request(12 * SECOND, 5, { failed: 'status 502' })];
    const { dirty } = await report(lines);
    const text = verdict(dirty).join('\n');
    for (const words of ['1 duplicateIds', '1 of 2 requests failed', 'stalled 1900 ms']) ok(text.includes(words), text);
    const { clean } = await report([request(11 * SECOND, 1900)], [{ k: 'gap', at: 12 * SECOND, gapUs: 950_000 }]);
    deepStrictEqual(verdict(clean), [], 'the machine stood still for most of it');
  });
});
