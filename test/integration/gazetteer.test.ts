import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Datastore } from '@google-cloud/datastore';
import { credentials } from '@grpc/grpc-js';
import { Client as Memcached } from 'memjs';
import { sumTraffic } from '../load/traffic.js';
import { Fleet } from '../load/fleet.js';
import { startLab } from '../load/lab.js';
import type { Lab } from '../load/lab.js';
import { loadPlaces } from '../load/loader.js';
import { LineLog } from '../load/lines.js';
import { nowUs } from '../load/clock.js';
import { read } from '../load/answers.js';
import { HttpClient } from '../load/http.js';
import { Resolver } from '../load/resolver.js';
import { check, fileSource } from '../oracle/index.js';
import type { Finding, OracleReport } from '../oracle/index.js';
import { dumpRecord } from '../oracle/record.js';
import type { DumpRecord, OpName } from '../oracle/record.js';

const PLACES = 400;

/** Faults are planted in the store behind the application; each must be named by what was acknowledged before. */
describe('the gazetteer under load, and the oracle over its store', function () {
  this.timeout(120_000);
  let lab: Lab;
  let http: HttpClient;
  let ds: Datastore;
  let own: LineLog;
  let count = 0;

  before(async () => {
    process.env['METADATA_SERVER_DETECTION'] = 'none';
    lab = await startLab('127.36.20');
    const quiet = { answer: () => undefined, failure: () => undefined };
    http = new HttpClient({ ...lab.target, maxSockets: 4 }, new Resolver(lab.target.host, lab.target.dns, quiet));
    const plain = { projectId: lab.project, apiEndpoint: `http://${lab.door}`, sslCreds: credentials.createInsecure() };
    ds = new Datastore(plain);
    own = new LineLog(join(lab.dir, 'own.jsonl'));
  });
  after(async () => {
    http.close();
    own.close();
    await lab.stop();
  });

  /** One recorded request; answers its nonce and the answer's body. */
  async function act(op: OpName, method: string, path: string, groups: number[], body: object = {}): Promise<string> {
    const nonce = `own-${count++}`;
    own.write({ k: 'start', nonce, at: nowUs(), op, groups, ...(op === 'move' ? { amount: 1 } : {}) });
    const answer = await http.send(method, path, method === 'GET' ? null : { nonce, ...body }, 5000);
    own.write({ k: 'end', nonce, at: nowUs(), ...read(op, answer) });
    strictEqual(answer.status, 200, JSON.stringify(answer.body));
    return nonce;
  }

  async function dump(): Promise<string> {
    const file = join(lab.dir, `dump-${count++}.jsonl`);
    const child = spawn(process.execPath, [join(__dirname, '..', 'load', 'dump.js'), lab.project, file], {
      env: { ...process.env, DATASTORE_EMULATOR_HOST: lab.door, METADATA_SERVER_DETECTION: 'none' },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    strictEqual(await new Promise((done) => child.on('close', done)), 0);
    return file;
  }

  let fleetLogs: string[] = [];

  async function judge(): Promise<OracleReport> {
    const logs = [join(lab.dir, 'loader.jsonl'), ...fleetLogs, own.file].map(fileSource);
    return check({ logs, dump: fileSource(await dump()) });
  }

  it('serves a mixed load without a failed request and without a finding', async () => {
    const placesFile = join(lab.dir, 'places.txt');
    const { target } = lab;
    const loader = { target, log: join(lab.dir, 'loader.jsonl'), placesFile, run: 't', onProgress: () => undefined };
    const loaded = await loadPlaces({ count: PLACES, ...loader });
    strictEqual(loaded.entities, PLACES);
    const fleet = new Fleet({ clients: 2, ratePerS: 60, target, placesFile, dir: join(lab.dir, 'load'), seed: 7 });
    await delay(6000);
    await fleet.stop();
    fleetLogs = fleet.logs;
    const traffic = await sumTraffic({
      logs: fleet.logs.map(fileSource),
      lagLogs: [fileSource(fleet.lagLog)],
      spans: [{ name: 'all', fromUs: 0, toUs: Infinity }],
      isTarget: (instance) => instance.startsWith('127.36.20.102'),
    });
    deepStrictEqual(traffic.failures, []);
    ok(traffic.requests > 200, `${traffic.requests} requests`);
    ok(traffic.writes > 0.3 * traffic.requests, `${traffic.writes} writes of ${traffic.requests}`);
    ok(traffic.dns.length > 0 && traffic.firstAtTargetUs !== null);
    const report = await judge();
    deepStrictEqual(report.findings.kept, []);
    strictEqual(report.loaded, PLACES);
  });

  function placeOf(id: number, kind: DumpRecord['k'], file: string): DumpRecord[] {
    const all = readFileSync(file, 'utf8').trim().split('\n');
    const records = all.map((line) => dumpRecord.parse(JSON.parse(line)));
    return records.filter((r) => r.k === kind && r.k !== 'note' && r.id === id);
  }

  /** Ids that the load did not use: their faults do not touch each other. */
  const ids = [900_000_001, 900_000_002, 900_000_003, 900_000_004, 900_000_005];
  const [lostId = 0, tornId = 0, resurrectedId = 0, twiceId = 0, staleId = 0] = ids;
  const place = (id: number) => ds.key(['Place', ds.int(id)]);

  it('names a lost, a torn, a resurrected, a duplicated and a stale operation planted in the store', async () => {
    const fields = { name: 'X', country: 'AD', featureCode: 'PPL', population: 1, lat: 1, lon: 2 };
    for (const id of ids) await act('create', 'PUT', `/places/${id}`, [id], fields);

    const lost = await act('sign', 'POST', `/places/${lostId}/sign`, [lostId], { text: 'hello' });
    const entry = placeOf(lostId, 'entry', await dump())[0];
    ok(entry?.k === 'entry');
    await ds.delete(ds.key(['Place', ds.int(lostId), 'Entry', ds.int(entry.entry[0])]));

    const [before] = await ds.get(place(tornId));
    const torn = await act('edit', 'PATCH', `/places/${tornId}`, [tornId], { note: 'new' });
    await ds.save({ key: place(tornId), data: { ...before } });

    const [alive] = await ds.get(place(resurrectedId));
    const removed = await act('remove', 'DELETE', `/places/${resurrectedId}`, [resurrectedId]);
    await ds.save({ key: place(resurrectedId), data: { ...alive } });

    const twice = await act('sign', 'POST', `/places/${twiceId}/sign`, [twiceId], { text: 'once' });
    await ds.save({
      key: ds.key(['Place', ds.int(twiceId), 'Entry']),
      data: { text: 'once', nonce: twice, serial: 2 },
    });

    const cache = Memcached.create(lab.memcached);
    const cached = async (key: string): Promise<Buffer> => (await cache.get(key)).value ?? Buffer.alloc(0);
    const valueKey = async (): Promise<string> => `v:${staleId}:${(await cached(`g:${staleId}`)).toString()}`;
    await act('get', 'GET', `/places/${staleId}`, [staleId]);
    const old = await cached(await valueKey());
    const newer = await act('edit', 'PATCH', `/places/${staleId}`, [staleId], { note: 'newer' });
    await cache.set(await valueKey(), old, {});
    await act('get', 'GET', `/places/${staleId}`, [staleId]);
    cache.close();

    const found: readonly Finding[] = (await judge()).findings.kept;
    const planted = { lost, torn, resurrected: removed, duplicated: twice, stale: newer };
    for (const [kind, nonce] of Object.entries(planted))
      ok(
        found.some((f) => f.kind === kind && f.nonces[0] === nonce),
        `${kind} ${nonce} is not named in ${JSON.stringify(found, null, 1)}`,
      );
    ok(
      found.every((f) => ids.some((id) => f.key === `Place/${id}`)),
      'only what was planted is named',
    );
  });
});
