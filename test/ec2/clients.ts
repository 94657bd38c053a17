import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { HTTP_PORT } from './platform.js';

const HOST = 'shop.test';
const PAUSE_MS = 20;
const LIMIT_MS = 30_000;

export interface Answer {
  readonly status: number;
  /** host:port of the instance that answered. */
  readonly instance: string;
  readonly body: string;
}

/** One request at an edge, on a connection of its own. */
export async function ask(edge: string, method: string, path: string, body?: object): Promise<Answer> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  const sent = request({ host: edge, port: HTTP_PORT, method, path, agent: false, headers: { host: HOST } });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(sent, 'response', { signal })) as [IncomingMessage];
  let text = '';
  for await (const d of response) text += String(d);
  return { status: response.statusCode ?? 0, instance: String(response.headers['x-instance']), body: text };
}

export const place = (name: string): Record<string, unknown> => ({
  ...{ name, country: 'DE', featureCode: 'PPL', population: 1, lat: 1, lon: 1 },
});

/** A request that was not answered with 200, or not at all. */
export interface Fault {
  readonly method: 'GET' | 'POST';
  readonly fromMs: number;
  readonly toMs: number;
  readonly what: string;
}

/** Clients that read and write without a pause until they are told to stop. */
export class Clients {
  readonly faults: Fault[] = [];
  /** Requests by the machine that answered. */
  readonly served = new Map<string, number>();
  private isEnding = false;
  private readonly running: Promise<void>[];

  /** @param id of a place that is there; signed by the writer */
  constructor(
    private readonly edge: string,
    private readonly id: number,
  ) {
    this.running = [this.loop('GET'), this.loop('GET'), this.loop('POST')];
  }

  private async loop(method: 'GET' | 'POST'): Promise<void> {
    for (let n = 0; !this.isEnding; n++) {
      const path = method === 'GET' ? `/places/${String(this.id)}?fresh=1` : `/places/${String(this.id)}/sign`;
      const body = method === 'GET' ? undefined : { nonce: `n${String(n)}`, text: `visit ${String(n)}` };
      const fromMs = Date.now();
      const fault = (what: string): void => void this.faults.push({ method, fromMs, toMs: Date.now(), what });
      try {
        const seen = await ask(this.edge, method, path, body);
        const [machine = ''] = seen.instance.split(':');
        this.served.set(machine, (this.served.get(machine) ?? 0) + 1);
        if (seen.status !== 200) fault(`${String(seen.status)} ${seen.body.slice(0, 200)}`);
      } catch (e) {
        fault(String(e));
      }
      await delay(PAUSE_MS);
    }
  }

  async stop(): Promise<void> {
    this.isEnding = true;
    await Promise.all(this.running);
  }
}
