import { Agent, request } from 'node:http';
import type { Resolver } from './resolver.js';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The body as JSON; null when it is not. */
  readonly body: unknown;
  /** Address that was asked. */
  readonly address: string;
}

/** A kept connection is given up long before a server would: one that closes just as it is used loses a request. */
const IDLE_MS = 20_000;

/** A request that got no answer in time. */
export class NoAnswer extends Error {
  constructor(
    readonly why: string,
    readonly address: string,
  ) {
    super(`no answer from ${address}: ${why}`);
  }
}

/** HTTP with kept connections, a deadline and no retry. The name is resolved anew whenever its TTL is over. */
export class HttpClient {
  private readonly agent: Agent;
  private turn = 0;

  constructor(
    private readonly target: { readonly host: string; readonly port: number; readonly maxSockets: number },
    private readonly resolver: Resolver,
  ) {
    const { maxSockets } = target;
    this.agent = new Agent({ keepAlive: true, maxSockets, scheduling: 'lifo', timeout: IDLE_MS });
  }

  /** @param timeoutMs from now to the end of the answer; throws NoAnswer */
  async send(method: string, path: string, body: object | null, timeoutMs: number): Promise<Answer> {
    const addresses = await this.resolver.addresses().catch((e: unknown) => {
      throw new NoAnswer(String(e), 'dns');
    });
    const address = addresses[this.turn++ % addresses.length] ?? '';
    const text = body === null ? null : JSON.stringify(body);
    return new Promise<Answer>((ok, fail) => {
      const lost = (why: string): void => {
        clearTimeout(timer);
        fail(new NoAnswer(why, address));
      };
      const headers: Record<string, string | number> = { host: this.target.host };
      if (text !== null) {
        headers['content-type'] = 'application/json';
        headers['content-length'] = Buffer.byteLength(text);
      }
      const r = request(
        { host: address, port: this.target.port, method, path, headers, agent: this.agent },
        (response) => {
          const parts: Buffer[] = [];
          response.on('data', (b: Buffer) => parts.push(b));
          response.on('error', (e) => lost(e.message));
          response.on('end', () => {
            clearTimeout(timer);
            const { statusCode = 0, headers: got } = response;
            ok({ status: statusCode, headers: got, body: json(Buffer.concat(parts).toString()), address });
          });
        },
      );
      const timer = setTimeout(() => {
        lost(`${timeoutMs} ms are over`);
        r.destroy();
      }, timeoutMs);
      r.on('error', (e) => lost(e.message));
      r.end(text ?? undefined);
    });
  }

  close(): void {
    this.agent.destroy();
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
