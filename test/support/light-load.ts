import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { HttpClient } from '../load/http.js';
import { Resolver } from '../load/resolver.js';

const noteAnswer = z.object({ note: z.object({ serial: z.int() }) });
const placeAnswer = z.object({ view: z.object({ place: z.object({ population: z.int() }) }) });
const DEADLINE_MS = 5000;
const PAUSE_MS = 20;
/** A place of the gazetteer for each client, and its first population. */
const PLACE = { name: 'Grow', country: 'CH', featureCode: 'PPL', population: 0, lat: 47, lon: 8 };

export interface LightLoadOptions {
  readonly clients: number;
  /** Name of the application's host, which the edges serve on `port`. */
  readonly name: string;
  readonly port: number;
  readonly dns: { readonly host: string; readonly port: number };
}

/**
 * Clients of the gazetteer who each write a note and a place and read them back: every answer must be a good one, within
 * 5 s, and show the client's last write, through the cache as well.
 */
export class LightLoad {
  readonly failures: string[] = [];
  requests = 0;
  longestMs = 0;
  /** When each instance answered last, milliseconds since 1970. */
  readonly seen = new Map<string, number>();
  /** When each edge was last asked. */
  readonly asked = new Map<string, number>();
  /** Whether places are written too, which the gazetteer does only where it reaches its cache. */
  cached = true;
  private on = true;
  private readonly http: HttpClient;
  private running: Promise<unknown> = Promise.resolve();

  constructor(private readonly o: LightLoadOptions) {
    const resolver = new Resolver(o.name, o.dns, {
      answer: () => undefined,
      failure: (e) => this.failures.push(`dns: ${String(e)}`),
    });
    this.http = new HttpClient({ host: o.name, port: o.port, maxSockets: o.clients }, resolver);
  }

  /** Answers once every client has had its first answers. */
  async start(): Promise<void> {
    const clients = Array.from({ length: this.o.clients }, (_, i) => i + 1);
    await Promise.all(clients.map((c) => this.send('PUT', `/places/${String(c)}`, PLACE)));
    this.running = Promise.all(clients.map((c) => this.client(c)));
  }

  async stop(): Promise<void> {
    this.on = false;
    await this.running;
    this.http.close();
  }

  /** Failures since the last call, and the longest request. */
  take(): { failures: string[]; longestMs: number } {
    const taken = { failures: this.failures.splice(0), longestMs: Math.round(this.longestMs) };
    this.longestMs = 0;
    return taken;
  }

  private async client(c: number): Promise<void> {
    for (let n = 1; this.on; n++) {
      await this.send('PUT', `/notes/grow-${String(c)}`, { serial: n });
      const note = noteAnswer.safeParse(await this.send('GET', `/notes/grow-${String(c)}`, null));
      if (note.success && note.data.note.serial !== n)
        this.failures.push(`client ${String(c)} wrote note ${String(n)} and read ${String(note.data.note.serial)}`);
      await delay(PAUSE_MS);
      if (!this.cached) continue;
      await this.send('PATCH', `/places/${String(c)}`, { population: n });
      const place = placeAnswer.safeParse(await this.send('GET', `/places/${String(c)}`, null));
      const population = place.success ? place.data.view.place.population : n;
      if (population !== n)
        this.failures.push(`client ${String(c)} set place to ${String(n)} and read ${String(population)}`);
    }
  }

  private async send(method: string, path: string, body: object | null): Promise<unknown> {
    const began = performance.now();
    const nonce = randomBytes(8).toString('hex');
    const what = `${new Date().toISOString()} ${method} ${path}`;
    this.requests++;
    try {
      const a = await this.http.send(method, path, body === null ? null : { ...body, nonce }, DEADLINE_MS);
      this.asked.set(a.address, Date.now());
      const instance = a.headers['x-instance'];
      if (typeof instance === 'string') this.seen.set(instance, Date.now());
      if (a.status !== 200) this.failures.push(`${what}: ${String(a.status)} ${JSON.stringify(a.body)}`);
      return a.body;
    } catch (e) {
      this.failures.push(`${what}: ${String(e)}`);
      return null;
    } finally {
      this.longestMs = Math.max(this.longestMs, performance.now() - began);
    }
  }
}
