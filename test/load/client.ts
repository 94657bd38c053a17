import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { cursorOf, errorOf, noAnswer, read } from './answers.js';
import type { Told } from './answers.js';
import { nowUs } from './clock.js';
import type { ClientConfig, ClientStats } from './config.js';
import { HttpClient, NoAnswer } from './http.js';
import { Keys } from './keys.js';
import { LineLog } from './lines.js';
import { Mix } from './mix.js';
import type { Draft } from './mix.js';
import { Resolver } from './resolver.js';

const MAX_OUTSTANDING = 2000;
const MAX_SOCKETS = 128;

/**
 * An open-loop client: requests are sent at fixed times whatever the answers do, latency counts from those times, and
 * nothing is tried again.
 */
export class Client {
  private readonly log: LineLog;
  private readonly http: HttpClient;
  private readonly mix: Mix;
  private readonly total = { sent: 0, answered: 0, failed: 0, writes: 0, conflicts: 0 };
  private second: { maxMs: number; instances: Record<string, number> } = { maxMs: 0, instances: {} };
  private outstanding = 0;
  private stopping = false;

  constructor(private readonly config: ClientConfig) {
    this.log = new LineLog(config.log);
    const { client, target } = config;
    this.log.write({
      k: 'client',
      client,
      run: config.run,
      atUs: nowUs(),
      atMs: Date.now(),
      ratePerS: config.ratePerS,
    });
    const resolver = new Resolver(target.host, target.dns, {
      answer: (r) => this.log.write({ k: 'dns', atUs: r.atUs, atMs: Date.now(), addresses: r.addresses, ttlS: r.ttlS }),
      failure: (e) => this.log.write({ k: 'dnsFailure', atUs: nowUs(), text: String(e) }),
    });
    this.http = new HttpClient({ host: target.host, port: target.port, maxSockets: MAX_SOCKETS }, resolver);
    const places = readPlaces(config.placesFile);
    const keys = new Keys(places.ids, config);
    this.mix = new Mix(keys, `${client}-${config.run}`, places.countries);
  }

  /** Sends until `stop`; answers when the last request has ended. */
  async run(): Promise<void> {
    const { ratePerS, index, of } = this.config;
    const stepUs = 1e6 / ratePerS;
    const first = nowUs() + (stepUs * index) / of;
    for (let n = 0; !this.stopping; n++) {
      const scheduled = first + n * stepUs;
      const wait = scheduled - nowUs();
      if (wait > 0) await delay(Math.ceil(wait / 1000));
      if (this.stopping) break;
      this.launch(scheduled, `${this.config.client}-${this.config.run}-${n}`);
    }
    const last = Date.now() + this.config.deadlineMs + 1000;
    while (this.outstanding > 0 && Date.now() < last) await delay(20);
    this.http.close();
    this.log.write({ k: 'done', atUs: nowUs(), ...this.total, outstanding: this.outstanding });
    this.log.close();
  }

  stop(): void {
    this.stopping = true;
  }

  /** Totals, and what happened since the last call. */
  stats(): ClientStats {
    const { second } = this;
    this.second = { maxMs: 0, instances: {} };
    return { client: this.config.client, ...this.total, outstanding: this.outstanding, ...second };
  }

  private launch(scheduled: number, nonce: string): void {
    this.total.sent++;
    if (this.outstanding >= MAX_OUTSTANDING) {
      this.total.failed++;
      this.log.write({
        k: 'req',
        nonce,
        op: 'none',
        at: scheduled,
        ms: 0,
        status: 0,
        failed: 'too many requests wait',
      });
      return;
    }
    this.outstanding++;
    const draft = this.mix.next(nonce);
    void this.perform(scheduled, nonce, draft).finally(() => this.outstanding--);
  }

  private async perform(scheduled: number, nonce: string, draft: Draft): Promise<void> {
    const { op, groups, note, amount } = draft;
    this.log.write({
      k: 'start',
      nonce,
      at: nowUs(),
      op,
      groups,
      ...(note === undefined ? {} : { note }),
      ...(amount === undefined ? {} : { amount }),
    });
    let told: Told = noAnswer;
    let failed: string | null = null;
    let error = '';
    let about = {};
    const leftMs = this.config.deadlineMs - (nowUs() - scheduled) / 1000;
    try {
      const key = this.config.repeatable && draft.method !== 'GET' ? nonce : null;
      const answer = await this.http.send(draft.method, draft.path, draft.body, Math.max(1, Math.ceil(leftMs)), key);
      told = read(op, answer);
      error = errorOf(answer);
      failed = this.judge(draft, told, error);
      if (op === 'search') this.mix.page(draft.path, cursorOf(answer));
      about = this.aboutAnswer(answer.headers, answer.address);
    } catch (e) {
      if (!(e instanceof NoAnswer)) throw e;
      failed = e.why;
      about = { to: e.address };
    }
    const at = nowUs();
    this.log.write({ k: 'end', nonce, at, ...told });
    const ms = Math.round((at - scheduled) / 10) / 100;
    this.log.write({ k: 'req', nonce, op, at: scheduled, ms, status: told.status, error, failed, ...about });
    draft.done(told.outcome, error);
    this.total.answered += told.status === 0 ? 0 : 1;
    this.total.writes += draft.method === 'GET' ? 0 : 1;
    this.total.conflicts += error === 'ABORTED' ? 1 : 0;
    this.total.failed += failed === null ? 0 : 1;
    this.second.maxMs = Math.max(this.second.maxMs, ms);
  }

  /** Why the answer is a failure, or null. */
  private judge(draft: Draft, told: Told, error: string): string | null {
    const refused = told.outcome === 'none' && draft.refusals.includes(error);
    if (!refused && !draft.expected.includes(told.status)) return `status ${told.status} ${error}`;
    if (told.outcome === 'unknown') return `an answer that is none of the application's (status ${told.status})`;
    return null;
  }

  private aboutAnswer(headers: Readonly<Record<string, string | string[] | undefined>>, to: string): object {
    const instance = String(headers['x-instance'] ?? '');
    this.second.instances[instance] = (this.second.instances[instance] ?? 0) + 1;
    const errors = String(headers['x-datastore-errors'] ?? '');
    return {
      to,
      instance,
      cache: headers['x-cache'] ?? '',
      retries: Number(headers['x-retries'] ?? 0),
      ...(errors === '' ? {} : { errors }),
    };
  }
}

/** A file of `id country` lines. */
export function readPlaces(file: string): { ids: number[]; countries: string[] } {
  const ids: number[] = [];
  const countries = new Set<string>();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const [id, country] = line.split(' ');
    if (id === undefined || country === undefined) continue;
    ids.push(Number(id));
    countries.add(country);
  }
  return { ids, countries: [...countries] };
}
